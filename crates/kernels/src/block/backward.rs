//! The backward pass.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::{Batch, Saved, Statistics, WeightGradients, Weights, blocks, norms_of};
use crate::buffer::Buffer;
use crate::columns::{add, add_columns};
use crate::dwconv7::{self, WeightGradient};
use crate::gemm::epilogue::{Along, Plain};
use crate::gemm::tiles::Tiles;
use crate::gemm::{
    ColumnScales, Divide, Packed, Rows, Start, TASK_ROWS, outer, outer_scaled, product_with, weight_gradient,
};
use crate::results::{Part, Results};
use crate::transpose::transpose;
use crate::{Arch, gelu, grn, layer_norm};

/// Most bytes spent on gradients of weights, one set for every lane.
const GRADIENT_BYTES: usize = 256 << 20;
/// Elements of a linear layer's weight from which on its gradient is computed at once, from what all
/// groups leave, instead of group by group.
const LARGE_WEIGHT: usize = 1 << 18;

/// Everything that is the same for all samples.
struct Context<'a> {
    arch: Arch,
    batch: &'a Batch,
    w: &'a Weights<'a>,
    turned: dwconv7::Weights,
    /// With LayerNorm's γ, so that it leads back to x̂.
    pwconv1: Packed,
    pwconv2: Packed,
    x: &'a [f32],
    saved: &'a Saved,
    dy: &'a [f32],
    /// Whether the gradients of the linear layers are left for the end.
    large: bool,
}

/// A run of groups that share one set of gradients.
struct Lane<'a> {
    samples: Range<usize>,
    dx: Part<'a>,
    gradients: WeightGradients,
    /// Gradients of the linear layers' weights, unless these are large, `[C, 4C]` both: that of the first one
    /// transposed.
    linear: [Vec<f32>; 2],
    taps: WeightGradient,
    /// Groups half done, which wait for sums over all samples.
    waiting: Vec<Half>,
    /// What the gradients of large linear layers are made of, group by group.
    factors: Vec<LinearFactors>,
}

/// What the gradients of the linear layers are made of, beside what is there for all samples: the gradient of
/// the first one's output, and the second one's input.
struct LinearFactors {
    samples: Range<usize>,
    d_hidden: Buffer,
    /// `[rows out, 4C]`.
    activation: Buffer,
    /// What GRN multiplies them by, `[samples, 4C]`.
    scales: Buffer,
}

/// A group on its way back, at GRN.
struct Half {
    samples: Range<usize>,
    /// dz, `[rows, 4C]`.
    gradient: Buffer,
    /// Σ dz·x of every sample, `[samples, 4C]`.
    along: Buffer,
    /// GELU's value and derivative, `[rows, 4C]`.
    activation: Buffer,
    slope: Buffer,
    /// Of the rows that come out, if not all do.
    selected: Option<Buffer>,
    scales: Buffer,
}

/// Computes the gradients of input and weights from that of the output.
pub fn backward(
    arch: Arch,
    batch: &Batch,
    w: &Weights,
    x: &[f32],
    saved: &Saved,
    dy: &[f32],
) -> (Vec<f32>, WeightGradients) {
    let (channels, hidden) = (w.channels(), w.hidden());
    assert_eq!(dy.len(), batch.samples * batch.tokens_out() * channels);
    let large = w.pwconv1.len() >= LARGE_WEIGHT;
    let mut pwconv1 = Packed::new(arch, w.pwconv1, hidden, channels);
    pwconv1.scale_columns(arch, w.norm);
    let c = Context {
        arch,
        batch,
        w,
        turned: dwconv7::Weights::turned(w.dwconv, channels),
        pwconv1,
        pwconv2: Packed::new(arch, w.pwconv2, channels, hidden),
        x,
        saved,
        dy,
        large,
    };
    let mut dx = Results::new(x.len());
    let mut lanes = divide(&c, &mut dx);
    lanes.par_iter_mut().for_each(|lane| {
        if !c.large {
            // Cleared by the thread that adds to them.
            lane.linear = [(); 2].map(|()| vec![0.0; w.pwconv1.len()]);
        }
        let group = batch.group();
        for first in lane.samples.clone().step_by(group) {
            let half = to_grn(&c, lane, first..(first + group).min(lane.samples.end));
            match batch.statistics {
                Statistics::Sample => from_grn(&c, lane, half),
                Statistics::Batch => lane.waiting.push(half),
            }
        }
    });
    if batch.statistics == Statistics::Batch {
        from_grn_of_all(&c, &mut lanes);
    }
    let gradients = sum_of(&c, lanes);
    (dx.finish(), gradients)
}

