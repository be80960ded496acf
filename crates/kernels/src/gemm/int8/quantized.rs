//! Rows in 8 bits.

use pulp::{Simd, WithSimd, bytemuck};

use super::{GROUP, Instructions, in_place_of, round};
use crate::buffer::AlignedBuffer;

/// The largest of the 256 values of a row.
const TOP: i32 = 255;
/// The part of a row's range that a step is. Multiplied by each end, since their difference may not be
/// finite.
const STEP: f32 = 1.0 / TOP as f32;
/// Words after the values of a row: its scale and its zero point.
const EXTRA: usize = 2;

/// Rows in 8 bits, each with a scale and a zero point of its own: value ≈ scale · (quantised − zero
/// point), from the least to the largest value of the row and zero, which is exact.
///
/// A row whose values are not all finite has NaN for its scale, and so have all its products. In a row
/// whose scale would not be a normal number, everything is zero.
pub struct Quantized {
    /// Row by row: groups of values, the last one padded with zeros, and what [`EXTRA`] counts.
    words: AlignedBuffer,
    rows: usize,
    depth: usize,
}

/// A row as products read it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Four values in each.
    pub(super) groups: &'a [i32],
    pub(super) scale: f32,
    pub(super) zero: i32,
}

impl Quantized {
    /// Quantises rows of `depth` values.
    pub fn new(instructions: Instructions, rows: &[f32], depth: usize) -> Self {
        assert!(rows.len().is_multiple_of(depth), "{} values as rows of {depth}", rows.len());
        let count = rows.len() / depth;
        let mut words = AlignedBuffer::take(count * stride(depth));
        instructions.arch().dispatch(Quantize { rows, depth, words: &mut words });
        Self { words, rows: count, depth }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> Row<'_> {
        let stride = stride(self.depth);
        let (groups, extra) = self.words[row * stride..][..stride].split_at(stride - EXTRA);
        Row { groups: bytemuck::cast_slice(groups), scale: extra[0], zero: extra[1] as i32 }
    }
}

/// Words of a row.
#[inline(always)]
fn stride(depth: usize) -> usize {
    depth.div_ceil(GROUP) + EXTRA
}

struct Quantize<'a> {
    rows: &'a [f32],
    depth: usize,
    words: &'a mut [f32],
}

impl WithSimd for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let stride = stride(self.depth);
        for (row, words) in self.rows.chunks_exact(self.depth).zip(self.words.chunks_exact_mut(stride)) {
            let (groups, extra) = words.split_at_mut(stride - EXTRA);
            // What pads it is multiplied by zeros, but it is read.
            if let Some(padded) = groups.last_mut() {
                *padded = 0.0;
            }
            let values = &mut bytemuck::cast_slice_mut::<f32, u8>(groups)[..row.len()];
            let (scale, zero) = quantize(s, row, values);
            extra.copy_from_slice(&[scale, zero as f32]);
        }
    }
}

/// Quantises a row; returns its scale and its zero point.
#[inline(always)]
fn quantize<S: Simd>(s: S, row: &[f32], values: &mut [u8]) -> (f32, i32) {
    let (low, high) = range(s, row);
    let scale = high * STEP - low * STEP;
    if !scale.is_normal() {
        values.fill(0);
        return (in_place_of(scale), 0);
    }
    let inverse = 1.0 / scale;
    let zero = round(-low * inverse);
    for (value, x) in values.iter_mut().zip(row) {
        *value = (round(x * inverse) + zero).clamp(0, TOP) as u8;
    }
    (scale, zero)
}

/// The least and the largest of zero and the values; NaN unless all are finite.
#[inline(always)]
fn range<S: Simd>(s: S, row: &[f32]) -> (f32, f32) {
    /// Vectors at a time, none of which waits for another.
    const VECTORS: usize = 4;
    let (vectors, tail) = S::as_simd_f32s(row);
    let (chunks, rest) = vectors.as_chunks::<VECTORS>();
    let mut ranges = [Range::of_zero(s); VECTORS];
    for chunk in chunks {
        for i in 0..VECTORS {
            ranges[i] = ranges[i].with(s, chunk[i]);
        }
    }
    for vector in rest {
        ranges[0] = ranges[0].with(s, *vector);
    }
    // What stands in for values that are not there is zero, too.
    ranges[1] = ranges[1].with(s, s.partial_load_f32s(tail));
    let [a, b, c, d] = ranges;
    a.and(s, b).and(s, c.and(s, d)).reduce(s)
}

/// The least and the largest of values and zero, lane by lane.
#[derive(Clone, Copy)]
struct Range<S: Simd> {
    low: S::f32s,
    high: S::f32s,
    /// Zero while all are finite, or else NaN, which minima and maxima may pass over.
    finite: S::f32s,
}

impl<S: Simd> Range<S> {
    #[inline(always)]
    fn of_zero(s: S) -> Self {
        let zero = s.splat_f32s(0.0);
        Self { low: zero, high: zero, finite: zero }
    }

    #[inline(always)]
    fn with(self, s: S, values: S::f32s) -> Self {
        let finite = s.mul_add_e_f32s(values, s.splat_f32s(0.0), self.finite);
        Self { low: s.min_f32s(self.low, values), high: s.max_f32s(self.high, values), finite }
    }

    #[inline(always)]
    fn and(self, s: S, other: Self) -> Self {
        let finite = s.add_f32s(self.finite, other.finite);
        Self { low: s.min_f32s(self.low, other.low), high: s.max_f32s(self.high, other.high), finite }
    }

    #[inline(always)]
    fn reduce(self, s: S) -> (f32, f32) {
        let finite = s.reduce_sum_f32s(self.finite);
        (s.reduce_min_f32s(self.low) + finite, s.reduce_max_f32s(self.high) + finite)
    }
}
