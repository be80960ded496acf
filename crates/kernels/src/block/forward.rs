//! The forward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::{Batch, Piece, Saved, Weights, blocks, norms_of};
use crate::buffer::{Buffer, unwritten};
use crate::gemm::{Packed, Start, product};
use crate::transpose::transpose;
use crate::{Arch, dispatch, dwconv7, gelu, grn, layer_norm};

const EPSILON: f32 = 1e-6;
/// Outputs of a linear layer that a thread computes at a time where threads divide those.
const OUTPUTS: usize = 32;

/// Weights in the order in which the forward pass reads them.
struct Prepared<'a> {
    w: &'a Weights<'a>,
    taps: dwconv7::Weights,
    pwconv1: Packed,
    pwconv2: Packed,
}

impl<'a> Prepared<'a> {
    fn new(arch: Arch, w: &'a Weights<'a>) -> Self {
        Self {
            w,
            taps: dwconv7::Weights::new(w.dwconv, w.dwconv_bias),
            pwconv1: Packed::transposed(arch, w.pwconv1, w.channels(), w.hidden()),
            pwconv2: Packed::transposed(arch, w.pwconv2, w.hidden(), w.channels()),
        }
    }
}

/// Tokens `[N, T, C]` → tokens `[N, T_out, C]`.
pub fn forward(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> (Vec<f32>, Saved) {
    let mut saved = Saved::take(batch, w);
    let y = run(arch, batch, w, x, Some(&mut saved));
    (y, saved)
}

/// What [`forward`] leaves for the backward pass, without its result: the second linear layer is not
/// needed for it.
pub fn save(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Saved {
    let (channels, hidden) = (w.channels(), w.hidden());
    let prepared = Prepared::new(arch, w);
    let mut saved = Saved::take(batch, w);
    let mut kept = kept_of_pieces(batch, w, Some(&mut saved));
    let pieces = x.par_chunks(batch.piece_tokens() * channels).zip(&mut kept).enumerate();
    let sums: Vec<Buffer> = pieces
        .map(|(index, (own, kept))| {
            let rows = own.len() / channels;
            let piece = batch.piece(index, rows);
            let sums = expand(arch, batch, &piece, &prepared, x, kept, &mut Buffer::take(rows * hidden));
            match batch.in_phases() {
                true => sums,
                false => norms_of_samples(sums, kept),
            }
        })
        .collect();
    drop(kept);
    if batch.in_phases() {
        shared_norms(&sums, &mut saved.norms);
    }
    saved
}

/// As [`forward`], without what a backward pass would need.
pub fn infer(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Vec<f32> {
    match batch.has_few_rows() {
        true => infer_by_outputs(arch, batch, w, x),
        false => run(arch, batch, w, x, None),
    }
}

fn run(arch: Arch, batch: &Batch, w: &Weights, x: &[f32], mut saved: Option<&mut Saved>) -> Vec<f32> {
    let (channels, hidden, piece) = (w.channels(), w.hidden(), batch.piece_tokens());
    assert_eq!(x.len(), batch.samples * batch.tokens() * channels);
    let prepared = Prepared::new(arch, w);
    let mut y = unwritten(batch.samples * batch.tokens_out() * channels);
    let mut kept = kept_of_pieces(batch, w, saved.as_deref_mut());
    let pieces = x.par_chunks(piece * channels).zip(&mut kept).enumerate();
    if batch.in_phases() {
        let mut activation = Buffer::take(batch.samples * batch.tokens() * hidden);
        let sums: Vec<Buffer> = (activation.par_chunks_mut(piece * hidden).zip(pieces))
            .map(|(activation, (index, (_, kept)))| {
                let piece = batch.piece(index, activation.len() / hidden);
                expand(arch, batch, &piece, &prepared, x, kept, activation)
            })
            .collect();
        drop(kept);
        let mut norms = Buffer::take(hidden);
        shared_norms(&sums, &mut norms);
        contract_pieces(arch, batch, &prepared, x, (&activation, &norms), &mut y);
        if let Some(saved) = saved {
            saved.norms = norms;
        }
        return y;
    }
    let outputs = y.par_chunks_mut(batch.group() * batch.tokens_out() * channels);
    pieces.zip(outputs).for_each(|((index, (own, kept)), y)| {
        let rows = own.len() / channels;
        let group = batch.piece(index, rows);
        let mut activation = Buffer::take(rows * hidden);
        let sums = expand(arch, batch, &group, &prepared, x, kept, &mut activation);
        let norms = norms_of_samples(sums, kept);
        contract(arch, batch, &group, &prepared, own, (&activation, &norms), y);
    });
    drop(kept);
    y
}

/// Where a piece puts what the backward pass needs of it.
struct Kept<'a> {
    normalized: &'a mut [f32],
    inverse_std: &'a mut [f32],
    hidden: &'a mut [f32],
    /// Not there if all samples share their norms.
    norms: &'a mut [f32],
}

fn kept_of_pieces<'a>(batch: &Batch, w: &Weights, saved: Option<&'a mut Saved>) -> Vec<Option<Kept<'a>>> {
    let (piece, tokens) = (batch.piece_tokens(), batch.samples * batch.tokens());
    let Some(Saved { normalized, inverse_std, hidden, norms }) = saved else {
        return (0..tokens.div_ceil(piece)).map(|_| None).collect();
    };
    let norms: &mut [f32] = if batch.in_phases() { &mut [] } else { norms };
    let mut norms = norms.chunks_mut(batch.group() * w.hidden());
    (normalized.chunks_mut(piece * w.channels()))
        .zip(inverse_std.chunks_mut(piece))
        .zip(hidden.chunks_mut(piece * w.hidden()))
        .map(|((normalized, inverse_std), hidden)| {
            let norms = norms.next().unwrap_or(&mut []);
            Some(Kept { normalized, inverse_std, hidden, norms })
        })
        .collect()
}

