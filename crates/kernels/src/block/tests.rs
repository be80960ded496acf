//! The block against its definition in double precision.

use super::*;
use crate::gemm::Divide;
use crate::testing::{arches, assert_close, numbers, wide};
use crate::{Arch, Format};

/// Input and weights in double precision.
type Wide = Vec<Vec<f64>>;

/// The block by its definition, without any layout: `sites[sample][token]` is the position of
/// a token on its map of `width` columns.
fn naive(batch: &Batch, sites: &[Vec<[isize; 2]>], v: &Wide) -> Vec<f64> {
    let [x, dw, dwb, n, nb, w1, b1, gamma, beta, w2, b2] = &v[..] else { unreachable!() };
    let (c, h, tokens) = (n.len(), gamma.len(), batch.tokens());
    let square_sums = |hidden: &[f64]| -> Vec<f64> {
        (0..h).map(|k| hidden.chunks(h).map(|row| row[k] * row[k]).sum()).collect()
    };
    let hidden: Vec<Vec<f64>> = (sites.iter().enumerate())
        .map(|(s, sites)| {
            let x = &x[s * tokens * c..][..tokens * c];
            let convolved = naive_convolution(sites, x, dw, dwb);
            convolved.chunks(c).flat_map(|row| naive_mlp(row, n, nb, w1, b1)).collect()
        })
        .collect();
    let mut out = Vec::new();
    for (s, activation) in hidden.iter().enumerate() {
        let sums = match batch.statistics {
            Statistics::Sample => square_sums(activation),
            Statistics::Batch => square_sums(&hidden.concat()),
        };
        let norms: Vec<f64> = sums.into_iter().map(f64::sqrt).collect();
        let divisor = norms.iter().sum::<f64>() / h as f64 + 1e-6;
        let selected: Vec<usize> = match &batch.selected {
            None => (0..tokens).collect(),
            Some(all) => {
                let count = all.len() / batch.samples;
                let len = batch.patch_len();
                let patches = all[s * count..][..count].iter().map(|p| *p as usize);
                patches.flat_map(|p| p * len..(p + 1) * len).collect()
            }
        };
        for t in selected {
            for i in 0..c {
                let branch: f64 = (0..h)
                    .map(|k| {
                        let a = activation[t * h + k];
                        (gamma[k] * a * norms[k] / divisor + beta[k] + a) * w2[i * h + k]
                    })
                    .sum();
                let shortcut = x[(s * tokens + t) * c + i];
                out.push(shortcut + f64::from(batch.branch_scale(s)) * (b2[i] + branch));
            }
        }
    }
    out
}

/// Every token sees the tokens at most three sites away.
fn naive_convolution(sites: &[[isize; 2]], x: &[f64], kernel: &[f64], bias: &[f64]) -> Vec<f64> {
    let c = bias.len();
    let mut out = Vec::new();
    for [ty, tx] in sites {
        let mut row = bias.to_vec();
        for (u, [uy, ux]) in sites.iter().enumerate() {
            let (dy, dx) = (uy - ty + 3, ux - tx + 3);
            if (0..7).contains(&dy) && (0..7).contains(&dx) {
                let tap = (dy * 7 + dx) as usize;
                (0..c).for_each(|i| row[i] += x[u * c + i] * kernel[i * 49 + tap]);
            }
        }
        out.extend(row);
    }
    out
}

/// LayerNorm, linear layer and GELU of one token.
fn naive_mlp(row: &[f64], norm: &[f64], norm_bias: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let c = row.len();
    let mean = row.iter().sum::<f64>() / c as f64;
    let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
    let normed: Vec<f64> =
        (0..c).map(|i| (row[i] - mean) / (var + 1e-6).sqrt() * norm[i] + norm_bias[i]).collect();
    let gelu = |z: f64| {
        // erf by its series: the tanh form would be another function.
        let x = z / std::f64::consts::SQRT_2;
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 * z * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
    };
    let linear = |k: usize| bias[k] + (0..c).map(|i| weight[k * c + i] * normed[i]).sum::<f64>();
    (0..bias.len()).map(|k| gelu(linear(k))).collect()
}

