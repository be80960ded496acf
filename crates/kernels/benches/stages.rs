//! The blocks of Atto at 224², stage by stage: milliseconds and share of a matrix product's peak.
//!
//! `cargo bench -p kernels --bench stages -- [pretrain|finetune|infer|int8] [SAMPLES] [STEPS]`

use std::hint::black_box;
use std::time::Instant;

use kernels::block::{self, Batch, Prepared, Statistics, Weights};
use kernels::dwconv7::Neighbours;
use kernels::gemm::peak_gflops;
use kernels::{Arch, Format};

/// Name, channels, sites of a patch's side and blocks of each stage.
const STAGES: [(&str, usize, usize, usize); 5] = [
    ("stage 1", 40, 8, 2),
    ("stage 2", 80, 4, 2),
    ("stage 3", 160, 2, 6),
    ("stage 4", 320, 1, 2),
    ("decoder", 512, 1, 1),
];
const PATCHES: usize = 49;
const VISIBLE: [u32; 19] = [0, 2, 5, 7, 10, 11, 14, 16, 20, 21, 24, 27, 30, 33, 35, 38, 41, 44, 48];
/// Rounds before the clock starts.
const WARM_UP: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pretrain,
    Finetune,
    Infer(Format),
}

/// A block of a stage with everything that it reads.
struct Stage {
    name: &'static str,
    blocks: usize,
    batch: Batch,
    weights: [Vec<f32>; 10],
    x: Vec<f32>,
    dy: Vec<f32>,
    /// Multiply-adds of the linear layers of one block, forward.
    macs: usize,
}

fn numbers(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|i| scale * ((i * 7919 % 1009) as f32 / 504.5 - 1.0)).collect()
}

impl Stage {
    fn new(
        kind: Kind,
        samples: usize,
        (name, channels, side, blocks): (&'static str, usize, usize, usize),
    ) -> Self {
        let masked = kind == Kind::Pretrain;
        let decoder = name == "decoder";
        let hidden_patches = (0..PATCHES as u32).filter(|patch| !VISIBLE.contains(patch));
        let batch = Batch {
            samples,
            grid: if masked { [7, 7] } else { [1, 1] },
            patch: if masked { [side, side] } else { [7 * side, 7 * side] },
            visible: (masked && !decoder).then(|| VISIBLE.repeat(samples)),
            selected: decoder.then(|| hidden_patches.collect::<Vec<_>>().repeat(samples)),
            branch_scale: None,
            statistics: Statistics::Sample,
            neighbours: Neighbours::of(if masked && !decoder { samples } else { 0 }),
        };
        let hidden = 4 * channels;
        let (narrow, wide) = (|| numbers(channels, 1.0), || numbers(hidden, 1.0));
        let weight = || numbers(hidden * channels, 0.1);
        let weights = [
            numbers(49 * channels, 0.1),
            narrow(),
            narrow(),
            narrow(),
            weight(),
            wide(),
            wide(),
            wide(),
            weight(),
            narrow(),
        ];
        let (rows, rows_out) = (samples * batch.tokens(), samples * batch.tokens_out());
        let macs = (rows + rows_out) * channels * hidden;
        let (x, dy) = (numbers(rows * channels, 1.0), numbers(rows_out * channels, 1.0));
        Self { name, blocks, batch, weights, x, dy, macs }
    }

    fn weights(&self) -> Weights<'_> {
        let [dwconv, dwconv_bias, norm, norm_bias, pwconv1, pwconv1_bias, gamma, beta, pwconv2, pwconv2_bias] =
            &self.weights;
        Weights {
            dwconv,
            dwconv_bias,
            norm,
            norm_bias,
            pwconv1,
            pwconv1_bias,
            gamma,
            beta,
            pwconv2,
            pwconv2_bias,
        }
    }

    /// Seconds of the forward and of the backward pass of one block.
    fn time(&self, kind: Kind, prepared: &Prepared) -> [f64; 2] {
        let (arch, start) = (Arch::new(), Instant::now());
        if let Kind::Infer(_) = kind {
            black_box(block::infer(arch, &self.batch, prepared, &self.x));
            return [start.elapsed().as_secs_f64(), 0.0];
        }
        let (y, saved) = block::forward(arch, &self.batch, &self.weights(), &self.x);
        let forward = start.elapsed().as_secs_f64();
        black_box(block::backward(arch, &self.batch, &self.weights(), &self.x, &saved, &self.dy));
        drop(y);
        [forward, start.elapsed().as_secs_f64() - forward]
    }
}

fn main() {
    // Cargo itself adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let kind = match arguments.next().as_deref() {
        Some("finetune") => Kind::Finetune,
        Some("infer") => Kind::Infer(Format::F32),
        Some("int8") => Kind::Infer(Format::Int8),
        _ => Kind::Pretrain,
    };
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (samples, steps) = (number(16), number(10));
    kernels::memory::keep_freed_memory();
    let stages = &STAGES[..if kind == Kind::Pretrain { 5 } else { 4 }];
    let format = if let Kind::Infer(format) = kind { format } else { Format::F32 };
    let (mut all, mut operations) = (0.0, 0.0);
    let peak = peak_gflops();
    for stage in stages.iter().map(|stage| Stage::new(kind, samples, *stage)) {
        let prepared = Prepared::new(Arch::new(), format, &stage.weights());
        let mut best = [f64::INFINITY; 2];
        kernels::on_pool(|| {
            for step in 0..WARM_UP + steps {
                let times = (0..stage.blocks).map(|_| stage.time(kind, &prepared));
                let sum = times.fold([0.0; 2], |sum, time| [sum[0] + time[0], sum[1] + time[1]]);
                if step >= WARM_UP {
                    best = [best[0].min(sum[0]), best[1].min(sum[1])];
                }
            }
        });
        let forward = 2e-9 * (stage.macs * stage.blocks) as f64;
        let share = |operations: f64, seconds: f64| 100.0 * operations / seconds / peak;
        print!("{}  forward {:8.3} ms {:3.0} %", stage.name, 1e3 * best[0], share(forward, best[0]));
        match kind {
            Kind::Infer(_) => println!(),
            _ => println!("  backward {:8.3} ms {:3.0} %", 1e3 * best[1], share(2.0 * forward, best[1])),
        }
        all += best[0] + best[1];
        operations += forward * if let Kind::Infer(_) = kind { 1.0 } else { 3.0 };
    }
    println!("all      {:.3} ms, {:.0} % of {peak:.0} GFLOP/s", 1e3 * all, 100.0 * operations / all / peak);
}