/// [`infer`] for a single sample with few tokens: threads divide the outputs of the linear layers, not the
/// tokens, and weights are read as they lie.
fn infer_by_outputs(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Vec<f32> {
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.tokens());
    let taps = dwconv7::Weights::new(w.dwconv, w.dwconv_bias);
    let rows = batch.piece_tokens();
    let mut scaled = Buffer::take(tokens * channels);
    scaled.par_chunks_mut(rows * channels).enumerate().for_each(|(index, scaled)| {
        let count = scaled.len() / channels;
        let piece = batch.piece(index, count);
        let (mut normalized, mut inverse_std) = (Buffer::take(count * channels), Buffer::take(count));
        dwconv7::forward(arch, &batch.layout(0), &taps, x, &mut normalized, piece.lines);
        layer_norm::normalize(arch, &mut normalized, &mut inverse_std, channels, EPSILON);
        layer_norm::affine(arch, &normalized, w.norm, w.norm_bias, scaled);
    });
    // From here on channel by channel, `[4C, T]` and `[C, T]`.
    let scaled = Packed::transposed(arch, &scaled, channels, tokens);
    let (mut activation, mut norms) = (Buffer::take(hidden * tokens), vec![0.0; hidden]);
    (activation.par_chunks_mut(OUTPUTS * tokens))
        .zip(w.pwconv1.par_chunks(OUTPUTS * channels))
        .zip(w.pwconv1_bias.par_chunks(OUTPUTS).zip(norms.par_chunks_mut(OUTPUTS)))
        .for_each(|((activation, weight), (bias, norms))| {
            product(arch, weight, &scaled, activation, Start::Zero);
            for ((a, bias), norm) in activation.chunks_exact_mut(tokens).zip(bias).zip(norms) {
                *norm = gelu::forward_channel(arch, a, *bias).sqrt();
            }
        });
    let mut scale = vec![0.0; hidden];
    grn::scale(&norms, w.gamma, &mut scale);
    activation
        .par_chunks_mut(tokens)
        .zip(&scale)
        .zip(w.beta)
        .with_min_len(OUTPUTS)
        .for_each(|((a, scale), beta)| dispatch!(arch, a.iter_mut().for_each(|a| *a = *a * scale + beta)));
    let z = Packed::new(arch, &activation, hidden, tokens);
    let (mut turned, mut y) = (Buffer::take(channels * tokens), unwritten(tokens * channels));
    (turned.par_chunks_mut(OUTPUTS * tokens))
        .zip(w.pwconv2.par_chunks(OUTPUTS * hidden))
        .for_each(|(y, weight)| product(arch, weight, &z, y, Start::Zero));
    transpose(arch, &turned, channels, tokens, &mut y);
    add_residual(arch, &mut y, x, w.pwconv2_bias, batch.branch_scale(0));
    y
}

/// Depthwise convolution to GELU, for the tokens of a piece. `x`: tokens of all samples. Returns Σ a²
/// of every channel of the activations, `[samples, 4C]`.
fn expand(
    arch: Arch,
    batch: &Batch,
    piece: &Piece,
    p: &Prepared,
    x: &[f32],
    kept: &mut Option<Kept>,
    activation: &mut [f32],
) -> Buffer {
    let (channels, hidden, samples) = (p.w.channels(), p.w.hidden(), piece.samples.len());
    let tokens = activation.len() / hidden;
    let (mut own_normalized, mut own_inverse_std);
    let (normalized, inverse_std, mut inputs) = match kept {
        Some(kept) => (&mut *kept.normalized, &mut *kept.inverse_std, Some(&mut *kept.hidden)),
        None => {
            (own_normalized, own_inverse_std) = (Buffer::take(tokens * channels), Buffer::take(tokens));
            (&mut own_normalized[..], &mut own_inverse_std[..], None)
        }
    };
    let per_sample = batch.tokens() * channels;
    for (sample, y) in piece.samples.clone().zip(normalized.chunks_exact_mut(tokens / samples * channels)) {
        let x = &x[sample * per_sample..][..per_sample];
        dwconv7::forward(arch, &batch.layout(sample), &p.taps, x, y, piece.lines.clone());
    }
    let mut sums = Buffer::take(samples * hidden);
    sums.fill(0.0);
    let per_sample = tokens / samples;
    for rows in blocks(samples, per_sample) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let normalized = &mut normalized[narrow];
        layer_norm::normalize(arch, normalized, &mut inverse_std[rows.clone()], channels, EPSILON);
        let mut scaled = Buffer::take(normalized.len());
        layer_norm::affine(arch, normalized, p.w.norm, p.w.norm_bias, &mut scaled);
        let activation = &mut activation[wide.clone()];
        product(arch, &scaled, &p.pwconv1, activation, Start::Zero);
        let mut inputs = inputs.as_mut().map(|inputs| inputs[wide].chunks_mut(per_sample * hidden));
        let sums = sums[rows.start / per_sample * hidden..].chunks_exact_mut(hidden);
        for (activation, sums) in activation.chunks_mut(per_sample * hidden).zip(sums) {
            let inputs = inputs.as_mut().and_then(Iterator::next);
            gelu::forward(arch, activation, p.w.pwconv1_bias, inputs, sums);
        }
    }
    sums
}

