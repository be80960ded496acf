//! The backward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::forward::responses;
use super::{Batch, Saved, Statistics, WeightGradients, Weights};
use crate::buffer::Buffer;
use crate::dwconv7::{self, WeightGradient};
use crate::gemm::{View, gemm};
use crate::{Arch, grn, layer_norm};

/// Most bytes spent on gradients of weights, one set for every lane.
const GRADIENT_BYTES: usize = 256 << 20;

/// Everything that is the same for all samples.
struct Context<'a> {
    arch: Arch,
    batch: &'a Batch,
    w: &'a Weights<'a>,
    turned: dwconv7::Weights,
    x: &'a [f32],
    saved: &'a Saved,
    dy: &'a [f32],
    /// Whether matrix products may use all threads, because there is only one lane.
    parallel: bool,
}

/// A run of groups that share one set of gradients.
struct Lane<'a> {
    samples: Range<usize>,
    dx: &'a mut [f32],
    gradients: WeightGradients,
    taps: WeightGradient,
    /// Groups half done, which wait for sums over all samples.
    waiting: Vec<Half>,
}

/// A group on its way back, at GRN.
struct Half {
    samples: Range<usize>,
    /// dz, `[rows, 4C]`.
    gradient: Buffer,
    /// Σ dz·x of every sample, `[samples, 4C]`.
    along: Buffer,
}

/// From the gradient of the output to those of input and weights.
pub fn backward(
    arch: Arch,
    batch: &Batch,
    w: &Weights,
    x: &[f32],
    saved: &Saved,
    dy: &[f32],
) -> (Vec<f32>, WeightGradients) {
    let (channels, tokens) = (w.channels(), batch.tokens());
    assert_eq!(dy.len(), batch.samples * batch.tokens_out() * channels);
    let group = batch.group();
    let groups = batch.samples.div_ceil(group);
    let bytes = 4 * (2 * w.pwconv1.len() + w.dwconv.len());
    let lane = groups.div_ceil(groups.min((GRADIENT_BYTES / bytes).max(2))) * group;
    let turned = dwconv7::Weights::turned(w.dwconv, channels);
    let c = Context { arch, batch, w, turned, x, saved, dy, parallel: lane >= batch.samples };

    let mut dx = vec![0.0; x.len()];
    let mut lanes: Vec<Lane> = (dx.chunks_mut(lane * tokens * channels).enumerate())
        .map(|(index, dx)| Lane {
            samples: index * lane..index * lane + dx.len() / (tokens * channels),
            dx,
            gradients: WeightGradients::zeros(w),
            taps: WeightGradient::new(channels),
            waiting: Vec::new(),
        })
        .collect();
    lanes.par_iter_mut().for_each(|lane| {
        for first in lane.samples.clone().step_by(group) {
            let half = to_grn(&c, lane, first..(first + group).min(lane.samples.end));
            match batch.statistics {
                Statistics::Sample => from_grn(&c, lane, half),
                Statistics::Batch => lane.waiting.push(half),
            }
        }
    });
    if batch.statistics == Statistics::Batch {
        let mut total = vec![0.0; w.hidden()];
        let halves = lanes.iter().flat_map(|lane| &lane.waiting);
        for along in halves.flat_map(|half| half.along.chunks_exact(w.hidden())) {
            total.iter_mut().zip(along).for_each(|(t, a)| *t += a);
        }
        let factors = grn::Factors::new(&total, &saved.norms, w.gamma, &mut lanes[0].gradients.gamma);
        lanes.par_iter_mut().for_each(|lane| {
            for half in std::mem::take(&mut lane.waiting) {
                through_grn(&c, lane, half, std::slice::from_ref(&factors));
            }
        });
    }

    let mut sets = lanes.into_iter().map(|lane| {
        let mut gradients = lane.gradients;
        lane.taps.add_to(&mut gradients.dwconv, &mut gradients.dwconv_bias);
        gradients
    });
    let mut sum = sets.next().unwrap_or_else(|| WeightGradients::zeros(w));
    sum.add(sets);
    (dx, sum)
}

/// The part of `all`, values of all samples, that belongs to some.
fn part<'a>(batch: &Batch, all: &'a [f32], samples: &Range<usize>) -> &'a [f32] {
    let per_sample = all.len() / batch.samples;
    &all[samples.start * per_sample..samples.end * per_sample]
}

