//! A step of training or inference on noise: how fast it is, and how far from what the machine can do.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::Device;
use host::{GpuMemory, Machine, Operations, is_on_host};
use model::{Engine, Execution, Kernels};
use serde::Serialize;
use trainer::{peak_rss_mib, readable, readable_speed};

use super::networks::{Measured, finetune, infer, pretrain};
use super::parts::{self, Parts, Step};
use super::tell_machine;
use crate::args::{BenchArgs, BenchKind, BenchPrecision};
use crate::output::{self, out};
use crate::world::computing;

/// Steps before the clock starts.
const WARM_UP: usize = 2;
/// Steps timed where the command line does not say.
const STEPS: usize = 7;
/// Steps timed together on a device that computes while the next one is being prepared.
const BURST: usize = 10;

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report {
    bench: BenchKind,
    /// The encoder in words.
    model: String,
    execution: Option<Execution>,
    kernels: Kernels,
    precision: BenchPrecision,
    #[serde(flatten)]
    machine: Machine,
    image_size: [usize; 2],
    batch_size: usize,
    /// Every timed step, in seconds.
    step_s: Vec<f64>,
    /// Speed of the median step.
    img_per_s: f64,
    forward_share: f64,
    backward_share: f64,
    optimizer_share: f64,
    /// Useful operations a second, two for each multiply-add, over the median step.
    gflops: f64,
    /// Operations a second of large matrix products by what computes.
    gemm_peak_gflops: f64,
    peak_share: f64,
    peak_rss_mib: Option<u64>,
    gpu_peak_allocated_mib: Option<u64>,
    gpu_peak_reserved_mib: Option<u64>,
    /// Operations that a step asks of libtorch, without those that they call themselves; these three are null
    /// unless they were to be counted.
    ops: Option<u64>,
    /// Copies to and from the device that nothing waits for.
    copies: Option<u64>,
    /// Operations for which a GPU would be waited for.
    synchronising: Option<u64>,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let measure = match args.kind {
        BenchKind::Pretrain => pretrain,
        BenchKind::Finetune => finetune,
        _ => infer,
    };
    let (report, counted) = computing(args.device.name, || {
        let device = args.device.name.device()?;
        let measured = measure(args, &device)?;
        // Before the peak is measured, which takes memory too.
        let memory = GpuMemory::of(&device);
        let limits =
            Limits { gemm_peak_gflops: peak_gflops(measured.compute.engine(&device), &device), memory };
        Ok((report(args, &device, &measured, limits), measured.counted))
    })?;
    match args.json {
        true => output::json(&report),
        false => {
            tell(&report);
            counted.iter().for_each(parts::tell);
            Ok(())
        }
    }
}

/// What the device that computes can do, and what of its memory was used.
struct Limits {
    gemm_peak_gflops: f64,
    memory: Option<GpuMemory>,
}

/// Operations a second of large matrix products by what computes, in the same numbers: libtorch's own where
/// its operations do, and else those of our kernels.
fn peak_gflops(engine: Engine, device: &Device) -> f64 {
    let libtorch = match engine {
        Engine::Slices => None,
        Engine::Aten(_) | Engine::Tensors => host::product_gflops(device, engine.precision()),
    };
    libtorch.unwrap_or_else(kernels::gemm::peak_gflops)
}

fn report(
    args: &BenchArgs,
    device: &Device,
    measured: &Measured,
    Limits { gemm_peak_gflops, memory }: Limits,
) -> Report {
    let (peak_rss_mib, counted) = (peak_rss_mib(), measured.counted.as_ref().map(parts::total));
    let (mut steps, step_s) = (measured.steps.clone(), measured.steps.iter().map(Step::total).collect());
    steps.sort_by(|a, b| a.total().total_cmp(&b.total()));
    let median = steps[steps.len() / 2];
    let gflops = 2.0 * measured.macs as f64 * args.batch as f64 / median.total() / 1e9;
    Report {
        bench: args.kind,
        model: measured.model.clone(),
        execution: measured.execution,
        kernels: measured.compute.kernels,
        precision: BenchPrecision::of(measured.compute.precision, measured.format),
        machine: Machine::here(device, rayon::current_num_threads()),
        image_size: measured.image_size,
        batch_size: args.batch,
        step_s,
        img_per_s: args.batch as f64 / median.total(),
        forward_share: median.forward / median.total(),
        backward_share: median.backward / median.total(),
        optimizer_share: median.optimizer / median.total(),
        gflops,
        gemm_peak_gflops,
        peak_share: gflops / gemm_peak_gflops,
        peak_rss_mib,
        gpu_peak_allocated_mib: memory.map(|memory| memory.peak_allocated >> 20),
        gpu_peak_reserved_mib: memory.map(|memory| memory.peak_reserved >> 20),
        ops: counted.as_ref().map(Operations::dispatched),
        copies: counted.as_ref().map(|counted| counted.copies),
        synchronising: counted.as_ref().map(Operations::synchronising),
    }
}

fn tell(r: &Report) {
    let median = r.batch_size as f64 / r.img_per_s;
    out!(
        "{:?} {} at {:?}, batch {}, {} threads",
        r.bench,
        r.model,
        r.image_size,
        r.batch_size,
        r.machine.threads
    );
    tell_machine(&r.machine);
    out!("step         {} ms, {}", readable(1e3 * median), readable_speed(r.img_per_s));
    out!(
        "parts        forward {:.0}%, backward {:.0}%, optimizer {:.0}%",
        100.0 * r.forward_share,
        100.0 * r.backward_share,
        100.0 * r.optimizer_share
    );
    out!(
        "useful work  {} GFLOP/s, {:.0}% of a matrix product's {}",
        readable(r.gflops),
        100.0 * r.peak_share,
        readable(r.gemm_peak_gflops)
    );
    if let Some(mib) = r.peak_rss_mib {
        out!("peak memory  {mib} MiB");
    }
    if let Some((allocated, reserved)) = r.gpu_peak_allocated_mib.zip(r.gpu_peak_reserved_mib) {
        out!("GPU memory   {allocated} MiB in tensors at most, {reserved} MiB held at most");
    }
}

/// Times steps, and counts what one of them asks for where that is wanted.
pub(super) fn timed(
    args: &BenchArgs,
    device: &Device,
    mut step: impl FnMut(&mut Parts) -> Result<()> + Send,
) -> Result<(Vec<Step>, Option<parts::Counts>)> {
    let mut step = |counts: bool| {
        host::compute_on(device, || {
            let mut parts = Parts::new(counts);
            step(&mut parts).map(|()| parts)
        })
    };
    for _ in 0..WARM_UP {
        step(false)?;
    }
    let count = args.steps.unwrap_or(STEPS);
    let steps: Result<Vec<Step>> = match is_on_host(device) {
        true => (0..count).map(|_| Ok(step(false)?.step())).collect(),
        false => {
            device.sync()?;
            (0..count).map(|_| burst(device, &mut step)).collect()
        }
    };
    let counts = args.ops.then(|| step(true)).transpose()?.and_then(Parts::into_counts);
    Ok((steps?, counts))
}

/// The mean of several steps that are not waited for; their parts are those of the processor's time.
fn burst(device: &Device, step: &mut impl FnMut(bool) -> Result<Parts>) -> Result<Step> {
    let (start, mut sum) = (Instant::now(), Step::default());
    for _ in 0..BURST {
        sum = sum.plus(step(false)?.step());
    }
    device.sync()?;
    Ok(sum.scaled(start.elapsed().as_secs_f64() / sum.total() / BURST as f64))
}