/// Norms of the samples of a group, kept if a backward pass needs them.
fn norms_of_samples(mut sums: Buffer, kept: &mut Option<Kept>) -> Buffer {
    sums.iter_mut().for_each(|n| *n = n.sqrt());
    if let Some(kept) = kept {
        kept.norms.copy_from_slice(&sums);
    }
    sums
}

/// Norms over all samples of all pieces, always summed in the same order.
fn shared_norms(sums: &[Buffer], norms: &mut [f32]) {
    norms.fill(0.0);
    let hidden = norms.len();
    for sum in sums.iter().flat_map(|sums| sums.chunks_exact(hidden)) {
        norms.iter_mut().zip(sum).for_each(|(n, s)| *n += s);
    }
    norms.iter_mut().for_each(|n| *n = n.sqrt());
}

/// [`contract`] for all pieces, once the norms that they share are known.
fn contract_pieces(
    arch: Arch,
    batch: &Batch,
    p: &Prepared,
    x: &[f32],
    (activation, norms): (&[f32], &[f32]),
    y: &mut [f32],
) {
    let (channels, hidden) = (p.w.channels(), p.w.hidden());
    let tokens = batch.piece_tokens();
    let out = match batch.selected {
        Some(_) => batch.group() * batch.tokens_out(),
        None => tokens,
    };
    (y.par_chunks_mut(out * channels))
        .zip(x.par_chunks(tokens * channels))
        .zip(activation.par_chunks(tokens * hidden))
        .enumerate()
        .for_each(|(index, ((y, x), activation))| {
            let piece = batch.piece(index, x.len() / channels);
            contract(arch, batch, &piece, p, x, (activation, norms), y);
        });
}

/// GRN to the residual, for the tokens of a piece. `norms`: of its samples, or of all together.
fn contract(
    arch: Arch,
    batch: &Batch,
    piece: &Piece,
    p: &Prepared,
    x: &[f32],
    (activation, norms): (&[f32], &[f32]),
    y: &mut [f32],
) {
    let (channels, hidden) = (p.w.channels(), p.w.hidden());
    let samples = piece.samples.clone();
    let activation = batch.select(samples.clone(), activation, hidden);
    let shortcut = batch.select(samples.clone(), x, channels);
    let per_sample = y.len() / channels / samples.len();
    for rows in blocks(samples.len(), per_sample) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let mut z = Buffer::take(wide.len());
        responses(arch, p.w, (&activation[wide], norms), &rows, per_sample, &mut z);
        let (y, x) = (&mut y[narrow.clone()], &shortcut[narrow]);
        product(arch, &z, &p.pwconv2, y, Start::Zero);
        let sample = samples.start + rows.start / per_sample;
        let per_sample = per_sample * channels;
        for (i, (y, x)) in y.chunks_mut(per_sample).zip(x.chunks(per_sample)).enumerate() {
            add_residual(arch, y, x, p.w.pwconv2_bias, batch.branch_scale(sample + i));
        }
    }
}

/// y = (y + bias) · scale + x, row by row.
fn add_residual(arch: Arch, y: &mut [f32], x: &[f32], bias: &[f32], scale: f32) {
    dispatch!(arch, {
        for (y, x) in y.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
            y.iter_mut().zip(x).zip(bias).for_each(|((y, x), b)| *y = (*y + b) * scale + x);
        }
    });
}

/// z = GRN(activation) of some rows of a piece, whose samples have `per_sample` rows each.
pub(super) fn responses(
    arch: Arch,
    w: &Weights,
    (activation, norms): (&[f32], &[f32]),
    rows: &Range<usize>,
    per_sample: usize,
    z: &mut [f32],
) {
    let hidden = w.hidden();
    let mut scale = vec![0.0; hidden];
    let pairs = z.chunks_mut(per_sample * hidden).zip(activation.chunks(per_sample * hidden));
    for (i, (z, a)) in pairs.enumerate() {
        grn::scale(norms_of(norms, hidden, rows.start / per_sample + i), w.gamma, &mut scale);
        grn::apply(arch, a, &scale, w.beta, z);
    }
}