/// Second linear layer: dy → dz of GRN.
fn to_grn(c: &Context, lane: &mut Lane, samples: Range<usize>) -> Half {
    let Context { arch, batch, w, saved, parallel, .. } = *c;
    let (channels, hidden) = (w.channels(), w.hidden());
    let dy = part(batch, c.dy, &samples);
    let rows = dy.len() / channels;
    let mut branch = Buffer::take(dy.len());
    let per_sample = batch.tokens_out() * channels;
    let pairs = branch.chunks_exact_mut(per_sample).zip(dy.chunks_exact(per_sample));
    for (sample, (branch, dy)) in samples.clone().zip(pairs) {
        let scale = batch.branch_scale(sample);
        branch.iter_mut().zip(dy).for_each(|(branch, dy)| *branch = dy * scale);
    }
    add_columns(&branch, &mut lane.gradients.pwconv2_bias);

    let activation = part(batch, &saved.activation, &samples);
    let z = responses(arch, batch, samples.clone(), w, (activation, norms(c, &samples)));
    let d_branch = View::new(&branch, rows, channels);
    gemm(&mut lane.gradients.pwconv2, true, d_branch.transposed(), View::new(&z, rows, hidden), parallel);
    let mut gradient = z; // dz takes the place of z
    gemm(&mut gradient, false, d_branch, View::new(w.pwconv2, channels, hidden), parallel);
    if batch.selected.is_some() {
        let mut all = Buffer::take(activation.len());
        all.fill(0.0);
        batch.spread(samples.clone(), &gradient, hidden, &mut all);
        gradient = all;
    }

    let mut along = Buffer::take(samples.len() * hidden);
    let per_sample = batch.tokens() * hidden;
    let pairs = gradient.chunks_exact(per_sample).zip(activation.chunks_exact(per_sample));
    for (along, (dz, x)) in along.chunks_exact_mut(hidden).zip(pairs) {
        grn::along(arch, dz, x, along, &mut lane.gradients.beta);
    }
    Half { samples, gradient, along }
}

/// The norms of a group's samples, or those that all share.
fn norms<'a>(c: &'a Context, samples: &Range<usize>) -> &'a [f32] {
    match c.saved.norms.len() == c.w.hidden() {
        true => &c.saved.norms,
        false => part(c.batch, &c.saved.norms, samples),
    }
}

/// The rest of the way for a group whose samples have norms of their own.
fn from_grn(c: &Context, lane: &mut Lane, half: Half) {
    let hidden = c.w.hidden();
    let pairs = half.along.chunks_exact(hidden).zip(norms(c, &half.samples).chunks_exact(hidden));
    let d_gamma = &mut lane.gradients.gamma;
    let factors: Vec<grn::Factors> =
        pairs.map(|(along, norms)| grn::Factors::new(along, norms, c.w.gamma, d_gamma)).collect();
    through_grn(c, lane, half, &factors);
}

/// GRN and GELU, first linear layer, LayerNorm, depthwise convolution, residual. `factors`: one
/// for each sample of the group, or one for all.
fn through_grn(c: &Context, lane: &mut Lane, half: Half, factors: &[grn::Factors]) {
    let Context { arch, batch, w, saved, parallel, .. } = *c;
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    let Half { samples, gradient: mut d_hidden, .. } = half;
    let gradients = &mut lane.gradients;
    let per_sample = tokens * hidden;
    let inputs = part(batch, &saved.activation, &samples)
        .chunks_exact(per_sample)
        .zip(part(batch, &saved.slope, &samples).chunks_exact(per_sample));
    for (i, (gradient, inputs)) in d_hidden.chunks_exact_mut(per_sample).zip(inputs).enumerate() {
        grn::backward(arch, gradient, inputs, &factors[i % factors.len()]);
    }

    // First linear layer.
    add_columns(&d_hidden, &mut gradients.pwconv1_bias);
    let (normalized, inverse_std) =
        (part(batch, &saved.normalized, &samples), part(batch, &saved.inverse_std, &samples));
    let rows = inverse_std.len();
    let mut scaled = Buffer::take(rows * channels);
    layer_norm::affine(arch, normalized, w.norm, w.norm_bias, &mut scaled);
    let d_hidden = View::new(&d_hidden, rows, hidden);
    let inputs = View::new(&scaled, rows, channels);
    gemm(&mut gradients.pwconv1, true, d_hidden.transposed(), inputs, parallel);
    let mut d_norm = scaled; // dy of LayerNorm takes the place of its y
    gemm(&mut d_norm, false, d_hidden, View::new(w.pwconv1, hidden, channels), parallel);

    // LayerNorm, depthwise convolution, residual.
    let norm_gradients = (&mut gradients.norm[..], &mut gradients.norm_bias[..]);
    layer_norm::backward(arch, &mut d_norm, normalized, inverse_std, w.norm, norm_gradients);
    let per_sample = tokens * channels;
    let offset = (samples.start - lane.samples.start) * per_sample;
    let dx = &mut lane.dx[offset..offset + rows * channels];
    let x = part(batch, c.x, &samples);
    for (i, sample) in samples.clone().enumerate() {
        let layout = batch.layout(sample);
        let range = i * per_sample..(i + 1) * per_sample;
        let gradient = &d_norm[range.clone()];
        dwconv7::forward(arch, &layout, &c.turned, gradient, &mut dx[range.clone()], 0..batch.lines());
        lane.taps.add(arch, &layout, &x[range], gradient);
    }
    let dy = part(batch, c.dy, &samples);
    match batch.selected {
        Some(_) => batch.spread(samples, dy, channels, dx),
        None => dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy),
    }
}

/// Adds the sum of every column to `sums`.
fn add_columns(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}
