//! The forward pass.

use rayon::prelude::*;

use super::{Batch, Piece, Saved, Weights, norms_of};
use crate::buffer::Buffer;
use crate::gemm::{Turned, View, gemm};
use crate::{Arch, dwconv7, few_rows, gelu, grn, layer_norm};

const EPSILON: f32 = 1e-6;

/// Weights in the order in which the forward pass reads them.
struct Prepared<'a> {
    w: &'a Weights<'a>,
    taps: dwconv7::Weights,
    pwconv1: Turned<'a>,
    pwconv2: Turned<'a>,
}

impl<'a> Prepared<'a> {
    fn new(w: &'a Weights<'a>) -> Self {
        Self {
            w,
            taps: dwconv7::Weights::new(w.dwconv, w.dwconv_bias),
            pwconv1: Turned::new(w.pwconv1, w.hidden(), w.channels()),
            pwconv2: Turned::new(w.pwconv2, w.channels(), w.hidden()),
        }
    }
}

/// What a piece leaves on its way to GRN.
struct Expanded<'a> {
    normalized: &'a mut [f32],
    inverse_std: &'a mut [f32],
    activation: &'a mut [f32],
    slope: Option<&'a mut [f32]>,
}

/// Tokens `[N, T, C]` → tokens `[N, T_out, C]`.
pub fn forward(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> (Vec<f32>, Saved) {
    assert_eq!(x.len(), batch.samples * batch.tokens() * w.channels());
    let mut saved = Saved::take(batch, w);
    let prepared = Prepared::new(w);
    let mut y = vec![0.0; batch.samples * batch.tokens_out() * w.channels()];
    let piece = batch.piece_tokens();
    let (channels, hidden) = (w.channels(), w.hidden());
    let Saved { normalized, inverse_std, activation, slope, norms } = &mut saved;
    let pieces = normalized
        .par_chunks_mut(piece * channels)
        .zip(inverse_std.par_chunks_mut(piece))
        .zip(activation.par_chunks_mut(piece * hidden))
        .zip(slope.par_chunks_mut(piece * hidden))
        .map(|(((normalized, inverse_std), activation), slope)| Expanded {
            normalized,
            inverse_std,
            activation,
            slope: Some(slope),
        })
        .enumerate();
    if batch.in_phases() {
        let sums: Vec<Vec<f32>> = pieces
            .map(|(index, mut expanded)| {
                let piece = batch.piece(index, expanded.inverse_std.len());
                expand(arch, batch, &piece, &prepared, x, &mut expanded);
                square_sums(arch, batch, hidden, expanded.activation)
            })
            .collect();
        shared_norms(&sums, norms);
        contract_pieces(arch, batch, &prepared, x, (activation, norms), &mut y);
    } else {
        let outputs = y.par_chunks_mut(batch.group() * batch.tokens_out() * channels);
        pieces.zip(norms.par_chunks_mut(batch.group() * hidden)).zip(outputs).for_each(
            |(((index, mut expanded), norms), y)| {
                let group = batch.piece(index, expanded.inverse_std.len());
                expand(arch, batch, &group, &prepared, x, &mut expanded);
                sample_norms(arch, batch, hidden, expanded.activation, norms);
                let x = &x[index * piece * channels..][..expanded.normalized.len()];
                contract(arch, batch, &group, &prepared, x, (expanded.activation, norms), y);
            },
        );
    }
    (y, saved)
}

/// As [`forward`], without what a backward pass would need.
pub fn infer(arch: Arch, batch: &Batch, w: &Weights, x: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), batch.samples * batch.tokens() * w.channels());
    if batch.is_bound_by_weights(w) {
        return infer_by_outputs(arch, batch, w, x);
    }
    let prepared = Prepared::new(w);
    let (channels, hidden, tokens) = (w.channels(), w.hidden(), batch.piece_tokens());
    let mut y = vec![0.0; batch.samples * batch.tokens_out() * channels];
    // For one piece, into an activation that is given or taken.
    let expand_piece = |piece: &Piece, rows: usize, activation: &mut [f32]| {
        let (mut normalized, mut inverse_std) = (Buffer::take(rows * channels), Buffer::take(rows));
        let (normalized, inverse_std) = (&mut normalized[..], &mut inverse_std[..]);
        let mut expanded = Expanded { normalized, inverse_std, activation, slope: None };
        expand(arch, batch, piece, &prepared, x, &mut expanded);
    };
    if batch.in_phases() {
        let (mut activation, mut norms) =
            (Buffer::take(batch.samples * batch.tokens() * hidden), Buffer::take(hidden));
        let sums: Vec<Vec<f32>> = (activation.par_chunks_mut(tokens * hidden).enumerate())
            .map(|(index, activation)| {
                let rows = activation.len() / hidden;
                expand_piece(&batch.piece(index, rows), rows, activation);
                square_sums(arch, batch, hidden, activation)
            })
            .collect();
        shared_norms(&sums, &mut norms);
        contract_pieces(arch, batch, &prepared, x, (&activation, &norms), &mut y);
    } else {
        (x.par_chunks(tokens * channels))
            .zip(y.par_chunks_mut(batch.group() * batch.tokens_out() * channels))
            .enumerate()
            .for_each(|(index, (x, y))| {
                let rows = x.len() / channels;
                let group = batch.piece(index, rows);
                let (mut activation, mut norms) =
                    (Buffer::take(rows * hidden), Buffer::take(group.samples.len() * hidden));
                expand_piece(&group, rows, &mut activation);
                sample_norms(arch, batch, hidden, &activation, &mut norms);
                contract(arch, batch, &group, &prepared, x, (&activation, &norms), y);
            });
    }
    y
}

