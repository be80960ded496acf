//! Rows times a packed matrix.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::epilogue::{Epilogue, Plain};
use super::tile::{At, finish, multiply, put};
use super::tiles::Tiles;
use super::{Packed, panels};
use crate::Arch;

/// Depth worked on at a time: a panel of so many rows stays in the second cache with some rows of A.
const DEPTH: usize = 384;
/// Rows of a task where threads divide rows and columns: three tiles.
pub(crate) const TASK_ROWS: usize = 24;

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// Zero, so that the product is written.
    Zero,
    /// The present content of C.
    Sum,
}

/// C = start + A·B for row-major `a` and `c`.
pub fn product(arch: Arch, a: &[f32], b: &Packed, c: &mut [f32], start: Start) {
    product_with(arch, a, b, c, start, &Plain, Divide::Never);
}

/// How threads divide a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Divide {
    /// Not at all: the rows were divided before.
    Never,
    /// By panels of columns, all rows of a panel together.
    ByColumns,
    /// By panels and bands of [`TASK_ROWS`] rows.
    ByTiles,
}

impl Divide {
    /// Multiply-adds from which on parts of a product are worth tasks.
    const LARGE: usize = 1 << 18;

    /// Bands of rows and panels of columns that are tasks of their own, in a product of these numbers of rows,
    /// panels and multiply-adds.
    pub(crate) fn tasks(self, rows: usize, panels: usize, macs: usize) -> [usize; 2] {
        match self {
            Self::ByColumns if macs >= Self::LARGE => [1, panels],
            Self::ByTiles if macs >= Self::LARGE => [rows.div_ceil(TASK_ROWS), panels],
            _ => [1, 1],
        }
    }

    /// Calls `f(rows, panels)` for every task.
    pub(super) fn for_tasks(
        self,
        [rows, panels, macs]: [usize; 3],
        f: impl Fn(Range<usize>, Range<usize>) + Sync,
    ) {
        let [bands, parts] = self.tasks(rows, panels, macs);
        if bands * parts == 1 {
            return f(0..rows, 0..panels);
        }
        let (height, width) = (if bands > 1 { TASK_ROWS } else { rows }, panels / parts);
        (0..bands * parts).into_par_iter().for_each(|task| {
            // Bands of one panel follow each other, so that a thread finds the panel in its cache.
            let (part, band) = (task / bands, task % bands);
            f(band * height..rows.min((band + 1) * height), part * width..(part + 1) * width);
        });
    }
}

/// The same, with something done to every value before it is written, by one thread or several.
pub(crate) fn product_with(
    arch: Arch,
    a: &[f32],
    b: &Packed,
    c: &mut [f32],
    start: Start,
    epilogue: &impl Epilogue,
    divide: Divide,
) {
    let (depth, columns) = (b.rows(), b.columns());
    assert!(a.len().is_multiple_of(depth.max(1)), "{} values as rows of {depth}", a.len());
    let rows = a.len() / depth.max(1);
    assert_eq!(c.len(), rows * columns, "a product of {columns} columns");
    assert_together(epilogue, divide);
    let c = Tiles::new(c, columns);
    divide.for_tasks([rows, b.panels(), rows * depth * columns], |rows, panels| {
        arch.dispatch(Product { a, b, c, start, epilogue, rows, panels });
    });
}

/// Rows that one thread has to work on are not divided.
pub(super) fn assert_together(epilogue: &impl Epilogue, divide: Divide) {
    let divides = divide == Divide::ByTiles && !TASK_ROWS.is_multiple_of(epilogue.rows_together());
    assert!(!divides, "rows of one sum in two tasks");
}

/// The part of a product that a thread computes.
struct Product<'a, E> {
    a: &'a [f32],
    b: &'a Packed,
    c: Tiles<'a>,
    start: Start,
    epilogue: &'a E,
    rows: Range<usize>,
    /// Panels of B, counted.
    panels: Range<usize>,
}

impl<E: Epilogue> WithSimd for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match S::REGISTER_COUNT {
            32.. => self.run::<S, 8>(s),
            // Four rows by three vectors would leave no register for A.
            _ => self.run::<S, 3>(s),
        }
    }
}

impl<E: Epilogue> Product<'_, E> {
    #[inline(always)]
    fn run<S: Simd, const M: usize>(mut self, s: S) {
        let depth = self.b.rows();
        let Range { start, end } = self.panels;
        for first in (0..depth).step_by(DEPTH) {
            let steps = first..(first + DEPTH).min(depth);
            if first > 0 {
                self.start = Start::Sum;
            }
            for (first, width) in panels(self.b.columns().div_ceil(S::F32_LANES)).take(end).skip(start) {
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
    fn panel<S: Simd, const M: usize, const N: usize>(&self, s: S, first: usize, steps: Range<usize>) {
        let (panel, _) = self.b.panel::<S>(first, N).as_chunks::<N>();
        let (panel, from, column) = (&panel[steps.clone()], steps.start, first * S::F32_LANES);
        let Range { start: mut row, end } = self.rows;
        while row < end {
            row += match end - row {
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
        &self,
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
        let width = (self.b.columns() - column).min(N * S::F32_LANES);
        let at = At { row, column, width };
        // SAFETY: tasks have other rows or other columns.
        #[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
        unsafe {
            put::<S, M, N>(s, &self.c, at, sums, self.start);
        }
        if from + panel.len() == depth && !E::IS_NOTHING {
            // SAFETY: as above.
            #[allow(unsafe_code, reason = "as above")]
            unsafe {
                finish::<S, N>(s, &self.c, at, M, self.epilogue);
            }
        }
        M
    }
}
