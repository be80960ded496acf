//! The whole block, forward and backward, in groups of samples that stay in the cache.
//!
//! Depthwise 7×7 → LayerNorm → linear C → 4C → GELU → GRN (per sample) → linear 4C → C → residual.
//! Groups run in parallel; what a group computes, and the order in which weight gradients are
//! summed, do not depend on the number of threads.

mod backward;
mod forward;
mod gradients;
mod prepared;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use crate::buffer::Buffer;
use crate::dwconv7::{Layout, Neighbours};

pub use backward::backward;
pub use forward::{forward, infer, save};
pub use gradients::WeightGradients;
pub use prepared::Prepared;

/// Rows of a group from which on more samples gain nothing.
const ROWS: usize = 512;
/// Rows that go through the linear layers at a time, so that what one leaves is in the cache for the
/// next.
const BLOCK: usize = 152;
/// Rows below which cutting a sample into more parts costs more than it gains, because the
/// products pack their weights again for every part.
const PART_ROWS: usize = 96;
/// Most parts of a sample.
const PARTS: usize = 16;

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

/// Over which tokens GRN takes the norms of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Those of each sample.
    Sample,
    /// Those of all samples together.
    Batch,
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
    /// See [`Statistics`].
    pub statistics: Statistics,
    /// What samples keep of their neighbours from one block to the next, if anything.
    pub neighbours: Neighbours,
}

impl Batch {
    fn layout(&self, sample: usize) -> Layout<'_> {
        let visible = self.visible.as_deref().map(|all| {
            let count = all.len() / self.samples;
            &all[sample * count..][..count]
        });
        match (visible, self.patch) {
            // The same order of tokens, in longer rows.
            (None, [1, 1]) => Layout::new([1, 1], self.grid, visible),
            _ => Layout::new(self.grid, self.patch, visible).keeping(&self.neighbours, sample),
        }
    }

    /// Number of tokens of a sample that go in.
    pub fn tokens(&self) -> usize {
        self.layout(0).tokens()
    }

    /// Number of tokens of a sample that come out.
    pub fn tokens_out(&self) -> usize {
        self.selected.as_ref().map_or(self.tokens(), |s| s.len() / self.samples * self.patch_len())
    }

    fn patch_len(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    fn branch_scale(&self, sample: usize) -> f32 {
        self.branch_scale.as_ref().map_or(1.0, |scales| scales[sample])
    }

    /// Samples of a group: so many that their products are efficient and threads have enough to
    /// choose from. Never depends on the number of threads.
    fn group(&self) -> usize {
        (ROWS / self.tokens()).clamp(1, 8).min(self.samples.div_ceil(8)).max(1)
    }

    /// Rows of the patches of a sample.
    fn lines(&self) -> usize {
        self.tokens() / self.line()
    }

    /// Number of tokens of a row of a patch.
    fn line(&self) -> usize {
        self.layout(0).patch[1]
    }

    /// Whether all samples go into the same norms, so that all must have come as far before any
    /// can go on.
    fn in_phases(&self) -> bool {
        self.samples == 1 || self.statistics == Statistics::Batch
    }

    /// Whether a single sample leaves too few rows to divide among threads.
    fn has_few_rows(&self) -> bool {
        const FEW: usize = 256;
        self.samples == 1 && self.selected.is_none() && self.tokens() <= FEW
    }

    /// Whether scaling the second linear layer's weight by GRN takes less time than scaling the tokens of
    /// a sample.
    fn scales_weights(&self, channels: usize) -> bool {
        self.tokens_out() >= 2 * channels
    }

    /// Tokens that are worked on together: those of a group, or part of those of a single sample.
    fn piece_tokens(&self) -> usize {
        if self.samples > 1 || self.selected.is_some() {
            return self.group() * self.tokens();
        }
        self.lines().div_ceil(self.parts()) * self.line()
    }

    /// Parts of a single sample: equal ones as far as that goes, two of almost the same size where
    /// it does not.
    fn parts(&self) -> usize {
        let equal = |parts: &usize| self.lines().is_multiple_of(*parts) && self.tokens() / parts >= PART_ROWS;
        let doubled = std::iter::successors(Some(2), |parts| Some(2 * parts)).take_while(|p| *p <= PARTS);
        match doubled.filter(equal).last() {
            Some(parts) => parts,
            None if 2 * self.tokens() >= PART_ROWS => 2,
            None => 1,
        }
    }

    /// The piece with this number, of which `tokens` were asked for.
    fn piece(&self, index: usize, tokens: usize) -> Piece {
        if self.piece_tokens() >= self.tokens() {
            let first = index * self.group();
            return Piece { samples: first..first + tokens / self.tokens(), lines: 0..self.lines() };
        }
        let first = index * self.piece_tokens() / self.line();
        Piece { samples: 0..1, lines: first..first + tokens / self.line() }
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
    fn select<'a>(&self, samples: Range<usize>, rows: &'a [f32], width: usize) -> Cow<'a, [f32]> {
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

    /// The reverse of gathering: adds rows to where they came from.
    fn spread(&self, samples: Range<usize>, rows: &[f32], width: usize, into: &mut [f32]) {
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

/// What a thread works on at a time: some samples, and of these some lines of tokens.
struct Piece {
    samples: Range<usize>,
    lines: Range<usize>,
}

/// Divides the rows of samples into blocks of whole samples, or of parts of one: about [`BLOCK`] rows,
/// a number of tiles of a matrix product.
fn blocks(samples: usize, per_sample: usize) -> Vec<Range<usize>> {
    const TILE: usize = 8;
    let rows = samples * per_sample;
    let block = match per_sample {
        0 => return Vec::new(),
        1..=BLOCK => BLOCK / per_sample * per_sample,
        _ => per_sample.div_ceil(per_sample.div_ceil(BLOCK)).next_multiple_of(TILE),
    };
    let per_sample = if block >= per_sample { rows } else { per_sample };
    let starts = (0..rows).step_by(per_sample).flat_map(|first| {
        let end = (first + per_sample).min(rows);
        (first..end).step_by(block).map(move |start| start..(start + block).min(end))
    });
    starts.collect()
}

/// What the backward pass needs beside input and weights.
#[derive(Debug, PartialEq)]
pub struct Saved {
    /// LayerNorm's x̂, `[N, T, C]`.
    normalized: Buffer,
    /// 1/σ of each token, `[N, T]`.
    inverse_std: Buffer,
    /// What goes into GELU, `[N, T, 4C]`. Its value and derivative are computed again: memory that no
    /// cache holds costs more than arithmetic.
    hidden: Buffer,
    /// GRN's channel norms, `[N, 4C]`, or `[4C]` if all samples share them.
    norms: Buffer,
}

impl Saved {
    fn take(batch: &Batch, w: &Weights) -> Self {
        let rows = batch.samples * batch.tokens();
        Self {
            normalized: Buffer::take(rows * w.channels()),
            inverse_std: Buffer::take(rows),
            hidden: Buffer::take(rows * w.hidden()),
            norms: Buffer::take(if batch.in_phases() { 1 } else { batch.samples } * w.hidden()),
        }
    }
}

/// The norms of a sample, out of those of all.
fn norms_of(norms: &[f32], hidden: usize, sample: usize) -> &[f32] {
    if norms.len() == hidden { norms } else { &norms[sample * hidden..][..hidden] }
}
