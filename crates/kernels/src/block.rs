//! The whole block, forward and backward, in groups of samples that stay in the cache.
//!
//! Depthwise 7×7 → LayerNorm → linear C → 4C → GELU → GRN (per sample) → linear 4C → C → residual.
//! Groups run in parallel; what a group computes, and the order in which weight gradients are
//! summed, do not depend on the number of threads.

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::dwconv7::{self, Layout, Map, WeightGradient};
use crate::gemm::{View, gemm};
use crate::{Arch, gelu, grn, layer_norm};

const EPSILON: f32 = 1e-6;
/// Rows of a matrix product from which on more samples in a group gain nothing.
const ROWS: usize = 1024;
/// Most bytes spent on gradients of weights, one set for every group.
const GRADIENT_BYTES: usize = 256 << 20;

/// Parameters in PyTorch's layout.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Depthwise kernel `[C, 1, 7, 7]`.
    pub dwconv: &'a [f32],
    /// `[C]`.
    pub dwconv_bias: &'a [f32],
    /// LayerNorm, `[C]`.
    pub norm: &'a [f32],
    /// `[C]`.
    pub norm_bias: &'a [f32],
    /// First linear, `[4C, C]`.
    pub pwconv1: &'a [f32],
    /// `[4C]`.
    pub pwconv1_bias: &'a [f32],
    /// GRN, `[4C]`.
    pub gamma: &'a [f32],
    /// `[4C]`.
    pub beta: &'a [f32],
    /// Second linear, `[C, 4C]`.
    pub pwconv2: &'a [f32],
    /// `[C]`.
    pub pwconv2_bias: &'a [f32],
}

impl Weights<'_> {
    fn channels(&self) -> usize {
        self.norm.len()
    }

    fn hidden(&self) -> usize {
        self.gamma.len()
    }
}

/// Gradients, in the order and layout of [`Weights`].
#[derive(Debug, Clone)]
pub struct WeightGradients {
    /// See [`Weights`].
    pub dwconv: Vec<f32>,
    /// See [`Weights`].
    pub dwconv_bias: Vec<f32>,
    /// See [`Weights`].
    pub norm: Vec<f32>,
    /// See [`Weights`].
    pub norm_bias: Vec<f32>,
    /// See [`Weights`].
    pub pwconv1: Vec<f32>,
    /// See [`Weights`].
    pub pwconv1_bias: Vec<f32>,
    /// See [`Weights`].
    pub gamma: Vec<f32>,
    /// See [`Weights`].
    pub beta: Vec<f32>,
    /// See [`Weights`].
    pub pwconv2: Vec<f32>,
    /// See [`Weights`].
    pub pwconv2_bias: Vec<f32>,
}

impl WeightGradients {
    fn zeros(w: &Weights) -> Self {
        let zeros = |like: &[f32]| vec![0.0; like.len()];
        Self {
            dwconv: zeros(w.dwconv),
            dwconv_bias: zeros(w.dwconv_bias),
            norm: zeros(w.norm),
            norm_bias: zeros(w.norm_bias),
            pwconv1: zeros(w.pwconv1),
            pwconv1_bias: zeros(w.pwconv1_bias),
            gamma: zeros(w.gamma),
            beta: zeros(w.beta),
            pwconv2: zeros(w.pwconv2),
            pwconv2_bias: zeros(w.pwconv2_bias),
        }
    }

    /// All of them, in order.
    pub fn into_array(self) -> [Vec<f32>; 10] {
        [
            self.dwconv,
            self.dwconv_bias,
            self.norm,
            self.norm_bias,
            self.pwconv1,
            self.pwconv1_bias,
            self.gamma,
            self.beta,
            self.pwconv2,
            self.pwconv2_bias,
        ]
    }

    fn add(mut self, other: Self) -> Self {
        let mine = [
            &mut self.dwconv,
            &mut self.dwconv_bias,
            &mut self.norm,
            &mut self.norm_bias,
            &mut self.pwconv1,
            &mut self.pwconv1_bias,
            &mut self.gamma,
            &mut self.beta,
            &mut self.pwconv2,
            &mut self.pwconv2_bias,
        ];
        for (mine, other) in mine.into_iter().zip(other.into_array()) {
            mine.iter_mut().zip(other).for_each(|(a, b)| *a += b);
        }
        self
    }
}

