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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;
    use crate::gemm::{Divide, Packed, Start, product_with};
    use crate::testing::{arches, assert_close, gelu, numbers};

    /// Rows, columns, depth, and rows that belong together.
    const SHAPES: [(usize, usize, usize, usize); 6] =
        [(1, 1, 1, 1), (5, 7, 3, 5), (24, 40, 160, 8), (50, 17, 9, 25), (33, 66, 401, 11), (49, 320, 20, 24)];

    /// What a test multiplies.
    struct Case {
        arch: Arch,
        a: Vec<f32>,
        b: Packed,
        rows: usize,
        columns: usize,
        together: usize,
        /// The product in double precision.
        product: Vec<f64>,
    }

    fn cases() -> impl Iterator<Item = Case> {
        arches().into_iter().flat_map(|arch| SHAPES.map(|shape| (arch, shape))).map(
            |(arch, (m, n, k, together))| {
                let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
                let dot = |i: usize, j: usize| -> f64 {
                    (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[j * k + l])).sum()
                };
                let product = (0..m * n).map(|at| dot(at / n, at % n)).collect();
                let b = Packed::transposed(arch, &b, k, n);
                Case { arch, a, b, rows: m, columns: n, together, product }
            },
        )
    }

    impl Case {
        /// By every division that the epilogue allows.
        fn check(&self, expected: &[f64], what: &str, run: impl Fn(Divide, &mut [f32])) {
            let all = [Divide::Never, Divide::ByColumns, Divide::ByTiles];
            let allowed = |divide: &Divide| *divide != Divide::ByTiles || 24 % self.together == 0;
            for divide in all.into_iter().filter(allowed) {
                let mut c = vec![f32::NAN; self.rows * self.columns];
                run(divide, &mut c);
                assert_close(&c, expected, 1e-5, what);
            }
        }

        fn multiply(&self, c: &mut [f32], epilogue: &impl Epilogue, divide: Divide) {
            product_with(self.arch, &self.a, &self.b, c, Start::Zero, epilogue, divide);
        }

        /// Sums over the rows that belong together, column by column.
        fn sums(&self, values: &[f64]) -> Vec<f64> {
            let mut sums = vec![0.0; self.rows.div_ceil(self.together) * self.columns];
            for (at, value) in values.iter().enumerate() {
                sums[at / self.columns / self.together * self.columns + at % self.columns] += value;
            }
            sums
        }
    }

    #[test]
    fn biases_and_residuals_equal_the_definition() {
        for case in cases() {
            let (n, bias) = (case.columns, numbers(case.columns, 3));
            let biased = |at: usize| case.product[at] + f64::from(bias[at % n]);
            let expected: Vec<f64> = (0..case.product.len()).map(biased).collect();
            case.check(&expected, "bias", |divide, c| case.multiply(c, &Bias(&bias), divide));
            let (shortcut, scales) = (numbers(case.product.len(), 4), numbers(case.rows, 5));
            let scale = |at: usize| f64::from(scales[at / n / case.together]);
            let expected: Vec<f64> =
                (0..case.product.len()).map(|at| biased(at) * scale(at) + f64::from(shortcut[at])).collect();
            let residual =
                Residual { bias: &bias, shortcut: &shortcut, scales: &scales, rows_per_scale: case.together };
            case.check(&expected, "residual", |divide, c| case.multiply(c, &residual, divide));
        }
    }

    #[test]
    fn gelu_keeps_its_inputs_and_sums_its_squares() {
        for case in cases() {
            let bias = numbers(case.columns, 3);
            let inputs: Vec<f64> =
                case.product.iter().zip(bias.iter().cycle()).map(|(p, b)| p + f64::from(*b)).collect();
            let expected: Vec<f64> = inputs.iter().map(|x| gelu(*x).0).collect();
            let squares: Vec<f64> = expected.iter().map(|value| value * value).collect();
            case.check(&expected, "GELU", |divide, c| {
                let mut kept = vec![f32::NAN; c.len()];
                let mut sums = vec![0.0; case.sums(&squares).len()];
                let gelu = Gelu {
                    bias: &bias,
                    inputs: Some(Tiles::new(&mut kept, case.columns)),
                    square_sums: Tiles::new(&mut sums, case.columns),
                    rows_per_sum: case.together,
                };
                case.multiply(c, &gelu, divide);
                assert_close(&kept, &inputs, 1e-5, "inputs");
                assert_close(&sums, &case.sums(&squares), 1e-5, "sums of squares");
            });
        }
    }

    #[test]
    fn sums_of_products_with_other_values_equal_the_definition() {
        for case in cases() {
            let others = numbers(case.product.len(), 6);
            let products: Vec<f64> =
                case.product.iter().zip(&others).map(|(p, o)| p * f64::from(*o)).collect();
            case.check(&case.product, "values", |divide, c| {
                let mut sums = vec![0.0; case.sums(&products).len()];
                let along = Along {
                    values: &others,
                    sums: Tiles::new(&mut sums, case.columns),
                    rows_per_sum: case.together,
                    columns: case.columns,
                };
                case.multiply(c, &along, divide);
                assert_close(&sums, &case.sums(&products), 1e-5, "sums");
            });
        }
    }

    #[test]
    #[should_panic(expected = "rows of one sum in two tasks")]
    fn rows_of_one_sum_are_not_divided() {
        let (mut sums, b) = (vec![0.0; 3], Packed::new(Arch::new(), &[1.0; 3], 1, 3));
        let along =
            Along { values: &[0.0; 300], sums: Tiles::new(&mut sums, 3), rows_per_sum: 100, columns: 3 };
        let mut c = vec![0.0; 300];
        product_with(Arch::new(), &[1.0; 100], &b, &mut c, Start::Zero, &along, Divide::ByTiles);
    }
}
