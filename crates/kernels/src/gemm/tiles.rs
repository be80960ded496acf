//! A matrix of which tasks write parts that do not overlap.

use std::marker::PhantomData;

/// A row-major matrix whose rows are written piece by piece, by several threads at once.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<'a> {
    start: *mut f32,
    len: usize,
    stride: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: it hands out nothing without the promise that `row` asks for, with which parts are as exclusive
// as those of `split_at_mut`.
#[allow(unsafe_code, reason = "rows of a matrix that is divided by columns are no slices of it")]
unsafe impl Send for Tiles<'_> {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Sync for Tiles<'_> {}

impl<'a> Tiles<'a> {
    /// Rows of `stride` values each.
    pub(crate) fn new(matrix: &'a mut [f32], stride: usize) -> Self {
        assert!(matrix.len().is_multiple_of(stride.max(1)), "{} values as rows of {stride}", matrix.len());
        Self { start: matrix.as_mut_ptr(), len: matrix.len(), stride, matrix: PhantomData }
    }

    /// `width` values of a row, from a column on.
    ///
    /// # Safety
    /// While the slice is used, nobody else uses these values.
    #[allow(unsafe_code, clippy::mut_from_ref, reason = "the promise is the caller's")]
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: usize, column: usize, width: usize) -> &'a mut [f32] {
        let first = row * self.stride + column;
        assert!(column + width <= self.stride && first + width <= self.len, "outside of the matrix");
        // SAFETY: these values lie within the matrix, which is borrowed for 'a, and are the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), width) }
    }
}
