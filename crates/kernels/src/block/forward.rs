//! The forward pass.

use rayon::prelude::*;

use super::prepared::Prepared;
use super::{Batch, Piece, Saved, Weights, blocks, norms_of};
use crate::buffer::Buffer;
use crate::gemm::epilogue::{Gelu, Residual};
use crate::gemm::tiles::Tiles;
use crate::gemm::{Divide, Packed, Start, TASK_ROWS, product_with};
use crate::linear::Format;
use crate::results::Results;
use crate::{Arch, dwconv7, grn, layer_norm};

const EPSILON: f32 = 1e-6;

/// Tokens `[N, T, C]` → tokens `[N, T_out, C]`, and what the backward pass needs.
pub fn forward(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> (Vec<f32>, Saved) {
    let mut saved = Saved::take(batch, w);
    let y = run(arch, batch, &Prepared::new(arch, Format::F32, w), x, Some(&mut saved));
    (y, saved)
}

/// What [`forward`] leaves for the backward pass, without its result: the second linear layer is not
/// needed for it.
pub fn save(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Saved {
    let (prepared, mut saved) = (Prepared::new(arch, Format::F32, w), Saved::take(batch, w));
    let mut kept = kept_of_pieces(batch, &prepared, Some(&mut saved));
    let pieces = x.par_chunks(batch.piece_tokens() * w.channels()).zip(&mut kept).enumerate();
    let sums: Vec<Buffer> = pieces
        .map(|(index, (own, kept))| {
            let rows = own.len() / w.channels();
            let mut activation = Buffer::take(rows * w.hidden());
            let sums = expand(arch, batch, &batch.piece(index, rows), &prepared, x, kept, &mut activation);
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
pub fn infer(arch: Arch, batch: &Batch, prepared: &Prepared, x: &[f32]) -> Vec<f32> {
    match batch.has_few_rows() {
        true => infer_by_tiles(arch, batch, prepared, x),
        false => run(arch, batch, prepared, x, None),
    }
}

fn run(arch: Arch, batch: &Batch, p: &Prepared, x: &[f32], saved: Option<&mut Saved>) -> Vec<f32> {
    assert_eq!(x.len(), batch.samples * batch.tokens() * p.channels());
    match batch.in_phases() {
        true => run_in_phases(arch, batch, p, x, saved),
        false => run_in_groups(arch, batch, p, x, saved),
    }
}

/// Each group goes all the way by itself.
fn run_in_groups(arch: Arch, batch: &Batch, p: &Prepared, x: &[f32], saved: Option<&mut Saved>) -> Vec<f32> {
    let (channels, hidden) = (p.channels(), p.hidden());
    let mut y = Results::new(batch.samples * batch.tokens_out() * channels);
    let mut kept = kept_of_pieces(batch, p, saved);
    (x.par_chunks(batch.piece_tokens() * channels).zip(&mut kept).enumerate())
        .zip(y.par_parts((batch.group() * batch.tokens_out() * channels).max(1)))
        .for_each(|((index, (own, kept)), mut y)| {
            let rows = own.len() / channels;
            let group = batch.piece(index, rows);
            let mut activation = Buffer::take(rows * hidden);
            let sums = expand(arch, batch, &group, p, x, kept, &mut activation);
            let norms = norms_of_samples(sums, kept);
            match p.contract.packed().filter(|_| batch.scales_weights(channels)) {
                Some(weight) => {
                    contract_by_weights(
                        arch,
                        batch,
                        &group,
                        p,
                        own,
                        (&activation, &norms, weight),
                        y.slice(),
                    );
                }
                None => contract(arch, batch, &group, p, own, (&mut activation, &norms), y.slice()),
            }
        });
    drop(kept);
    y.finish()
}

/// All pieces come as far as GRN, whose norms are those of all, before any goes on. What they are scaled by
/// is the same too, and part of the weight therefore.
fn run_in_phases(arch: Arch, batch: &Batch, p: &Prepared, x: &[f32], saved: Option<&mut Saved>) -> Vec<f32> {
    let (channels, hidden, tokens) = (p.channels(), p.hidden(), batch.piece_tokens());
    let (mut norms, mut activation) =
        (Buffer::take(hidden), Buffer::take(batch.samples * batch.tokens() * hidden));
    let mut saved = saved;
    let mut kept = kept_of_pieces(batch, p, saved.as_deref_mut());
    let sums: Vec<Buffer> = (activation.par_chunks_mut(tokens * hidden).zip(&mut kept).enumerate())
        .map(|(index, (activation, kept))| {
            let piece = batch.piece(index, activation.len() / hidden);
            expand(arch, batch, &piece, p, x, kept, activation)
        })
        .collect();
    drop(kept);
    shared_norms(&sums, &mut norms);
    let scale = scale_of(p, &norms);
    let weight = p.contract.packed().map(|weight| weight.with_scaled_rows(arch, &scale));
    let out = match batch.selected {
        Some(_) => batch.group() * batch.tokens_out(),
        None => tokens,
    };
    let mut y = Results::new(batch.samples * batch.tokens_out() * channels);
    (y.par_parts((out * channels).max(1)))
        .zip(x.par_chunks(tokens * channels).zip(activation.par_chunks_mut(tokens * hidden)))
        .enumerate()
        .for_each(|(index, (mut y, (x, activation)))| {
            let piece = batch.piece(index, x.len() / channels);
            if weight.is_none() {
                grn::apply(arch, activation, &scale);
            }
            let z = batch.select(piece.samples.clone(), activation, hidden);
            multiply(arch, batch, &piece, p, x, (&z, weight.as_ref()), y.slice());
        });
    if let Some(saved) = saved {
        saved.norms = norms;
    }
    y.finish()
}

/// Where a piece puts what the backward pass needs of it.
struct Kept<'a> {
    normalized: &'a mut [f32],
    inverse_std: &'a mut [f32],
    hidden: &'a mut [f32],
    /// Not there if all samples share their norms.
    norms: &'a mut [f32],
}

fn kept_of_pieces<'a>(batch: &Batch, p: &Prepared, saved: Option<&'a mut Saved>) -> Vec<Option<Kept<'a>>> {
    let (piece, tokens) = (batch.piece_tokens(), batch.samples * batch.tokens());
    let Some(Saved { normalized, inverse_std, hidden, norms }) = saved else {
        return (0..tokens.div_ceil(piece)).map(|_| None).collect();
    };
    let norms: &mut [f32] = if batch.in_phases() { &mut [] } else { norms };
    let mut norms = norms.chunks_mut(batch.group() * p.hidden());
    (normalized.chunks_mut(piece * p.channels()))
        .zip(inverse_std.chunks_mut(piece))
        .zip(hidden.chunks_mut(piece * p.hidden()))
        .map(|((normalized, inverse_std), hidden)| {
            let norms = norms.next().unwrap_or(&mut []);
            Some(Kept { normalized, inverse_std, hidden, norms })
        })
        .collect()
}

/// [`infer`] for a single sample with few tokens: threads divide the outputs of the linear layers too.
fn infer_by_tiles(arch: Arch, batch: &Batch, p: &Prepared, x: &[f32]) -> Vec<f32> {
    let (channels, hidden, tokens) = (p.channels(), p.hidden(), batch.tokens());
    let mut normalized = Buffer::take(tokens * channels);
    let lines = batch.piece_tokens() * channels;
    normalized.par_chunks_mut(lines).enumerate().for_each(|(index, normalized)| {
        let rows = normalized.len() / channels;
        let mut inverse_std = Buffer::take(rows);
        dwconv7::forward(arch, &batch.layout(0), &p.taps, x, normalized, batch.piece(index, rows).lines);
        layer_norm::normalize(arch, normalized, &mut inverse_std, channels, EPSILON);
    });
    let mut activation = Buffer::take(tokens * hidden);
    let mut sums = Buffer::take(tokens.div_ceil(TASK_ROWS) * hidden);
    sums.fill(0.0);
    let gelu = Gelu {
        bias: &p.expand.bias,
        inputs: None,
        square_sums: Tiles::new(&mut sums, hidden),
        rows_per_sum: TASK_ROWS,
    };
    p.expand.multiply(arch, &normalized, &mut activation, &gelu, Divide::ByTiles);
    let mut norms = Buffer::take(hidden);
    shared_norms(&[sums], &mut norms);
    let scale = scale_of(p, &norms);
    activation.par_chunks_mut(TASK_ROWS * hidden).for_each(|rows| grn::apply(arch, rows, &scale));
    let mut y = vec![0.0; tokens * channels];
    let residual = Residual {
        bias: &p.contract.bias,
        shortcut: x,
        scales: &[batch.branch_scale(0)],
        rows_per_scale: tokens,
    };
    p.contract.multiply(arch, &activation, &mut y, &residual, Divide::ByTiles);
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
    let (channels, hidden, samples) = (p.channels(), p.hidden(), piece.samples.len());
    let tokens = activation.len() / hidden;
    let (mut own_normalized, mut own_inverse_std);
    let (normalized, inverse_std, mut inputs) = match kept {
        Some(kept) => (&mut *kept.normalized, &mut *kept.inverse_std, Some(&mut *kept.hidden)),
        None => {
            (own_normalized, own_inverse_std) = (Buffer::take(tokens * channels), Buffer::take(tokens));
            (&mut own_normalized[..], &mut own_inverse_std[..], None)
        }
    };
    let per_sample = tokens / samples;
    (normalized.par_chunks_mut(per_sample * channels))
        .zip(inverse_std.par_chunks_mut(per_sample))
        .zip(piece.samples.clone())
        .for_each(|((normalized, inverse_std), sample)| {
            let x = &x[sample * batch.tokens() * channels..][..batch.tokens() * channels];
            let layout = batch.layout(sample);
            dwconv7::forward(arch, &layout, &p.taps, x, normalized, piece.lines.clone());
            layer_norm::normalize(arch, normalized, inverse_std, channels, EPSILON);
        });
    let mut sums = Buffer::take(samples * hidden);
    sums.fill(0.0);
    for rows in blocks(samples, per_sample) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let normalized = &normalized[narrow];
        let gelu = Gelu {
            bias: &p.expand.bias,
            inputs: inputs.as_mut().map(|inputs| Tiles::new(&mut inputs[wide.clone()], hidden)),
            square_sums: Tiles::new(&mut sums[rows.start / per_sample * hidden..], hidden),
            rows_per_sum: per_sample,
        };
        p.expand.multiply(arch, normalized, &mut activation[wide], &gelu, Divide::ByColumns);
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

/// Norms over all rows of all sums, always added in the same order.
fn shared_norms(sums: &[Buffer], norms: &mut [f32]) {
    norms.fill(0.0);
    let hidden = norms.len();
    for sum in sums.iter().flat_map(|sums| sums.chunks_exact(hidden)) {
        norms.iter_mut().zip(sum).for_each(|(n, s)| *n += s);
    }
    norms.iter_mut().for_each(|n| *n = n.sqrt());
}

/// What GRN multiplies the tokens of a sample of these norms by.
fn scale_of(p: &Prepared, norms: &[f32]) -> Buffer {
    let mut scale = Buffer::take(p.hidden());
    grn::scale(norms, &p.gamma, &mut scale);
    scale
}

/// GRN to the residual, for the tokens of a group with `norms` of its samples.
fn contract(
    arch: Arch,
    batch: &Batch,
    group: &Piece,
    p: &Prepared,
    x: &[f32],
    (activation, norms): (&mut [f32], &[f32]),
    y: &mut [f32],
) {
    let mut copied;
    let z = match batch.selected {
        Some(_) => {
            copied = batch.select(group.samples.clone(), activation, p.hidden()).into_owned();
            &mut copied[..]
        }
        None => activation,
    };
    let per_sample = batch.tokens_out() * p.hidden();
    z.par_chunks_mut(per_sample.max(1)).enumerate().for_each(|(i, z)| {
        grn::apply(arch, z, &scale_of(p, norms_of(norms, p.hidden(), i)));
    });
    multiply(arch, batch, group, p, x, (z, None), y);
}

/// The same where a sample has so many tokens that scaling the weight takes less time than scaling them.
fn contract_by_weights(
    arch: Arch,
    batch: &Batch,
    group: &Piece,
    p: &Prepared,
    x: &[f32],
    (activation, norms, weight): (&[f32], &[f32], &Packed),
    y: &mut [f32],
) {
    let (channels, hidden, tokens) = (p.channels(), p.hidden(), batch.tokens());
    let samples = activation.chunks(tokens * hidden).zip(x.chunks(tokens * channels));
    let outputs = y.chunks_mut(batch.tokens_out() * channels);
    for (i, ((activation, x), y)) in samples.zip(outputs).enumerate() {
        let sample = group.samples.start + i;
        let one = Piece { samples: sample..sample + 1, lines: group.lines.clone() };
        let weight = weight.with_scaled_rows(arch, &scale_of(p, norms_of(norms, hidden, i)));
        let activation = batch.select(one.samples.clone(), activation, hidden);
        multiply(arch, batch, &one, p, x, (&activation, Some(&weight)), y);
    }
}

/// The second linear layer and the residual, of tokens times GRN's scale, or by a weight that has it.
fn multiply(
    arch: Arch,
    batch: &Batch,
    piece: &Piece,
    p: &Prepared,
    x: &[f32],
    (z, scaled): (&[f32], Option<&Packed>),
    y: &mut [f32],
) {
    let (channels, hidden, samples) = (p.channels(), p.hidden(), piece.samples.clone());
    let shortcut = batch.select(samples.clone(), x, channels);
    let per_sample = y.len() / channels / samples.len();
    let scales: Vec<f32> = samples.clone().map(|sample| batch.branch_scale(sample)).collect();
    for rows in blocks(samples.len(), per_sample) {
        let [narrow, wide] = [channels, hidden].map(|width| rows.start * width..rows.end * width);
        let residual = Residual {
            bias: &p.contract.bias,
            shortcut: &shortcut[narrow.clone()],
            scales: &scales[rows.start / per_sample..],
            rows_per_scale: per_sample,
        };
        match scaled {
            Some(weight) => {
                product_with(arch, &z[wide], weight, &mut y[narrow], Start::Zero, &residual, Divide::Never);
            }
            None => p.contract.multiply(arch, &z[wide], &mut y[narrow], &residual, Divide::ByTiles),
        }
    }
}
