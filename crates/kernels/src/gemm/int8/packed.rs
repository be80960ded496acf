//! The weight of a product in 8 bits, in the order in which tiles read it.

use pulp::{Simd, bytemuck};
use rayon::prelude::*;

use super::instructions::{Dot, F32s, I32s};
use super::{GROUP, Instructions, in_place_of, round};
use crate::buffer::AlignedBuffer;
use crate::dispatch;
use crate::gemm::panels;

/// The largest magnitude of a quantised weight.
const TOP: f32 = 127.0;
/// The largest depth whose sums of products are sure to fit 32 bits.
const DEEPEST: usize = (i32::MAX / (255 * 127)) as usize;
/// Rows of a panel after its values: scales and sums.
const EXTRA: usize = 2;

/// A weight in 8 bits, each column with a scale of its own: weight ≈ scale · quantised, from minus to
/// plus the largest magnitude of the column.
///
/// A column whose values are not all finite has NaN for its scale, and so have all its products. In a
/// column whose scale would not be a normal number, everything is zero.
#[derive(Debug)]
pub struct PackedInt8 {
    /// Panels of some vectors of columns. Each has a row for every group of the depth, where a column's
    /// four values lie together; then the columns' scales; then the sums of the columns' values, which
    /// the zero points of the other matrix are multiplied by. Padded with zeros.
    words: AlignedBuffer,
    rows: usize,
    columns: usize,
    lanes: usize,
}

/// Some vectors of columns.
pub(super) struct Columns<'a, D: Dot, const N: usize> {
    pub(super) groups: &'a [[I32s<D>; N]],
    pub(super) scales: [F32s<D>; N],
    pub(super) sums: [I32s<D>; N],
}

impl PackedInt8 {
    /// Quantises and packs the transpose of a row-major matrix: a weight `[out, in]` that rows are
    /// multiplied by.
    pub fn transposed(instructions: Instructions, matrix: &[f32], rows: usize, columns: usize) -> Self {
        assert_eq!(matrix.len(), rows * columns, "a {columns}×{rows} matrix");
        assert!(rows <= DEEPEST, "sums of {rows} products of 8 bits may not fit 32 bits");
        let lanes = instructions.lanes();
        let (vectors, height) = (columns.div_ceil(lanes), rows.div_ceil(GROUP) + EXTRA);
        let mut words = AlignedBuffer::take(vectors * lanes * height);
        let mut rest = &mut words[..];
        let mut parts = Vec::new();
        for (first, width) in panels(vectors) {
            let (panel, after) = rest.split_at_mut(width * lanes * height);
            parts.push((first * lanes, width * lanes, panel));
            rest = after;
        }
        parts.into_par_iter().for_each(|(first, width, panel)| {
            let weights = &matrix[first * rows..columns.min(first + width) * rows];
            dispatch!(instructions.arch(), fill(panel, width, weights, rows));
        });
        Self { words, rows, columns, lanes }
    }

    /// Rows: the depth of products.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of columns.
    pub(super) fn panels(&self) -> usize {
        panels(self.columns.div_ceil(self.lanes)).count()
    }

    /// The panel of `N` vectors that begins with this one.
    #[inline(always)]
    pub(super) fn panel<D: Dot, const N: usize>(&self, first: usize) -> Columns<'_, D, N> {
        assert_eq!(D::Simd::I32_LANES, self.lanes, "packed for other instructions");
        let groups = self.rows.div_ceil(GROUP);
        let (width, height) = (N * self.lanes, groups + EXTRA);
        let panel = &self.words[first * self.lanes * height..][..width * height];
        let (values, extra) = panel.split_at(width * groups);
        let (scales, sums) = extra.split_at(width);
        Columns {
            groups: D::Simd::as_simd_i32s(bytemuck::cast_slice(values)).0.as_chunks().0,
            scales: D::Simd::as_simd_f32s(scales).0.as_chunks().0[0],
            sums: D::Simd::as_simd_i32s(bytemuck::cast_slice(sums)).0.as_chunks().0[0],
        }
    }
}

/// Quantises as many columns as there are weights for, of `depth` values each.
#[inline(always)]
fn fill(panel: &mut [f32], width: usize, weights: &[f32], depth: usize) {
    panel.fill(0.0);
    let (values, extra) = panel.split_at_mut(width * depth.div_ceil(GROUP));
    let (scales, sums) = extra.split_at_mut(width);
    let values: &mut [[i8; GROUP]] = bytemuck::cast_slice_mut(values);
    let sums: &mut [i32] = bytemuck::cast_slice_mut(sums);
    for (column, weights) in weights.chunks_exact(depth).enumerate() {
        // In the order of the bits, what is not finite is larger than all that is.
        let largest = weights.iter().map(|w| w.abs().to_bits()).max().map_or(0.0, f32::from_bits);
        let scale = largest / TOP;
        if !scale.is_normal() {
            scales[column] = in_place_of(scale);
            continue;
        }
        scales[column] = scale;
        let inverse = 1.0 / scale;
        for (group, weights) in weights.chunks(GROUP).enumerate() {
            for (value, weight) in values[group * width + column].iter_mut().zip(weights) {
                *value = round(weight * inverse) as i8;
                sums[column] += i32::from(*value);
            }
        }
    }
}