/// Consecutive samples for each lane, few enough lanes that their gradients stay in the caches.
fn divide<'a>(c: &Context, dx: &'a mut Results) -> Vec<Lane<'a>> {
    let (batch, w, channels) = (c.batch, c.w, c.w.channels());
    let (group, tokens) = (batch.group(), batch.tokens());
    let groups = batch.samples.div_ceil(group);
    let bytes = 4 * (w.dwconv.len() + if c.large { 0 } else { 2 * w.pwconv1.len() });
    let lane = groups.div_ceil(groups.min((GRADIENT_BYTES / bytes).max(2))) * group;
    (dx.parts(lane * tokens * channels).enumerate())
        .map(|(index, dx)| Lane {
            samples: index * lane..index * lane + dx.len() / (tokens * channels),
            dx,
            gradients: WeightGradients::started(w),
            linear: Default::default(),
            taps: WeightGradient::new(channels),
            waiting: Vec::new(),
            factors: Vec::new(),
        })
        .collect()
}

/// Goes on from GRN, where its norms are those of the whole batch and every lane has waited for the others.
fn from_grn_of_all(c: &Context, lanes: &mut [Lane]) {
    let hidden = c.w.hidden();
    let mut total = vec![0.0; hidden];
    let halves = lanes.iter().flat_map(|lane| &lane.waiting);
    for along in halves.flat_map(|half| half.along.chunks_exact(hidden)) {
        total.iter_mut().zip(along).for_each(|(t, a)| *t += a);
    }
    let factors = grn::Factors::new(&total, &c.saved.norms, c.w.gamma, &mut lanes[0].gradients.gamma);
    lanes.par_iter_mut().for_each(|lane| {
        for half in std::mem::take(&mut lane.waiting) {
            through_grn(c, lane, half, std::slice::from_ref(&factors));
        }
    });
}

/// The gradients of all lanes together, in the layout of the weights.
fn sum_of(c: &Context, lanes: Vec<Lane>) -> WeightGradients {
    let linear = match c.large {
        true => large_gradients(c, &lanes),
        false => small_gradients(c, &lanes),
    };
    let mut sets = lanes.into_iter().map(|lane| {
        let mut gradients = lane.gradients;
        lane.taps.add_to(&mut gradients.dwconv, &mut gradients.dwconv_bias);
        gradients
    });
    let mut sum = sets.next().unwrap_or_else(|| WeightGradients::started(c.w));
    sum.add(c.arch, sets);
    [sum.pwconv1, sum.pwconv2] = linear;
    sum.unfold(c.arch, c.w);
    sum
}

/// Gradients of the two linear layers' weights: the sums of those of all lanes, in their order whatever the number
/// of threads.
fn small_gradients(c: &Context, lanes: &[Lane]) -> [Vec<f32>; 2] {
    const CHUNK: usize = 1 << 14;
    let (channels, hidden) = (c.w.channels(), c.w.hidden());
    let mut sums = [(); 2].map(|()| vec![0.0; channels * hidden]);
    for (which, sum) in sums.iter_mut().enumerate() {
        sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
            let len = sum.len();
            let parts = lanes.iter().map(|lane| &lane.linear[which][chunk * CHUNK..][..len]);
            parts.for_each(|part| add(c.arch, sum, part));
        });
    }
    let [first, second] = sums;
    let mut pwconv1 = vec![0.0; channels * hidden];
    transpose(c.arch, &first, channels, hidden, &mut pwconv1);
    [pwconv1, second]
}

/// Gradients of the two linear layers, from what all lanes left.
fn large_gradients(c: &Context, lanes: &[Lane]) -> [Vec<f32>; 2] {
    let (channels, hidden) = (c.w.channels(), c.w.hidden());
    let groups = || lanes.iter().flat_map(|lane| &lane.factors);
    let first = groups().map(|g| Rows::new(&g.d_hidden, part(c.batch, &c.saved.normalized, &g.samples)));
    let first: Vec<Rows> = first.collect();
    let d_branch: Vec<Cow<[f32]>> =
        groups().map(|g| branch_gradient(c, part(c.batch, c.dy, &g.samples), g.samples.start)).collect();
    let rows_each = c.batch.tokens_out();
    let second = d_branch.iter().zip(groups()).map(|(dy, g)| Rows {
        dy,
        x: &g.activation,
        scales: Some(ColumnScales { factors: &g.scales, rows_each }),
    });
    let second: Vec<Rows> = second.collect();
    [weight_gradient(c.arch, &first, hidden, channels), weight_gradient(c.arch, &second, channels, hidden)]
}

