//! Rows times a packed weight, in 8 bits.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::instructions::{Dot, I32s, WithDot};
use super::packed::Columns;
use super::quantized::Row;
use super::{Instructions, PackedInt8, Quantized};
use crate::gemm::epilogue::{Epilogue, Plain};
use crate::gemm::product::{Divide, TASK_ROWS, assert_together};
use crate::gemm::tile::{At, finish, put};
use crate::gemm::tiles::Tiles;
use crate::gemm::{Start, panels};

/// Rows that a thread quantises at a time.
const BAND: usize = 3 * TASK_ROWS;

/// C = start + A·B for row-major `a` and `c`, where A and B have 8 bits.
pub fn product(instructions: Instructions, a: &[f32], b: &PackedInt8, c: &mut [f32], start: Start) {
    product_with(instructions, a, b, c, start, &Plain, Divide::Never);
}

/// The same, with something done to every value before it is written, by one thread or several.
pub(crate) fn product_with(
    instructions: Instructions,
    a: &[f32],
    b: &PackedInt8,
    c: &mut [f32],
    start: Start,
    epilogue: &impl Epilogue,
    divide: Divide,
) {
    let (depth, columns) = (b.rows(), b.columns());
    assert!(a.len().is_multiple_of(depth), "{} values as rows of {depth}", a.len());
    let rows = a.len() / depth;
    assert_eq!(c.len(), rows * columns, "a product of {columns} columns");
    assert_together(epilogue, divide);
    let quantized = |a| Quantized::new(instructions, a, depth);
    let bands: Vec<Quantized> = match divide {
        Divide::Never => a.chunks(BAND * depth).map(quantized).collect(),
        Divide::ByColumns | Divide::ByTiles => a.par_chunks(BAND * depth).map(quantized).collect(),
    };
    let c = Tiles::new(c, columns);
    divide.for_tasks([rows, b.panels(), rows * depth * columns], |rows, panels| {
        for (index, a) in bands.iter().enumerate() {
            let first = index * BAND;
            let rows = rows.start.max(first) - first..rows.end.min(first + a.rows()).saturating_sub(first);
            let panels = panels.clone();
            instructions.dispatch(Product { a, b, c, first, start, epilogue, rows, panels });
        }
    });
}

/// The part of a product that a thread computes.
struct Product<'a, E> {
    a: &'a Quantized,
    b: &'a PackedInt8,
    c: Tiles<'a>,
    /// Row of C of the first row of A.
    first: usize,
    start: Start,
    epilogue: &'a E,
    rows: Range<usize>,
    /// Panels of B, counted.
    panels: Range<usize>,
}

impl<E: Epilogue> WithDot for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_dot<D: Dot>(self, d: D) {
        match D::Simd::REGISTER_COUNT {
            32.. => self.run::<D, 8>(d),
            // Four rows would fill all of 16 registers, and leave one of the sums in memory.
            _ => self.run::<D, 3>(d),
        }
    }
}

impl<E: Epilogue> Product<'_, E> {
    #[inline(always)]
    fn run<D: Dot, const M: usize>(self, d: D) {
        let Range { start, end } = self.panels;
        let panels = panels(self.b.columns().div_ceil(D::Simd::I32_LANES));
        for (first, width) in panels.take(end).skip(start) {
            match width {
                3 => self.panel::<D, M, 3>(d, first),
                2 => self.panel::<D, M, 2>(d, first),
                _ => self.panel::<D, M, 1>(d, first),
            }
        }
    }

    /// All rows of `N` vectors of columns.
    #[inline(always)]
    fn panel<D: Dot, const M: usize, const N: usize>(&self, d: D, first: usize) {
        let (columns, column) = (self.b.panel::<D, N>(first), first * D::Simd::I32_LANES);
        let Range { start: mut row, end } = self.rows;
        while row < end {
            row += match end - row {
                left if left >= M => self.tile::<D, M, N>(d, row, column, &columns),
                4.. => self.tile::<D, 4, N>(d, row, column, &columns),
                2.. => self.tile::<D, 2, N>(d, row, column, &columns),
                _ => self.tile::<D, 1, N>(d, row, column, &columns),
            };
        }
    }

    /// `M` rows of them; returns `M`.
    #[inline(always)]
    fn tile<D: Dot, const M: usize, const N: usize>(
        &self,
        d: D,
        row: usize,
        column: usize,
        columns: &Columns<D, N>,
    ) -> usize {
        let rows: [Row; M] = std::array::from_fn(
            #[inline(always)]
            |i| self.a.row(row + i),
        );
        let sums = multiply::<D, M, N>(d, &rows, columns.groups);
        let s = d.simd();
        let mut values = [[s.splat_f32s(0.0); N]; M];
        for i in 0..M {
            let scale = s.splat_f32s(rows[i].scale);
            for j in 0..N {
                let scaled = d.scale(sums[i][j], rows[i].zero, columns.sums[j], columns.scales[j]);
                values[i][j] = s.mul_f32s(scaled, scale);
            }
        }
        let width = (self.b.columns() - column).min(N * D::Simd::F32_LANES);
        let at = At { row: self.first + row, column, width };
        // SAFETY: tasks have other rows or other columns.
        #[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
        unsafe {
            put::<D::Simd, M, N>(s, &self.c, at, values, self.start);
            if !E::IS_NOTHING {
                finish::<D::Simd, N>(s, &self.c, at, M, self.epilogue);
            }
        }
        M
    }
}

/// Sums of products of quantised values, over all groups of the depth.
#[inline(always)]
fn multiply<D: Dot, const M: usize, const N: usize>(
    d: D,
    rows: &[Row; M],
    groups: &[[I32s<D>; N]],
) -> [[I32s<D>; N]; M] {
    let rows: [&[i32]; M] = std::array::from_fn(
        #[inline(always)]
        |i| &rows[i].groups[..groups.len()],
    );
    let mut sums = [[d.simd().splat_i32s(0); N]; M];
    for (g, b) in groups.iter().enumerate() {
        for i in 0..M {
            for j in 0..N {
                sums[i][j] = d.dot(sums[i][j], rows[i][g], b[j]);
            }
        }
    }
    sums
}