fn sites(batch: &Batch) -> Vec<Vec<[isize; 2]>> {
    let ([rows, columns], [height, width]) = (batch.grid, batch.patch);
    let all: Vec<u32> = (0..(rows * columns) as u32).collect();
    (0..batch.samples)
        .map(|s| {
            let layout = batch.layout(s);
            let patches = layout.visible.unwrap_or(&all).iter().map(|p| *p as usize);
            let of = |p: usize| {
                let (top, left) = (p / columns * height, p % columns * width);
                (0..height * width).map(move |i| [(top + i / width) as isize, (left + i % width) as isize])
            };
            patches.flat_map(of).collect()
        })
        .collect()
}

fn weights(v: &[Vec<f32>]) -> Weights<'_> {
    Weights {
        dwconv: &v[1],
        dwconv_bias: &v[2],
        norm: &v[3],
        norm_bias: &v[4],
        pwconv1: &v[5],
        pwconv1_bias: &v[6],
        gamma: &v[7],
        beta: &v[8],
        pwconv2: &v[9],
        pwconv2_bias: &v[10],
    }
}

/// Input and weights of small magnitude.
fn values(batch: &Batch, channels: usize) -> Vec<Vec<f32>> {
    let c = channels;
    let sizes =
        [batch.samples * batch.tokens() * c, 49 * c, c, c, c, 4 * c * c, 4 * c, 4 * c, 4 * c, 4 * c * c, c];
    // The series of `naive_mlp` loses its digits where values are large.
    let linear = 0.6 * (5.0 / channels.max(5) as f32).sqrt();
    let scales = [1.0, 0.3, 0.3, 0.5, 0.3, linear, 0.3, 0.5, 0.3, linear, 0.3];
    (sizes.into_iter().zip(scales).enumerate())
        .map(|(i, (size, scale))| numbers(size, i as u32 + 1).into_iter().map(|v| v * scale).collect())
        .collect()
}

fn batches() -> Vec<Batch> {
    let plain = Batch {
        samples: 1,
        grid: [1, 1],
        patch: [3, 4],
        visible: None,
        selected: None,
        branch_scale: None,
        statistics: Statistics::Sample,
        neighbours: Neighbours::default(),
    };
    vec![
        Batch { patch: [1, 1], ..plain.clone() },
        Batch { samples: 5, branch_scale: Some(vec![1.0, 0.0, 2.0, 1.25, 0.0]), ..plain.clone() },
        Batch { samples: 2, grid: [2, 3], patch: [2, 2], visible: Some(vec![0, 4, 1, 5]), ..plain.clone() },
        Batch {
            samples: 3,
            grid: [2, 2],
            patch: [1, 1],
            selected: Some(vec![0, 3, 1, 2, 2, 3]),
            ..plain.clone()
        },
        Batch { samples: 1, grid: [2, 2], patch: [2, 1], selected: Some(vec![2]), ..plain.clone() },
        // Large enough to be worked on in parts.
        Batch { patch: [9, 7], ..plain.clone() },
        Batch { samples: 5, patch: [3, 2], statistics: Statistics::Batch, ..plain.clone() },
        Batch {
            samples: 2,
            grid: [2, 2],
            patch: [2, 2],
            visible: Some(vec![0, 3, 1, 2]),
            statistics: Statistics::Batch,
            ..plain
        },
    ]
}

#[test]
fn forward_and_backward_equal_the_definition() {
    for batch in batches() {
        for (arch, channels) in arches().into_iter().flat_map(|arch| [(arch, 2), (arch, 5)]) {
            assert_definition(arch, &batch, channels, 12);
        }
    }
}

#[test]
fn gradients_of_large_weights_equal_the_definition() {
    let plain = Batch { samples: 6, patch: [1, 2], ..batches().remove(0) };
    let selected = Batch {
        samples: 5,
        grid: [1, 2],
        patch: [1, 1],
        selected: Some(vec![0, 1, 1, 0, 0]),
        branch_scale: Some(vec![1.0, 0.0, 2.0, 1.25, 0.5]),
        ..plain.clone()
    };
    let shared = Batch { statistics: Statistics::Batch, ..plain.clone() };
    for batch in [plain, selected, shared] {
        assert_definition(Arch::new(), &batch, 256, 3);
    }
}