/// [`infer`] for a single sample with few tokens and large weights: threads divide the outputs of the
/// linear layers, not the tokens, so that each weight is read once, by one of them.
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
    let mut activation = Buffer::take(tokens * hidden);
    few_rows::product(arch, &scaled, w.pwconv1, channels, &mut activation);
    let sums: Vec<Vec<f32>> = (activation.par_chunks_mut(rows * hidden))
        .map(|activation| {
            gelu::forward(arch, activation, w.pwconv1_bias);
            square_sums(arch, batch, hidden, activation)
        })
        .collect();
    let (mut norms, mut scale) = (vec![0.0; hidden], vec![0.0; hidden]);
    shared_norms(&sums, &mut norms);
    grn::scale(&norms, w.gamma, &mut scale);
    let mut z = Buffer::take(tokens * hidden);
    (z.par_chunks_mut(rows * hidden))
        .zip(activation.par_chunks(rows * hidden))
        .for_each(|(z, a)| grn::apply(arch, a, &scale, w.beta, z));
    let mut y = vec![0.0; tokens * channels];
    few_rows::product(arch, &z, w.pwconv2, hidden, &mut y);
    add_residual(&mut y, x, w.pwconv2_bias, batch.branch_scale(0));
    y
}

/// Depthwise convolution to GELU. `x`: tokens of all samples.
fn expand(arch: Arch, batch: &Batch, piece: &Piece, p: &Prepared, x: &[f32], out: &mut Expanded) {
    let channels = p.w.channels();
    let (rows, per_sample) = (out.inverse_std.len(), batch.tokens() * channels);
    let outputs = out.normalized.chunks_exact_mut(out.normalized.len() / piece.samples.len());
    for (sample, y) in piece.samples.clone().zip(outputs) {
        let x = &x[sample * per_sample..][..per_sample];
        dwconv7::forward(arch, &batch.layout(sample), &p.taps, x, y, piece.lines.clone());
    }
    layer_norm::normalize(arch, out.normalized, out.inverse_std, channels, EPSILON);
    let mut scaled = Buffer::take(rows * channels);
    layer_norm::affine(arch, out.normalized, p.w.norm, p.w.norm_bias, &mut scaled);
    gemm(out.activation, false, View::new(&scaled, rows, channels), p.pwconv1.view(), false);
    match &mut out.slope {
        Some(slope) => gelu::forward_with_derivative(arch, out.activation, p.w.pwconv1_bias, slope),
        None => gelu::forward(arch, out.activation, p.w.pwconv1_bias),
    }
}

/// Σ x² of every channel over a piece, sample after sample where a piece has whole ones.
fn square_sums(arch: Arch, batch: &Batch, hidden: usize, activation: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; hidden];
    let mut of_sample = vec![0.0; hidden];
    for tokens in activation.chunks(batch.tokens() * hidden) {
        grn::square_sums(arch, tokens, &mut of_sample);
        sum.iter_mut().zip(&of_sample).for_each(|(sum, s)| *sum += s);
    }
    sum
}

/// Norms over all pieces, always summed in the same order.
fn shared_norms(sums: &[Vec<f32>], norms: &mut [f32]) {
    norms.fill(0.0);
    for sum in sums {
        norms.iter_mut().zip(sum).for_each(|(n, s)| *n += s);
    }
    norms.iter_mut().for_each(|n| *n = n.sqrt());
}

fn sample_norms(arch: Arch, batch: &Batch, hidden: usize, activation: &[f32], norms: &mut [f32]) {
    let samples = activation.chunks_exact(batch.tokens() * hidden);
    for (tokens, norms) in samples.zip(norms.chunks_exact_mut(hidden)) {
        grn::square_sums(arch, tokens, norms);
        norms.iter_mut().for_each(|n| *n = n.sqrt());
    }
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
    expanded: (&[f32], &[f32]),
    y: &mut [f32],
) {
    let (channels, hidden) = (p.w.channels(), p.w.hidden());
    let z = responses(arch, batch, piece.samples.clone(), p.w, expanded);
    gemm(y, false, View::new(&z, y.len() / channels, hidden), p.pwconv2.view(), false);
    let shortcut = batch.select(piece.samples.clone(), x, channels);
    let per_sample = y.len() / piece.samples.len();
    let pairs = y.chunks_exact_mut(per_sample).zip(shortcut.chunks_exact(per_sample));
    for (sample, (y, x)) in piece.samples.clone().zip(pairs) {
        let scale = batch.branch_scale(sample);
        add_residual(y, x, p.w.pwconv2_bias, scale);
    }
}

/// y = (y + bias) · scale + x, row by row.
fn add_residual(y: &mut [f32], x: &[f32], bias: &[f32], scale: f32) {
    for (y, x) in y.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
        y.iter_mut().zip(x).zip(bias).for_each(|((y, x), b)| *y = (*y + b) * scale + x);
    }
}

/// z = GRN(activation) of the tokens that come out.
pub(super) fn responses(
    arch: Arch,
    batch: &Batch,
    samples: std::ops::Range<usize>,
    w: &Weights,
    (activation, norms): (&[f32], &[f32]),
) -> Buffer {
    let (hidden, count) = (w.hidden(), samples.len());
    let selected = batch.select(samples, activation, hidden);
    let mut z = Buffer::take(selected.len());
    let per_sample = z.len() / count;
    let mut scale = vec![0.0; hidden];
    let pairs = z.chunks_exact_mut(per_sample).zip(selected.chunks_exact(per_sample));
    for (i, (z, a)) in pairs.enumerate() {
        grn::scale(norms_of(norms, hidden, i), w.gamma, &mut scale);
        grn::apply(arch, a, &scale, w.beta, z);
    }
    z
}
