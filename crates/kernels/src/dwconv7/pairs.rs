//! The convolution over lists of visible neighbours, for few tokens.
//!
//! Where patches are narrow, a window over the map is mostly hidden sites, and too few outputs lie
//! beside one another to share what they load. A list of those pairs of tokens that do see each other
//! leaves nothing to skip.

use std::cell::RefCell;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{HALO, KERNEL, Layout, TAPS, WeightGradient, Weights, padded};
use crate::{Arch, vector};

/// Tokens of a sample up to which this is faster than windows.
const FEW: usize = 100;
/// No token at a site.
const HIDDEN: u32 = u32::MAX;

/// Whether a sample has so few tokens that lists are worth it.
pub(super) fn are_few(layout: &Layout) -> bool {
    layout.tokens() <= FEW
}

/// An output sees an input through a tap of the kernel.
#[derive(Debug, Clone, Copy)]
struct Pair {
    output: u32,
    input: u32,
    tap: u32,
}

/// All pairs of a sample.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// Grid, patch and visible patches that they belong to.
    grid: [usize; 2],
    patch: [usize; 2],
    visible: Option<Vec<u32>>,
    /// Output by output.
    by_output: Vec<Pair>,
    /// Where the pairs of each output end.
    output_ends: Vec<usize>,
    /// Tap by tap.
    by_tap: Vec<Pair>,
    tap_ends: Vec<usize>,
}

thread_local! {
    /// Those of the last layout that keeps none itself.
    static PAIRS: RefCell<Pairs> = RefCell::default();
}

/// Runs something with the pairs of a layout.
fn with_pairs<T>(layout: &Layout, run: impl FnOnce(&Pairs) -> T) -> T {
    let kept = layout.lists.map(|lists| lists.get_or_init(|| Pairs::of(layout)));
    if let Some(pairs) = kept.filter(|pairs| pairs.belong_to(layout)) {
        return run(pairs);
    }
    PAIRS.with_borrow_mut(|pairs| {
        if !pairs.belong_to(layout) {
            *pairs = Pairs::of(layout);
        }
        run(pairs)
    })
}

impl Pairs {
    fn belong_to(&self, layout: &Layout) -> bool {
        (self.grid, self.patch) == (layout.grid, layout.patch) && self.visible.as_deref() == layout.visible
    }

    fn of(layout: &Layout) -> Self {
        let row = layout.row();
        let mut token_at = vec![HIDDEN; layout.map_len(1)];
        layout.for_lines(0..layout.lines(), |token, site| {
            for x in 0..layout.patch[1] {
                token_at[site + HALO * row + HALO + x] = (token + x) as u32;
            }
        });
        let (mut by_output, mut output_ends) = (Vec::new(), Vec::with_capacity(layout.tokens()));
        layout.for_lines(0..layout.lines(), |token, site| {
            for x in 0..layout.patch[1] {
                for ky in 0..KERNEL {
                    let seen = &token_at[site + x + ky * row..][..KERNEL];
                    for (kx, input) in seen.iter().enumerate().filter(|(_, input)| **input != HIDDEN) {
                        let (output, tap) = ((token + x) as u32, (ky * KERNEL + kx) as u32);
                        by_output.push(Pair { output, input: *input, tap });
                    }
                }
                output_ends.push(by_output.len());
            }
        });
        let mut by_tap = by_output.clone();
        by_tap.sort_by_key(|pair| pair.tap);
        let tap_ends = (0..TAPS as u32).map(|tap| by_tap.partition_point(|pair| pair.tap <= tap)).collect();
        let visible = layout.visible.map(<[u32]>::to_vec);
        Self { grid: layout.grid, patch: layout.patch, visible, by_output, output_ends, by_tap, tap_ends }
    }
}

/// The pairs up to each end, one list after the other.
#[inline(always)]
fn lists<'a>(pairs: &'a [Pair], ends: &'a [usize]) -> impl Iterator<Item = &'a [Pair]> {
    (0..ends.len()).map(|i| &pairs[if i == 0 { 0 } else { ends[i - 1] }..ends[i]])
}

/// See [`super::forward`]; `y` are the outputs of some tokens.
pub(super) fn forward(
    arch: Arch,
    layout: &Layout,
    weights: &Weights,
    x: &[f32],
    y: &mut [f32],
    first: usize,
) {
    with_pairs(layout, |pairs| arch.dispatch(Forward { pairs, weights, x, y, first }));
}

struct Forward<'a> {
    pairs: &'a Pairs,
    weights: &'a Weights,
    x: &'a [f32],
    y: &'a mut [f32],
    first: usize,
}