/// A batch of tokens: where they lie, and which come out.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Samples.
    pub samples: usize,
    /// Patches of the map: rows, columns.
    pub grid: [usize; 2],
    /// Sites of a patch: rows, columns.
    pub patch: [usize; 2],
    /// Visible patches of all samples, the same number of each; all patches if none are given.
    pub visible: Option<Vec<u32>>,
    /// Patches whose tokens come out, the same number for each sample; all if none are given. Only
    /// with all patches visible.
    pub selected: Option<Vec<u32>>,
    /// Factor on each sample's residual branch (drop path).
    pub branch_scale: Option<Vec<f32>>,
}

impl Batch {
    fn layout(&self, sample: usize) -> Layout<'_> {
        let visible = self.visible.as_deref().map(|all| {
            let count = all.len() / self.samples;
            &all[sample * count..][..count]
        });
        Layout { grid: self.grid, patch: self.patch, visible }
    }

    /// Tokens of a sample that go in.
    pub fn tokens(&self) -> usize {
        self.layout(0).tokens()
    }

    /// Tokens of a sample that come out.
    pub fn tokens_out(&self) -> usize {
        self.selected.as_ref().map_or(self.tokens(), |s| s.len() / self.samples * self.patch_len())
    }

    fn patch_len(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    fn branch_scale(&self, sample: usize) -> f32 {
        self.branch_scale.as_ref().map_or(1.0, |scales| scales[sample])
    }

    /// Samples of a group.
    fn group(&self) -> usize {
        (ROWS / self.tokens()).clamp(1, 8).min(self.samples.div_ceil(4)).max(1)
    }

    /// Calls `f(row out, row in)` for every selected patch of a sample, counted in tokens.
    fn for_selected(&self, sample: usize, mut f: impl FnMut(usize, usize)) {
        if let Some(selected) = &self.selected {
            let count = selected.len() / self.samples;
            for (i, patch) in selected[sample * count..][..count].iter().enumerate() {
                f(i * self.patch_len(), *patch as usize * self.patch_len());
            }
        }
    }

    /// Copies the rows that come out, of `width` values each; borrows if all do.
    fn select<'a>(
        &self,
        samples: std::ops::Range<usize>,
        rows: &'a [f32],
        width: usize,
    ) -> std::borrow::Cow<'a, [f32]> {
        if self.selected.is_none() {
            return rows.into();
        }
        let (tokens, len) = (self.tokens() * width, self.patch_len() * width);
        let mut out = Vec::with_capacity(samples.len() * self.tokens_out() * width);
        for (i, sample) in samples.enumerate() {
            self.for_selected(sample, |_, from| out.extend(&rows[i * tokens + from * width..][..len]));
        }
        out.into()
    }

    /// The reverse: adds rows to where they came from.
    fn spread(&self, samples: std::ops::Range<usize>, rows: &[f32], width: usize, into: &mut [f32]) {
        let (tokens, out, len) = (self.tokens() * width, self.tokens_out() * width, self.patch_len() * width);
        for (i, sample) in samples.enumerate() {
            self.for_selected(sample, |to, from| {
                let source = &rows[i * out + to * width..][..len];
                let target = &mut into[i * tokens + from * width..][..len];
                target.iter_mut().zip(source).for_each(|(t, s)| *t += s);
            });
        }
    }
}

/// What the backward pass needs beside input and weights.
#[derive(Debug, PartialEq)]
pub struct Saved {
    /// LayerNorm's x̂, `[N, T, C]`.
    normalized: Buffer,
    /// 1/σ of each token, `[N, T]`.
    inverse_std: Buffer,
    /// GELU's value, `[N, T, 4C]`.
    activation: Buffer,
    /// GELU's derivative, `[N, T, 4C]`.
    slope: Buffer,
    /// GRN's channel norms, `[N, 4C]`.
    norms: Buffer,
}