/// The output, and some elements of every gradient.
fn assert_definition(arch: Arch, batch: &Batch, channels: usize, elements: usize) {
    let (sites, v) = (sites(batch), values(batch, channels));
    let (w, wide_values): (_, Wide) = (weights(&v), v.iter().map(|v| wide(v)).collect());
    let (y, saved) = forward(arch, batch, &w, &v[0]);
    assert!(save(arch, batch, &w, &v[0]) == saved, "what is computed again is what was left");
    assert_close(&y, &naive(batch, &sites, &wide_values), 1e-5, "y");
    let inferred = infer(arch, batch, &Prepared::new(arch, Format::F32, &w), &v[0]);
    match batch.has_few_rows() {
        true => assert_close(&inferred, &wide(&y), 1e-5, "inferred"),
        false => assert_eq!(inferred, y),
    }

    let dy = numbers(y.len(), 99);
    let (dx, dw) = backward(arch, batch, &w, &v[0], &saved, &dy);
    let found: Vec<Vec<f32>> = std::iter::once(dx).chain(dw.into_array()).collect();
    let loss =
        |v: &Wide| -> f64 { naive(batch, &sites, v).iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum() };
    for (which, found) in found.iter().enumerate() {
        for i in (0..found.len()).step_by(found.len().div_ceil(elements)) {
            // Central differences.
            let shifted = |h: f64| {
                let mut v = wide_values.clone();
                v[which][i] += h;
                loss(&v)
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            let scale = found.iter().fold(0.1f64, |m, g| m.max(f64::from(g.abs())));
            let error = (f64::from(found[i]) - slope).abs();
            assert!(error < 1e-3 * scale, "tensor {which} element {i}: {} {slope}", found[i]);
        }
    }
}

#[test]
fn inference_on_one_sample_with_few_tokens_equals_the_definition() {
    let batch = Batch { samples: 1, patch: [5, 3], branch_scale: Some(vec![1.5]), ..batches().remove(0) };
    let v = values(&batch, 182);
    let w = weights(&v);
    assert!(batch.has_few_rows());
    let expected = naive(&batch, &sites(&batch), &v.iter().map(|v| wide(v)).collect());
    for arch in arches() {
        let y = infer(arch, &batch, &Prepared::new(arch, Format::F32, &w), &v[0]);
        assert_close(&y, &expected, 1e-5, "y");
        assert_close(&forward(arch, &batch, &w, &v[0]).0, &wide(&y), 1e-5, "forward");
    }
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| infer(Arch::new(), &batch, &Prepared::new(Arch::new(), Format::F32, &w), &v[0]))
    };
    assert!(on(1) == on(2) && on(1) == on(3) && on(1) == on(8));
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    let many = Batch {
        samples: 9,
        grid: [3, 3],
        patch: [4, 4],
        visible: Some([0, 4, 8, 1, 5, 7, 2, 3, 6].repeat(3)),
        selected: None,
        branch_scale: None,
        statistics: Statistics::Sample,
        neighbours: Neighbours::default(),
    };
    let shared = Batch { statistics: Statistics::Batch, ..many.clone() };
    let single = Batch { samples: 1, grid: [1, 1], patch: [28, 28], visible: None, ..many.clone() };
    for batch in [many, shared, single] {
        let v = values(&batch, 20);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let (y, saved) = forward(Arch::new(), &batch, &weights(&v), &v[0]);
                let (dx, dw) = backward(Arch::new(), &batch, &weights(&v), &v[0], &saved, &y);
                (y, dx, dw.into_array())
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3) && one == run(8));
    }
}

/// Every way through the block, of which the rounding to 8 bits is all that differs.
#[test]
fn in_8_bits_inference_is_almost_the_same() {
    let many = Batch { samples: 4, grid: [1, 1], patch: [14, 14], visible: None, ..batches().remove(0) };
    let many = Batch { branch_scale: None, ..many };
    let few = Batch { samples: 1, patch: [7, 7], ..many.clone() };
    let single = Batch { samples: 1, patch: [24, 24], ..many.clone() };
    for batch in [many, few, single] {
        let v = values(&batch, 40);
        let w = weights(&v);
        let [y, coarse] = [Format::F32, Format::Int8]
            .map(|format| infer(Arch::new(), &batch, &Prepared::new(Arch::new(), format, &w), &v[0]));
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let branch = norm(&mut y.iter().zip(&v[0]).map(|(y, x)| y - x));
        let error = norm(&mut y.iter().zip(&coarse[..]).map(|(y, c)| y - c));
        assert!(error > 0.0 && error < 0.03 * branch, "{} of {branch}", error);
    }
}

