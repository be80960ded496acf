//! Rows times a packed matrix.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::tile::{Place, multiply};
use super::{Packed, panels};
use crate::Arch;

/// Depth worked on at a time: a panel of so many rows stays in the second cache with some rows of A.
const DEPTH: usize = 384;

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Zero, so that the product is written.
    Zero,
    /// These values in every row.
    Bias(&'a [f32]),
    /// The present content of C.
    Sum,
}

/// C = start + A·B for row-major `a` and `c`.
pub fn product(arch: Arch, a: &[f32], b: &Packed, c: &mut [f32], start: Start) {
    let (depth, columns) = (b.rows(), b.columns());
    assert!(a.len().is_multiple_of(depth.max(1)), "{} values as rows of {depth}", a.len());
    assert_eq!(c.len(), a.len() / depth.max(1) * columns, "a product of {columns} columns");
    arch.dispatch(Product { a, b, c, start });
}

struct Product<'a> {
    a: &'a [f32],
    b: &'a Packed,
    c: &'a mut [f32],
    start: Start<'a>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match S::REGISTER_COUNT {
            32.. => self.run::<S, 8>(s),
            _ => self.run::<S, 4>(s),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize>(mut self, s: S) {
        let depth = self.b.rows();
        for first in (0..depth).step_by(DEPTH) {
            let steps = first..(first + DEPTH).min(depth);
            if first > 0 {
                self.start = Start::Sum;
            }
            for (first, width) in panels(self.b.columns().div_ceil(S::F32_LANES)) {
                match width {
                    3 => self.panel::<S, M, 3>(s, first, steps.clone()),
                    2 => self.panel::<S, M, 2>(s, first, steps.clone()),
                    _ => self.panel::<S, M, 1>(s, first, steps.clone()),
                }
            }
        }
    }

    /// All rows of `N` vectors of columns.
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const N: usize>(&mut self, s: S, first: usize, steps: Range<usize>) {
        let (panel, _) = self.b.panel::<S>(first, N).as_chunks::<N>();
        let (panel, from, column) = (&panel[steps.clone()], steps.start, first * S::F32_LANES);
        let rows = self.a.len() / self.b.rows();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                left if left >= M => self.tile::<S, M, N>(s, row, column, from, panel),
                4.. => self.tile::<S, 4, N>(s, row, column, from, panel),
                2.. => self.tile::<S, 2, N>(s, row, column, from, panel),
                _ => self.tile::<S, 1, N>(s, row, column, from, panel),
            };
        }
    }

    /// `M` rows of them; returns `M`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        column: usize,
        from: usize,
        panel: &[[S::f32s; N]],
    ) -> usize {
        let depth = self.b.rows();
        let rows: [&[f32]; M] = std::array::from_fn(
            #[inline(always)]
            |i| &self.a[(row + i) * depth + from..][..panel.len()],
        );
        let steps = panel.iter().enumerate().map(
            #[inline(always)]
            |(k, b)| {
                let a: [f32; M] = std::array::from_fn(
                    #[inline(always)]
                    |i| rows[i][k],
                );
                (a, b)
            },
        );
        let sums = multiply::<S, M, N>(s, steps);
        let stride = self.b.columns();
        let width = (stride - column).min(N * S::F32_LANES);
        let start = match self.start {
            Start::Bias(bias) => Start::Bias(&bias[column..column + width]),
            start => start,
        };
        Place { c: &mut self.c[row * stride + column..], stride, width }.put(s, sums, start);
        M
    }
}