/// Tokens `[N, T, C]` → tokens `[N, T_out, C]`.
pub fn forward(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> (Vec<f32>, Saved) {
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    assert_eq!(x.len(), batch.samples * tokens * channels);
    let rows = batch.samples * tokens;
    let mut saved = Saved {
        normalized: Buffer::take(rows * channels),
        inverse_std: Buffer::take(rows),
        activation: Buffer::take(rows * hidden),
        slope: Buffer::take(rows * hidden),
        norms: Buffer::take(batch.samples * hidden),
    };
    let mut y = vec![0.0; batch.samples * batch.tokens_out() * channels];
    let taps = dwconv7::Weights::new(w.dwconv, w.dwconv_bias);
    let group = batch.group();
    let alone = group >= batch.samples;
    (x.par_chunks(group * tokens * channels))
        .zip(y.par_chunks_mut(group * batch.tokens_out() * channels))
        .zip(saved.normalized.par_chunks_mut(group * tokens * channels))
        .zip(saved.inverse_std.par_chunks_mut(group * tokens))
        .zip(saved.activation.par_chunks_mut(group * tokens * hidden))
        .zip(saved.slope.par_chunks_mut(group * tokens * hidden))
        .zip(saved.norms.par_chunks_mut(group * hidden))
        .enumerate()
        .for_each(|(index, ((((((x, y), normalized), inverse_std), activation), slope), norms))| {
            let first = index * group;
            expand(
                arch,
                batch,
                first,
                w,
                &taps,
                alone,
                x,
                (normalized, inverse_std, activation, Some(slope), norms),
            );
            contract(arch, batch, first, w, alone, x, (activation, norms), y);
        });
    (y, saved)
}

/// As [`forward`], without what a backward pass would need.
pub fn infer(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Vec<f32> {
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    assert_eq!(x.len(), batch.samples * tokens * channels);
    let mut y = vec![0.0; batch.samples * batch.tokens_out() * channels];
    let taps = dwconv7::Weights::new(w.dwconv, w.dwconv_bias);
    let group = batch.group();
    let alone = group >= batch.samples;
    (x.par_chunks(group * tokens * channels))
        .zip(y.par_chunks_mut(group * batch.tokens_out() * channels))
        .enumerate()
        .for_each(|(index, (x, y))| {
            let rows = x.len() / channels;
            let (mut normalized, mut inverse_std) = (Buffer::take(x.len()), Buffer::take(rows));
            let (mut activation, mut norms) =
                (Buffer::take(rows * hidden), Buffer::take(rows / tokens * hidden));
            let first = index * group;
            let buffers =
                (&mut normalized[..], &mut inverse_std[..], &mut activation[..], None, &mut norms[..]);
            expand(arch, batch, first, w, &taps, alone, x, buffers);
            contract(arch, batch, first, w, alone, x, (&activation, &norms), y);
        });
    y
}

/// x̂, 1/σ, activation, slope of the activation, channel norms.
type Expanded<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32], Option<&'a mut [f32]>, &'a mut [f32]);

/// Depthwise convolution to GRN's norms, for a group of samples.
#[allow(clippy::too_many_arguments, reason = "one call site for each pass")]
fn expand(
    arch: Arch,
    batch: &Batch,
    first: usize,
    w: &Weights,
    taps: &dwconv7::Weights,
    alone: bool,
    x: &[f32],
    (normalized, inverse_std, activation, slope, norms): Expanded,
) {
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    let (rows, mut map) = (x.len() / channels, Map::default());
    let samples = x.chunks_exact(tokens * channels).zip(normalized.chunks_exact_mut(tokens * channels));
    for (i, (x, y)) in samples.enumerate() {
        dwconv7::forward(arch, &batch.layout(first + i), taps, x, y, &mut map);
    }
    layer_norm::normalize(arch, normalized, inverse_std, channels, EPSILON);
    let mut scaled = Buffer::take(x.len());
    layer_norm::affine(arch, normalized, w.norm, w.norm_bias, &mut scaled);
    let weight = View::new(w.pwconv1, hidden, channels).transposed();
    gemm(activation, false, View::new(&scaled, rows, channels), weight, alone);
    match slope {
        Some(slope) => gelu::forward_with_derivative(arch, activation, w.pwconv1_bias, slope),
        None => gelu::forward(arch, activation, w.pwconv1_bias),
    }
    for (activation, norms) in activation.chunks_exact(tokens * hidden).zip(norms.chunks_exact_mut(hidden)) {
        grn::norms(arch, activation, norms);
    }
}