/// Neighbours that are kept are those of the layout that asks, whatever a batch was made from.
#[test]
fn kept_neighbours_change_no_bit() {
    let none = Batch { samples: 2, grid: [2, 3], visible: Some(vec![0, 4, 1, 5]), ..batches().remove(0) };
    let kept = Batch { neighbours: Neighbours::of(2), ..none.clone() };
    for (patch, visible) in
        [([2, 2], vec![0, 4, 1, 5]), ([1, 3], vec![0, 4, 1, 5]), ([2, 2], vec![2, 3, 0, 1])]
    {
        let [none, kept] =
            [&none, &kept].map(|batch| Batch { patch, visible: Some(visible.clone()), ..batch.clone() });
        let v = values(&none, 8);
        let both = |batch: &Batch| {
            let (y, saved) = forward(Arch::new(), batch, &weights(&v), &v[0]);
            let (dx, gradients) = backward(Arch::new(), batch, &weights(&v), &v[0], &saved, &y);
            (y, dx, gradients.into_array())
        };
        assert!(both(&none) == both(&kept));
    }
}

/// Tasks that threads can be given in each phase of both passes of a block, sums over samples left out.
fn tasks(batch: &Batch, channels: usize) -> Vec<(&'static str, usize)> {
    let (hidden, groups) = (4 * channels, batch.samples.div_ceil(batch.group()));
    let lanes = Arch::new().dispatch(Lanes);
    let panels = |columns: usize| columns.div_ceil(lanes).div_ceil(3);
    let of_product = |tokens: usize, columns: usize, divide: Divide| {
        let rows = blocks(batch.group(), tokens)[0].len();
        let [bands, parts] = divide.tasks(rows, panels(columns), rows * channels * hidden);
        groups * bands * parts
    };
    let contract = match batch.scales_weights(channels) {
        true => groups,
        false => of_product(batch.tokens_out(), channels, Divide::ByTiles),
    };
    vec![
        ("depthwise convolution and norm", batch.samples),
        ("expanding layer and GELU", of_product(batch.tokens(), hidden, Divide::ByColumns)),
        ("GRN", batch.samples),
        ("contracting layer and residual", contract),
        ("back through the contracting layer", of_product(batch.tokens_out(), hidden, Divide::ByColumns)),
        ("back through the expanding layer", of_product(batch.tokens(), channels, Divide::ByTiles)),
    ]
}

#[test]
fn every_phase_of_a_step_has_tasks_for_many_cores() {
    const SAMPLES: usize = 64;
    let visible =
        Some([0u32, 2, 5, 7, 10, 11, 14, 16, 20, 21, 24, 27, 30, 33, 35, 38, 41, 44, 48].repeat(SAMPLES));
    let whole = Batch { samples: SAMPLES, ..batches().remove(0) };
    for (channels, side) in [(40, 8), (80, 4), (160, 2), (320, 1)] {
        let dense = Batch { patch: [7 * side, 7 * side], ..whole.clone() };
        let masked = Batch { grid: [7, 7], patch: [side, side], visible: visible.clone(), ..whole.clone() };
        for (batch, what) in [(dense, "a classifier"), (masked, "pretraining")] {
            for (phase, tasks) in tasks(&batch, channels) {
                assert!(tasks >= 64, "{phase} of {what}, {channels} channels: {tasks}");
            }
        }
    }
    let selected = Some((0..SAMPLES as u32).flat_map(|_| 19..49).collect());
    let decoder = Batch { grid: [7, 7], patch: [1, 1], selected, ..whole };
    assert!(tasks(&decoder, 512).into_iter().all(|(_, tasks)| tasks >= 64));
}

/// Values of a vector.
struct Lanes;

impl pulp::WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}
