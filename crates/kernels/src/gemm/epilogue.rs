//! What becomes of the values of a product while they are in the nearest cache.

use pulp::Simd;

use super::tile::At;
use super::tiles::Tiles;
use crate::gelu;
use crate::vector::{load_row, store_row};

/// Something done to every value of a product.
pub(crate) trait Epilogue: Sync {
    /// Whether values stay what they are.
    const IS_NOTHING: bool = false;

    /// Values of a row → what is written in their place.
    fn finish<S: Simd, const N: usize>(&self, s: S, at: At, values: [S::f32s; N]) -> [S::f32s; N];

    /// Rows, counted from a multiple of so many, that one thread has to work on.
    fn rows_together(&self) -> usize {
        1
    }
}

/// Nothing.
pub(crate) struct Plain;

impl Epilogue for Plain {
    const IS_NOTHING: bool = true;

    #[inline(always)]
    fn finish<S: Simd, const N: usize>(&self, _: S, _: At, values: [S::f32s; N]) -> [S::f32s; N] {
        values
    }
}

/// Bias.
pub(crate) struct Bias<'a>(pub(crate) &'a [f32]);

impl Epilogue for Bias<'_> {
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(&self, s: S, at: At, mut values: [S::f32s; N]) -> [S::f32s; N] {
        let bias = load_row::<S, N>(s, &self.0[at.column..at.column + at.width]);
        for j in 0..N {
            values[j] = s.add_f32s(values[j], bias[j]);
        }
        values
    }
}

/// Bias and GELU.
pub(crate) struct Gelu<'a> {
    pub(crate) bias: &'a [f32],
    /// Keeps what goes into GELU, as the product lies.
    pub(crate) inputs: Option<Tiles<'a>>,
    /// What GRN takes its norms of: to row i / `rows_per_sum` are added the squares of the results of row i.
    pub(crate) square_sums: Tiles<'a>,
    pub(crate) rows_per_sum: usize,
}

impl Epilogue for Gelu<'_> {
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(&self, s: S, at: At, mut values: [S::f32s; N]) -> [S::f32s; N] {
        let At { row, column, width } = at;
        let bias = load_row::<S, N>(s, &self.bias[column..column + width]);
        for j in 0..N {
            values[j] = s.add_f32s(values[j], bias[j]);
        }
        if let Some(inputs) = &self.inputs {
            // SAFETY: as the product's own tile, which this thread alone writes.
            #[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
            let inputs = unsafe { inputs.row(row, column, width) };
            store_row::<S, N>(s, inputs, values);
        }
        // SAFETY: the sums of other rows are other threads', and those of other columns too.
        #[allow(unsafe_code, reason = "as above")]
        let sums = unsafe { self.square_sums.row(row / self.rows_per_sum, column, width) };
        let mut squares = load_row::<S, N>(s, sums);
        for j in 0..N {
            values[j] = gelu::value(s, values[j]);
            squares[j] = s.mul_add_e_f32s(values[j], values[j], squares[j]);
        }
        store_row::<S, N>(s, sums, squares);
        values
    }

    fn rows_together(&self) -> usize {
        self.rows_per_sum
    }
}

/// Bias, factor of the sample's branch, residual.
pub(crate) struct Residual<'a> {
    pub(crate) bias: &'a [f32],
    /// Rows as the product has them.
    pub(crate) shortcut: &'a [f32],
    /// A factor for every `rows_per_scale` rows.
    pub(crate) scales: &'a [f32],
    pub(crate) rows_per_scale: usize,
}

impl Epilogue for Residual<'_> {
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(&self, s: S, at: At, mut values: [S::f32s; N]) -> [S::f32s; N] {
        let At { row, column, width } = at;
        let bias = load_row::<S, N>(s, &self.bias[column..column + width]);
        let shortcut = load_row::<S, N>(s, &self.shortcut[row * self.bias.len() + column..][..width]);
        let scale = s.splat_f32s(self.scales[row / self.rows_per_scale]);
        for j in 0..N {
            values[j] = s.mul_add_e_f32s(s.add_f32s(values[j], bias[j]), scale, shortcut[j]);
        }
        values
    }
}

/// Nothing, but for the sums over rows of the products with other values, of which GRN's gradient is made.
pub(crate) struct Along<'a> {
    /// As the product lies.
    pub(crate) values: &'a [f32],
    /// See [`Gelu::square_sums`].
    pub(crate) sums: Tiles<'a>,
    pub(crate) rows_per_sum: usize,
    pub(crate) columns: usize,
}

impl Epilogue for Along<'_> {
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(&self, s: S, at: At, values: [S::f32s; N]) -> [S::f32s; N] {
        let At { row, column, width } = at;
        let other = load_row::<S, N>(s, &self.values[row * self.columns + column..][..width]);
        // SAFETY: the sums of other rows are other threads', and those of other columns too.
        #[allow(unsafe_code, reason = "tiles of a matrix are no slices of it")]
        let place = unsafe { self.sums.row(row / self.rows_per_sum, column, width) };
        let mut sums = load_row::<S, N>(s, place);
        for j in 0..N {
            sums[j] = s.mul_add_e_f32s(values[j], other[j], sums[j]);
        }
        store_row::<S, N>(s, place, sums);
        values
    }

    fn rows_together(&self) -> usize {
        self.rows_per_sum
    }
}