/// z = GRN(activation) of the tokens that come out.
fn responses(
    arch: Arch,
    batch: &Batch,
    first: usize,
    w: &Weights,
    (activation, norms): (&[f32], &[f32]),
) -> Buffer {
    let (hidden, per_sample) = (w.hidden(), batch.tokens_out() * w.hidden());
    let samples = first..first + norms.len() / hidden;
    let mut z = Buffer::take(samples.len() * per_sample);
    let selected = batch.select(samples, activation, hidden);
    let mut scale = vec![0.0; hidden];
    let pairs = z.chunks_exact_mut(per_sample).zip(selected.chunks_exact(per_sample));
    for ((z, a), norms) in pairs.zip(norms.chunks_exact(hidden)) {
        grn::scale(norms, w.gamma, &mut scale);
        grn::apply(arch, a, &scale, w.beta, z);
    }
    z
}

/// GRN to the residual, for a group of samples.
#[allow(clippy::too_many_arguments, reason = "one call site for each pass")]
fn contract(
    arch: Arch,
    batch: &Batch,
    first: usize,
    w: &Weights,
    alone: bool,
    x: &[f32],
    expanded: (&[f32], &[f32]),
    y: &mut [f32],
) {
    let (channels, hidden) = (w.channels(), w.hidden());
    let z = responses(arch, batch, first, w, expanded);
    let weight = View::new(w.pwconv2, channels, hidden).transposed();
    gemm(y, false, View::new(&z, y.len() / channels, hidden), weight, alone);
    let samples = y.len() / channels / batch.tokens_out();
    let shortcut = batch.select(first..first + samples, x, channels);
    let per_sample = batch.tokens_out() * channels;
    for (i, (y, x)) in y.chunks_exact_mut(per_sample).zip(shortcut.chunks_exact(per_sample)).enumerate() {
        let scale = batch.branch_scale(first + i);
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            y.iter_mut().zip(x).zip(w.pwconv2_bias).for_each(|((y, x), b)| *y = (*y + b) * scale + x);
        }
    }
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
    let turned = dwconv7::Weights::turned(w.dwconv, channels);
    let group = batch.group();
    // A lane is a run of groups that share one set of gradients.
    let bytes = 4 * (2 * w.pwconv1.len() + w.dwconv.len());
    let lanes = batch.samples.div_ceil(group).min((GRADIENT_BYTES / bytes).max(2));
    let lane = batch.samples.div_ceil(group).div_ceil(lanes) * group;
    let mut dx = vec![0.0; x.len()];
    let gradients: Vec<WeightGradients> = dx
        .par_chunks_mut(lane * tokens * channels)
        .enumerate()
        .map(|(index, dx)| {
            let mut gradients = WeightGradients::zeros(w);
            let mut taps = WeightGradient::new(channels);
            for (i, dx) in dx.chunks_mut(group * tokens * channels).enumerate() {
                let first = index * lane + i * group;
                backward_group(arch, batch, first, w, &turned, x, saved, dy, dx, (&mut gradients, &mut taps));
            }
            taps.add_to(&mut gradients.dwconv, &mut gradients.dwconv_bias);
            gradients
        })
        .collect();
    let sum = gradients.into_iter().reduce(WeightGradients::add);
    (dx, sum.unwrap_or_else(|| WeightGradients::zeros(w)))
}