/// The part of `all`, values of all samples, that belongs to some.
fn part<'a>(batch: &Batch, all: &'a [f32], samples: &Range<usize>) -> &'a [f32] {
    let per_sample = all.len() / batch.samples;
    &all[samples.start * per_sample..samples.end * per_sample]
}

/// GELU once more, then back through the second linear layer: dy → dz of GRN.
fn to_grn(c: &Context, lane: &mut Lane, samples: Range<usize>) -> Half {
    let Context { arch, batch, w, saved, .. } = *c;
    let (channels, hidden) = (w.channels(), w.hidden());
    let inputs = part(batch, &saved.hidden, &samples);
    let (mut activation, mut slope) = (Buffer::take(inputs.len()), Buffer::take(inputs.len()));
    (activation.par_chunks_mut(TASK_ROWS * hidden))
        .zip(slope.par_chunks_mut(TASK_ROWS * hidden))
        .zip(inputs.par_chunks(TASK_ROWS * hidden))
        .for_each(|((activation, slope), inputs)| gelu::with_derivative(arch, inputs, activation, slope));

    let dy = part(batch, c.dy, &samples);
    let per_sample = batch.tokens_out();
    let selected = batch.selected.as_ref().map(|_| {
        let mut rows = Buffer::take(samples.len() * per_sample * hidden);
        rows.copy_from_slice(&batch.select(samples.clone(), &activation, hidden));
        rows
    });
    let rows_out = selected.as_deref().unwrap_or(&activation);
    let scales = scales(c, &samples);
    let mut gradient = Buffer::take(rows_out.len());
    let mut along = Buffer::take(samples.len() * hidden);
    along.fill(0.0);
    for rows in blocks(samples.len(), per_sample) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let d_branch = branch_gradient(c, &dy[narrow], samples.start + rows.start / per_sample);
        add_columns(arch, &d_branch, &mut lane.gradients.pwconv2_bias);
        let activation = &rows_out[wide.clone()];
        if !c.large {
            let factors = &scales[rows.start / per_sample * hidden..];
            let scales = Some(ColumnScales { factors, rows_each: per_sample });
            let d_weight = &mut lane.linear[1];
            outer_scaled(arch, &d_branch, activation, scales, d_weight, (channels, hidden), true);
        }
        let along = Along {
            values: activation,
            sums: Tiles::new(&mut along[rows.start / per_sample * hidden..], hidden),
            rows_per_sum: per_sample,
            columns: hidden,
        };
        product_with(
            arch,
            &d_branch,
            &c.pwconv2,
            &mut gradient[wide],
            Start::Zero,
            &along,
            Divide::ByColumns,
        );
    }
    if selected.is_some() {
        let mut all = Buffer::take(activation.len());
        all.fill(0.0);
        batch.spread(samples.clone(), &gradient, hidden, &mut all);
        gradient = all;
    }
    Half { samples, gradient, along, activation, slope, selected, scales }
}

/// What GRN multiplies the activations of every sample by, `[samples, 4C]`.
fn scales(c: &Context, samples: &Range<usize>) -> Buffer {
    let hidden = c.w.hidden();
    let mut scales = Buffer::take(samples.len() * hidden);
    for (i, scale) in scales.chunks_exact_mut(hidden).enumerate() {
        grn::scale(norms_of(&c.saved.norms, hidden, samples.start + i), c.w.gamma, scale);
    }
    scales
}

/// dy of some rows times the factor of their samples' branch, the first of which is `sample`.
fn branch_gradient<'a>(c: &Context, dy: &'a [f32], sample: usize) -> Cow<'a, [f32]> {
    let Some(scales) = &c.batch.branch_scale else { return dy.into() };
    let rows = dy.chunks(c.batch.tokens_out() * c.w.channels());
    rows.zip(&scales[sample..]).flat_map(|(dy, scale)| dy.iter().map(move |dy| dy * scale)).collect()
}