/// Calls `$strip::<V>(start)` for as many vectors of channels at a time as there are, and `$tail` for
/// what fills no vector.
macro_rules! for_strips {
    ($S:ident, $channels:expr, |$c:ident| $strip:ident($($argument:expr),*)) => {{
        let (channels, mut $c) = ($channels, 0);
        while $c < channels {
            $c += match (channels - $c) / $S::F32_LANES {
                4.. => $strip::<$S, 4>($($argument),*),
                2.. => $strip::<$S, 2>($($argument),*),
                _ => $strip::<$S, 1>($($argument),*),
            };
        }
    }};
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        for_strips!(S, self.weights.channels, |c| forward_strip(s, &mut self, c));
    }
}

/// Some vectors of channels of all outputs; returns how many channels.
#[inline(always)]
fn forward_strip<S: Simd, const V: usize>(s: S, f: &mut Forward, c: usize) -> usize {
    let (channels, width) = (f.weights.channels, padded(f.weights.channels));
    let strip = c..channels.min(c + V * S::F32_LANES);
    let outputs = f.first..f.first + f.y.len() / channels;
    let ends = &f.pairs.output_ends[..outputs.end];
    let lists = lists(&f.pairs.by_output, ends).skip(f.first);
    for (list, y) in lists.zip(f.y.chunks_exact_mut(channels)) {
        let mut sums = load::<S, V>(s, &f.weights.bias[c..c + V * S::F32_LANES]);
        for pair in list {
            let x = load::<S, V>(s, at(f.x, pair.input, channels, &strip));
            let taps = load::<S, V>(s, &f.weights.taps[pair.tap as usize * width + c..][..V * S::F32_LANES]);
            for v in 0..V {
                sums[v] = s.mul_add_e_f32s(x[v], taps[v], sums[v]);
            }
        }
        store::<S, V>(s, &mut y[strip.clone()], sums);
    }
    V * S::F32_LANES
}

/// See [`WeightGradient::add`]; the bias is left alone.
pub(super) fn add(arch: Arch, layout: &Layout, x: &[f32], dy: &[f32], gradient: &mut WeightGradient) {
    with_pairs(layout, |pairs| arch.dispatch(Backward { pairs, x, dy, gradient }));
}

struct Backward<'a> {
    pairs: &'a Pairs,
    x: &'a [f32],
    dy: &'a [f32],
    gradient: &'a mut WeightGradient,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        for_strips!(S, self.gradient.channels, |c| backward_strip(s, &mut self, c));
    }
}

/// Some vectors of channels of all taps; returns how many channels.
#[inline(always)]
fn backward_strip<S: Simd, const V: usize>(s: S, b: &mut Backward, c: usize) -> usize {
    let (channels, width) = (b.gradient.channels, padded(b.gradient.channels));
    let strip = c..channels.min(c + V * S::F32_LANES);
    let taps = b.gradient.taps.chunks_exact_mut(width);
    for (list, taps) in lists(&b.pairs.by_tap, &b.pairs.tap_ends).zip(taps) {
        let taps = &mut taps[c..c + V * S::F32_LANES];
        let mut sums = load::<S, V>(s, taps);
        for pair in list {
            let x = load::<S, V>(s, at(b.x, pair.input, channels, &strip));
            let dy = load::<S, V>(s, at(b.dy, pair.output, channels, &strip));
            for v in 0..V {
                sums[v] = s.mul_add_e_f32s(x[v], dy[v], sums[v]);
            }
        }
        store::<S, V>(s, taps, sums);
    }
    V * S::F32_LANES
}

/// Some channels of a token.
#[inline(always)]
fn at<'a>(tokens: &'a [f32], token: u32, channels: usize, strip: &Range<usize>) -> &'a [f32] {
    &tokens[token as usize * channels + strip.start..][..strip.len()]
}

/// Whole vectors, or one that is not full.
#[inline(always)]
fn load<S: Simd, const V: usize>(s: S, values: &[f32]) -> [S::f32s; V] {
    match S::as_simd_f32s(values).0.as_chunks::<V>() {
        ([vectors], _) => *vectors,
        _ => [vector::load(s, values); V],
    }
}

#[inline(always)]
fn store<S: Simd, const V: usize>(s: S, to: &mut [f32], vectors: [S::f32s; V]) {
    match to.len() == V * S::F32_LANES {
        true => S::as_mut_simd_f32s(to).0.copy_from_slice(&vectors),
        false => vector::store(s, to, vectors[0]),
    }
}