#[allow(clippy::too_many_arguments, reason = "one call site")]
fn backward_group(
    arch: Arch,
    batch: &Batch,
    first: usize,
    w: &Weights,
    turned: &dwconv7::Weights,
    x: &[f32],
    saved: &Saved,
    dy: &[f32],
    dx: &mut [f32],
    (gradients, taps): (&mut WeightGradients, &mut WeightGradient),
) {
    let (channels, hidden, tokens, out) = (w.channels(), w.hidden(), batch.tokens(), batch.tokens_out());
    let rows = dx.len() / channels;
    let samples = rows / tokens;
    let range = first..first + samples;
    let part = |all: &[f32], width: usize| -> std::ops::Range<usize> {
        let per_sample = all.len() / batch.samples;
        debug_assert_eq!(per_sample % width, 0);
        first * per_sample..(first + samples) * per_sample
    };
    let x = &x[part(x, channels)];
    let dy = &dy[part(dy, channels)];
    let normalized = &saved.normalized[part(&saved.normalized, channels)];
    let inverse_std = &saved.inverse_std[part(&saved.inverse_std, 1)];
    let activation = &saved.activation[part(&saved.activation, hidden)];
    let slope = &saved.slope[part(&saved.slope, hidden)];
    let norms = &saved.norms[part(&saved.norms, hidden)];

    // Second linear layer.
    let mut branch = Buffer::take(dy.len());
    let pairs = branch.chunks_exact_mut(out * channels).zip(dy.chunks_exact(out * channels));
    for (i, (branch, dy)) in pairs.enumerate() {
        let scale = batch.branch_scale(first + i);
        branch.iter_mut().zip(dy).for_each(|(branch, dy)| *branch = dy * scale);
    }
    add_columns(&branch, &mut gradients.pwconv2_bias);
    let z = responses(arch, batch, first, w, (activation, norms));
    let d_branch = View::new(&branch, samples * out, channels);
    gemm(&mut gradients.pwconv2, true, d_branch.transposed(), View::new(&z, samples * out, hidden), false);
    let mut d_hidden = z; // dz takes the place of z
    gemm(&mut d_hidden, false, d_branch, View::new(w.pwconv2, channels, hidden), false);
    if batch.selected.is_some() {
        let mut all = Buffer::take(rows * hidden);
        all.fill(0.0);
        batch.spread(range.clone(), &d_hidden, hidden, &mut all);
        d_hidden = all;
    }

    // GRN and GELU.
    let per_sample = tokens * hidden;
    for (i, gradient) in d_hidden.chunks_exact_mut(per_sample).enumerate() {
        let of = |all: &'_ [f32]| i * per_sample..(i * per_sample + per_sample).min(all.len());
        let norms = &norms[i * hidden..][..hidden];
        let inputs = (&activation[of(activation)], &slope[of(slope)]);
        grn::backward(arch, gradient, inputs, (norms, w.gamma), (&mut gradients.gamma, &mut gradients.beta));
    }

    // First linear layer.
    add_columns(&d_hidden, &mut gradients.pwconv1_bias);
    let mut scaled = Buffer::take(rows * channels);
    layer_norm::affine(arch, normalized, w.norm, w.norm_bias, &mut scaled);
    let d_hidden = View::new(&d_hidden, rows, hidden);
    gemm(&mut gradients.pwconv1, true, d_hidden.transposed(), View::new(&scaled, rows, channels), false);
    let mut d_norm = scaled; // dy of LayerNorm takes the place of its y
    gemm(&mut d_norm, false, d_hidden, View::new(w.pwconv1, hidden, channels), false);

    // LayerNorm and depthwise convolution.
    let norm_gradients = (&mut gradients.norm[..], &mut gradients.norm_bias[..]);
    layer_norm::backward(arch, &mut d_norm, normalized, inverse_std, w.norm, norm_gradients);
    let mut map = Map::default();
    for i in 0..samples {
        let layout = batch.layout(first + i);
        let sample = i * tokens * channels..(i + 1) * tokens * channels;
        dwconv7::forward(arch, &layout, turned, &d_norm[sample.clone()], &mut dx[sample.clone()], &mut map);
        taps.add(arch, &layout, &x[sample.clone()], &d_norm[sample], &mut map);
    }

    // Residual.
    match batch.selected {
        Some(_) => batch.spread(range, dy, channels, dx),
        None => dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy),
    }
}