/// The rest of the way for a group whose samples have norms of their own.
fn from_grn(c: &Context, lane: &mut Lane, half: Half) {
    let hidden = c.w.hidden();
    let pairs = half.along.chunks_exact(hidden).zip(half.samples.clone());
    let d_gamma = &mut lane.gradients.gamma;
    let factors = pairs.map(|(along, sample)| {
        grn::Factors::new(along, norms_of(&c.saved.norms, hidden, sample), c.w.gamma, d_gamma)
    });
    let factors: Vec<grn::Factors> = factors.collect();
    through_grn(c, lane, half, &factors);
}

/// GRN and GELU, first linear layer, LayerNorm, depthwise convolution, residual. `factors`: one
/// for each sample of the group, or one for all.
fn through_grn(c: &Context, lane: &mut Lane, half: Half, factors: &[grn::Factors]) {
    let Context { arch, batch, w, saved, .. } = *c;
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    let Half { samples, gradient: mut d_hidden, activation, slope, selected, scales, .. } = half;
    let (normalized, inverse_std) =
        (part(batch, &saved.normalized, &samples), part(batch, &saved.inverse_std, &samples));
    let mut d_norm = Buffer::take(normalized.len());
    for rows in blocks(samples.len(), tokens) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let d_hidden = &mut d_hidden[wide.clone()];
        let inputs = (&activation[wide.clone()], &slope[wide]);
        let factors = |sample: usize| &factors[(rows.start / tokens + sample) % factors.len()];
        add_columns(arch, &through_gelu(c, d_hidden, inputs, factors), &mut lane.gradients.pwconv1_bias);
        let (normalized, d_norm) = (&normalized[narrow.clone()], &mut d_norm[narrow]);
        if !c.large {
            outer(arch, normalized, d_hidden, &mut lane.linear[0], (channels, hidden), true);
        }
        product_with(arch, d_hidden, &c.pwconv1, d_norm, Start::Zero, &Plain, Divide::ByTiles);
        (d_norm.par_chunks_mut(TASK_ROWS * channels))
            .zip(normalized.par_chunks(TASK_ROWS * channels))
            .zip(inverse_std[rows].par_chunks(TASK_ROWS))
            .for_each(|((gradient, x), inverse)| layer_norm::backward(arch, gradient, x, inverse, channels));
    }

    to_input(c, lane, &samples, &d_norm);
    if c.large {
        let activation = selected.unwrap_or(activation);
        lane.factors.push(LinearFactors { samples, d_hidden, activation, scales });
    }
}

/// GRN and GELU of some rows, which are of one sample or of whole ones. Returns the sums over each sample's
/// rows.
fn through_gelu<'a>(
    c: &Context,
    gradient: &mut [f32],
    (activation, slope): (&[f32], &[f32]),
    factors: impl Fn(usize) -> &'a grn::Factors + Sync,
) -> Buffer {
    let hidden = c.w.hidden();
    let per_sample = c.batch.tokens() * hidden;
    let mut sums = Buffer::take(gradient.len().div_ceil(per_sample) * hidden);
    (gradient.par_chunks_mut(per_sample))
        .zip(activation.par_chunks(per_sample).zip(slope.par_chunks(per_sample)))
        .zip(sums.par_chunks_mut(hidden))
        .enumerate()
        .for_each(|(sample, ((gradient, inputs), sums))| {
            sums.fill(0.0);
            grn::backward(c.arch, gradient, inputs, factors(sample), sums);
        });
    sums
}

/// Depthwise convolution and residual, from the gradient `[rows, C]` of the convolution's output.
fn to_input(c: &Context, lane: &mut Lane, samples: &Range<usize>, d_norm: &[f32]) {
    let Context { arch, batch, .. } = *c;
    let channels = c.w.channels();
    let per_sample = batch.tokens() * channels;
    let offset = (samples.start - lane.samples.start) * per_sample;
    let dx = &mut lane.dx.slice()[offset..offset + d_norm.len()];
    (dx.par_chunks_mut(per_sample)).zip(d_norm.par_chunks(per_sample)).zip(samples.clone()).for_each(
        |((dx, gradient), sample)| {
            dwconv7::forward(arch, &batch.layout(sample), &c.turned, gradient, dx, 0..batch.lines());
        },
    );
    let pairs = part(batch, c.x, samples).chunks(per_sample).zip(d_norm.chunks(per_sample));
    for (sample, (x, gradient)) in samples.clone().zip(pairs) {
        lane.taps.add(arch, &batch.layout(sample), x, gradient);
    }
    let dy = part(batch, c.dy, samples);
    match batch.selected {
        Some(_) => batch.spread(samples.clone(), dy, channels, dx),
        None => add(arch, dx, dy),
    }
}
