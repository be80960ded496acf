//! A tile of C, in registers.

use pulp::Simd;

use super::Start;
use super::epilogue::Epilogue;
use super::tiles::Tiles;
use crate::vector::{load_row, store_row};

/// Where a tile or one of its rows lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) row: usize,
    pub(crate) column: usize,
    /// Values of a row that count; the vectors may hold more.
    pub(crate) width: usize,
}

impl At {
    /// The same part of a row further down.
    #[inline(always)]
    pub(super) fn below(self, rows: usize) -> Self {
        Self { row: self.row + rows, ..self }
    }

    /// This part of a matrix.
    ///
    /// # Safety
    /// While the slice is used, nobody else uses these values.
    #[allow(unsafe_code, clippy::mut_from_ref, reason = "tiles of a matrix are no slices of it")]
    #[inline(always)]
    pub(super) unsafe fn of<'a>(self, matrix: &Tiles<'a>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { matrix.row(self.row, self.column, self.width) }
    }
}

/// Adds `N` vectors of columns of B, multiplied by `M` values of A, for every step of the depth.
#[inline(always)]
pub(super) fn multiply<'b, S: Simd, const M: usize, const N: usize>(
    s: S,
    steps: impl Iterator<Item = ([f32; M], &'b [S::f32s; N])>,
) -> [[S::f32s; N]; M] {
    let mut sums = [[s.splat_f32s(0.0); N]; M];
    for (a, b) in steps {
        for i in 0..M {
            let value = s.splat_f32s(a[i]);
            for j in 0..N {
                sums[i][j] = s.mul_add_e_f32s(value, b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Writes start plus sums. The loops have no branches within, so that the sums stay registers.
///
/// # Safety
/// Nobody else uses the tile's values meanwhile.
#[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
#[inline(always)]
pub(super) unsafe fn put<S: Simd, const M: usize, const N: usize>(
    s: S,
    c: &Tiles,
    at: At,
    mut sums: [[S::f32s; N]; M],
    start: Start,
) {
    match start {
        Start::Zero => {}
        Start::Sum => {
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: a slice of the caller's values alone, which ends here.
                let row = load_row::<S, N>(s, unsafe { at.below(i).of(c) });
                for j in 0..N {
                    sums[j] = s.add_f32s(sums[j], row[j]);
                }
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: as above.
        store_row::<S, N>(s, unsafe { at.below(i).of(c) }, sums);
    }
}

/// The epilogue, on rows that have just been written: their sums would not stay in registers if it were part of
/// the loop that adds them up.
///
/// # Safety
/// As for [`put`].
#[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, const N: usize>(
    s: S,
    c: &Tiles,
    at: At,
    rows: usize,
    epilogue: &impl Epilogue,
) {
    for at in (0..rows).map(|i| at.below(i)) {
        // SAFETY: a slice of the caller's values alone.
        let place = unsafe { at.of(c) };
        let values = load_row::<S, N>(s, place);
        store_row::<S, N>(s, place, epilogue.finish::<S, N>(s, at, values));
    }
}