/// Adds the sum of every column to `sums`.
fn add_columns(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, assert_close, numbers, wide};

    /// Input and weights in double precision.
    type Wide = Vec<Vec<f64>>;

    /// The block by its definition, without any layout: `sites[sample][token]` is the position of
    /// a token on its map of `width` columns.
    fn naive(batch: &Batch, sites: &[Vec<[isize; 2]>], v: &Wide) -> Vec<f64> {
        let [x, dw, dwb, n, nb, w1, b1, gamma, beta, w2, b2] = &v[..] else { unreachable!() };
        let (c, h, tokens) = (n.len(), gamma.len(), batch.tokens());
        let mut out = Vec::new();
        for (s, sites) in sites.iter().enumerate() {
            let x = &x[s * tokens * c..][..tokens * c];
            let mut hidden = Vec::new();
            for [ty, tx] in sites {
                let mut row: Vec<f64> = dwb.clone();
                for (u, [uy, ux]) in sites.iter().enumerate() {
                    let (dy, dx) = (uy - ty + 3, ux - tx + 3);
                    if (0..7).contains(&dy) && (0..7).contains(&dx) {
                        let tap = (dy * 7 + dx) as usize;
                        (0..c).for_each(|i| row[i] += x[u * c + i] * dw[i * 49 + tap]);
                    }
                }
                let mean = row.iter().sum::<f64>() / c as f64;
                let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
                let norm: Vec<f64> =
                    (0..c).map(|i| (row[i] - mean) / (var + 1e-6).sqrt() * n[i] + nb[i]).collect();
                hidden.extend((0..h).map(|k| {
                    let z = b1[k] + (0..c).map(|i| w1[k * c + i] * norm[i]).sum::<f64>();
                    // GELU by the tanh form is another function; erf by its series is exact enough.
                    let erf = |z: f64| -> f64 {
                        let (mut term, mut sum) = (z, z);
                        for n in 1..60 {
                            term *= -z * z / f64::from(n);
                            sum += term / f64::from(2 * n + 1);
                        }
                        sum * 2.0 / std::f64::consts::PI.sqrt()
                    };
                    0.5 * z * (1.0 + erf(z / std::f64::consts::SQRT_2))
                }));
            }
            let norms: Vec<f64> =
                (0..h).map(|k| hidden.chunks(h).map(|row| row[k] * row[k]).sum::<f64>().sqrt()).collect();
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
                            let a = hidden[t * h + k];
                            (gamma[k] * a * norms[k] / divisor + beta[k] + a) * w2[i * h + k]
                        })
                        .sum();
                    out.push(x[t * c + i] + f64::from(batch.branch_scale(s)) * (b2[i] + branch));
                }
            }
        }
        out
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
                    (0..height * width)
                        .map(move |i| [(top + i / width) as isize, (left + i % width) as isize])
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
        let sizes = [
            batch.samples * batch.tokens() * c,
            49 * c,
            c,
            c,
            c,
            4 * c * c,
            4 * c,
            4 * c,
            4 * c,
            4 * c * c,
            c,
        ];
        let scales = [1.0, 0.3, 0.3, 0.5, 0.3, 0.6, 0.3, 0.5, 0.3, 0.6, 0.3];
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
        };
        vec![
            Batch { patch: [1, 1], ..plain.clone() },
            Batch { samples: 5, branch_scale: Some(vec![1.0, 0.0, 2.0, 1.25, 0.0]), ..plain.clone() },
            Batch {
                samples: 2,
                grid: [2, 3],
                patch: [2, 2],
                visible: Some(vec![0, 4, 1, 5]),
                ..plain.clone()
            },
            Batch {
                samples: 3,
                grid: [2, 2],
                patch: [1, 1],
                selected: Some(vec![0, 3, 1, 2, 2, 3]),
                ..plain.clone()
            },
            Batch { samples: 1, grid: [2, 2], patch: [2, 1], selected: Some(vec![2]), ..plain },
        ]
    }

    #[test]
    fn forward_and_backward_equal_the_definition() {
        for batch in batches() {
            let sites = sites(&batch);
            for (arch, channels) in arches().into_iter().flat_map(|arch| [(arch, 2), (arch, 5)]) {
                let v = values(&batch, channels);
                let (w, wide_values): (_, Wide) = (weights(&v), v.iter().map(|v| wide(v)).collect());
                let (y, saved) = forward(arch, &batch, &w, &v[0]);
                assert_close(&y, &naive(&batch, &sites, &wide_values), 1e-5, "y");
                assert_eq!(infer(arch, &batch, &w, &v[0]), y);

                let dy = numbers(y.len(), 99);
                let (dx, dw) = backward(arch, &batch, &w, &v[0], &saved, &dy);
                let found: Vec<Vec<f32>> = std::iter::once(dx).chain(dw.into_array()).collect();
                let loss = |v: &Wide| -> f64 {
                    naive(&batch, &sites, v).iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum()
                };
                for (which, found) in found.iter().enumerate() {
                    // A few elements of every parameter, by central differences.
                    for i in (0..found.len()).step_by(found.len().div_ceil(12)) {
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
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        let batch = Batch {
            samples: 9,
            grid: [3, 3],
            patch: [4, 4],
            visible: Some([0, 4, 8, 1, 5, 7, 2, 3, 6].repeat(3)),
            selected: None,
            branch_scale: None,
        };
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
        assert!(one == run(2) && one == run(3));
    }
}
