//! Sums of outer products of rows.

use pulp::{Simd, WithSimd};

use super::tile::{At, multiply, put};
use super::tiles::Tiles;
use super::{Start, VECTORS, panels};
use crate::Arch;
use crate::buffer::AlignedBuffer;
use crate::vector::load_row;

/// Rows worked on at a time: so many of a panel of B stay in the nearest cache.
const ROWS: usize = 192;
/// Values of the widest vector.
const WIDEST: usize = 16;

/// C = Aᵀ·B, or C += Aᵀ·B, for row-major `a` `[rows, m]`, `b` `[rows, n]` and `c` `[m, n]`.
///
/// B is copied panel by panel, so the wider matrix should be B.
pub fn outer(arch: Arch, a: &[f32], b: &[f32], c: &mut [f32], shape: (usize, usize), accumulate: bool) {
    outer_scaled(arch, a, b, None, c, shape, accumulate);
}

/// Factors of the columns of a matrix, others for each so many rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnScales<'a> {
    /// Row by row.
    pub(crate) factors: &'a [f32],
    pub(crate) rows_each: usize,
}

impl ColumnScales<'_> {
    /// Those of a row, of `width` columns in all.
    #[inline(always)]
    fn of_row(&self, row: usize, width: usize) -> &[f32] {
        &self.factors[row / self.rows_each * width..][..width]
    }
}

/// The same with a B whose columns are multiplied first: as it is copied, so that this costs nothing.
pub(crate) fn outer_scaled(
    arch: Arch,
    a: &[f32],
    b: &[f32],
    scales: Option<ColumnScales>,
    c: &mut [f32],
    (m, n): (usize, usize),
    accumulate: bool,
) {
    assert_eq!(a.len() * n, b.len() * m, "as many rows of {m} as of {n}");
    assert_eq!(c.len(), m * n, "a {m}×{n} matrix");
    let mut copy = AlignedBuffer::take(ROWS * VECTORS * WIDEST);
    let c = Tiles::new(c, n);
    arch.dispatch(Outer { a, b, first_row: 0, scales, c, m, n, accumulate, copy: &mut copy });
}

struct Outer<'a> {
    a: &'a [f32],
    b: &'a [f32],
    /// Number of the first row of `a` and `b`.
    first_row: usize,
    scales: Option<ColumnScales<'a>>,
    c: Tiles<'a>,
    m: usize,
    n: usize,
    accumulate: bool,
    /// Room for a panel of B.
    copy: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
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

impl Outer<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize>(mut self, s: S) {
        for (a, b) in self.a.chunks(ROWS * self.m).zip(self.b.chunks(ROWS * self.n)) {
            (self.a, self.b) = (a, b);
            for (first, width) in panels(self.n.div_ceil(S::F32_LANES)) {
                match width {
                    3 => self.panel::<S, M, 3>(s, first),
                    2 => self.panel::<S, M, 2>(s, first),
                    _ => self.panel::<S, M, 1>(s, first),
                }
            }
            self.accumulate = true;
            self.first_row += ROWS;
        }
    }

    /// All rows of C, `N` vectors of columns.
    #[inline(always)]
    fn panel<S: Simd, const M: usize, const N: usize>(&mut self, s: S, first: usize) {
        let column = first * S::F32_LANES;
        let width = (self.n - column).min(N * S::F32_LANES);
        let copy = std::mem::take(&mut self.copy);
        let (panel, _) = S::as_mut_simd_f32s(copy).0.as_chunks_mut::<N>();
        let panel = &mut panel[..self.b.len() / self.n];
        for (r, (to, row)) in panel.iter_mut().zip(self.b.chunks_exact(self.n)).enumerate() {
            *to = load_row::<S, N>(s, &row[column..column + width]);
            if let Some(scales) = &self.scales {
                let scales = scales.of_row(self.first_row + r, self.n);
                let scales = load_row::<S, N>(s, &scales[column..column + width]);
                for j in 0..N {
                    to[j] = s.mul_f32s(to[j], scales[j]);
                }
            }
        }
        let mut row = 0;
        while row < self.m {
            row += match self.m - row {
                left if left >= M => self.tile::<S, M, N>(s, row, column, panel),
                4.. => self.tile::<S, 4, N>(s, row, column, panel),
                2.. => self.tile::<S, 2, N>(s, row, column, panel),
                _ => self.tile::<S, 1, N>(s, row, column, panel),
            };
        }
        self.copy = copy;
    }

    /// `M` rows of them; returns `M`.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        s: S,
        row: usize,
        column: usize,
        panel: &[[S::f32s; N]],
    ) -> usize {
        let steps = self.a.chunks_exact(self.m).zip(panel).map(
            #[inline(always)]
            |(a, b)| {
                let a: [f32; M] = std::array::from_fn(
                    #[inline(always)]
                    |i| a[row + i],
                );
                (a, b)
            },
        );
        let sums = multiply::<S, M, N>(s, steps);
        let width = (self.n - column).min(N * S::F32_LANES);
        let start = if self.accumulate { Start::Sum } else { Start::Zero };
        // SAFETY: C was borrowed for this alone, which is on one thread.
        #[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
        unsafe {
            put::<S, M, N>(s, &self.c, At { row, column, width }, sums, start);
        }
        M
    }
}
