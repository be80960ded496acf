//! The matrix on the right of a product, in the order in which tiles read it.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::panels;
use crate::buffer::AlignedBuffer;
use crate::transpose::{self, Turn};
use crate::{Arch, dispatch};

/// Elements from which on threads share the work.
const LARGE: usize = 1 << 14;

/// A matrix in panels of some vectors of columns, each panel row by row, the last one padded with
/// zeros.
#[derive(Debug)]
pub struct Packed {
    values: AlignedBuffer,
    rows: usize,
    columns: usize,
    lanes: usize,
}

impl Packed {
    /// Packs a row-major matrix.
    pub fn new(arch: Arch, matrix: &[f32], rows: usize, columns: usize) -> Self {
        assert_eq!(matrix.len(), rows * columns, "a {rows}×{columns} matrix");
        Self::with_panels(arch, rows, columns, |first, width, panel| {
            for (from, to) in matrix.chunks_exact(columns).zip(panel.chunks_exact_mut(width)) {
                let from = &from[first..columns.min(first + width)];
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        })
    }

    /// Packs the transpose of a row-major matrix: a weight `[out, in]` that rows are multiplied by.
    pub fn transposed(arch: Arch, matrix: &[f32], rows: usize, columns: usize) -> Self {
        assert_eq!(matrix.len(), rows * columns, "a {columns}×{rows} matrix");
        Self::with_panels(arch, rows, columns, |first, width, panel| {
            let present = columns.min(first + width) - first;
            if present < width {
                panel.fill(0.0);
            }
            let (from, to) = (&matrix[first * rows..], panel);
            let turn = Turn { from, rows: present, columns: rows, from_stride: rows, to_stride: width };
            dispatch!(arch, transpose::turn(turn, to));
        })
    }

    /// `fill(first column, columns, panel)`.
    fn with_panels(
        arch: Arch,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let lanes = arch.dispatch(Lanes);
        let vectors = columns.div_ceil(lanes);
        let mut values = AlignedBuffer::take(vectors * lanes * rows);
        let mut rest = &mut values[..];
        let mut parts = Vec::with_capacity(vectors);
        for (first, width) in panels(vectors) {
            let (panel, after) = rest.split_at_mut(width * lanes * rows);
            parts.push((first * lanes, width * lanes, panel));
            rest = after;
        }
        let fill = |(first, width, panel): (usize, usize, &mut [f32])| fill(first, width, panel);
        match rows * columns >= LARGE {
            true => parts.into_par_iter().for_each(fill),
            false => parts.into_iter().for_each(fill),
        }
        Self { values, rows, columns, lanes }
    }

    /// Multiplies every row by a factor of its own.
    pub(crate) fn scale_rows(&mut self, arch: Arch, scale: &[f32]) {
        assert_eq!(scale.len(), self.rows);
        let (rows, lanes, columns) = (self.rows, self.lanes, self.columns);
        let mut rest = &mut self.values[..];
        for (_, width) in panels(columns.div_ceil(lanes)) {
            let (panel, after) = rest.split_at_mut(width * lanes * rows);
            dispatch!(arch, {
                for (row, factor) in panel.chunks_exact_mut(width * lanes).zip(scale) {
                    row.iter_mut().for_each(|value| *value *= factor);
                }
            });
            rest = after;
        }
    }

    /// Multiplies every column by a factor of its own.
    pub(crate) fn scale_columns(&mut self, arch: Arch, scale: &[f32]) {
        assert_eq!(scale.len(), self.columns);
        let (rows, lanes, columns) = (self.rows, self.lanes, self.columns);
        let mut rest = &mut self.values[..];
        for (first, width) in panels(columns.div_ceil(lanes)) {
            let (panel, after) = rest.split_at_mut(width * lanes * rows);
            let scale = &scale[first * lanes..columns.min((first + width) * lanes)];
            dispatch!(arch, {
                for row in panel.chunks_exact_mut(width * lanes) {
                    row.iter_mut().zip(scale).for_each(|(value, factor)| *value *= factor);
                }
            });
            rest = after;
        }
    }

    /// A copy whose rows are multiplied by factors.
    pub(crate) fn with_scaled_rows(&self, arch: Arch, scale: &[f32]) -> Self {
        let Self { rows, columns, lanes, .. } = *self;
        let len = columns.div_ceil(lanes) * lanes * rows;
        let mut values = AlignedBuffer::take(len);
        values[..len].copy_from_slice(&self.values[..len]);
        let mut copy = Self { values, rows, columns, lanes };
        copy.scale_rows(arch, scale);
        copy
    }

    /// Rows.
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

    /// Some vectors of columns of all rows.
    #[inline(always)]
    pub(super) fn panel<S: Simd>(&self, first: usize, vectors: usize) -> &[S::f32s] {
        assert_eq!(S::F32_LANES, self.lanes, "packed for other instructions");
        let len = self.lanes * self.rows;
        S::as_simd_f32s(&self.values[first * len..][..vectors * len]).0
    }
}

/// Values of a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}
