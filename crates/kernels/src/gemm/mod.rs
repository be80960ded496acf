//! Matrix products, in the two forms that linear layers need.
//!
//! * [`product`]: rows times a weight, which was [`Packed`] before. Rows are read as they lie.
//! * [`outer`]: the gradient of a weight, a sum over rows of outer products.
//!
//! [`int8`] has the first of them in 8 bits, for inference.
//!
//! Both compute tiles of C that stay in registers: some rows by up to three vectors of columns. Every
//! element is a sum in the order of the depth, whatever the tiles, so that results do not depend on how
//! rows are divided among threads. Who calls has divided the rows, or lets threads divide a product by
//! columns and bands of rows (`Divide`), as for a single image, which leaves too few rows; or lets
//! [`weight_gradient`] divide the outputs.
//!
//! What follows a product (`epilogue`: bias, GELU, residual, sums over rows) is done tile by tile, while its
//! values are in the nearest cache.

pub(crate) mod epilogue;
pub mod int8;
mod outer;
mod packed;
mod peak;
mod product;
mod tile;
pub(crate) mod tiles;
mod weight_gradient;

pub use outer::outer;
pub(crate) use outer::{ColumnScales, outer_scaled};
pub use packed::Packed;
pub use peak::peak_gflops;
pub(crate) use product::{Divide, TASK_ROWS, product_with};
pub use product::{Start, product};
pub use weight_gradient::{Rows, weight_gradient};

/// Vectors of a panel at most: with eight rows, or three, they fill 32 registers, or 16.
const VECTORS: usize = 3;

/// Divides vectors of columns into panels of almost the same width: (first vector, vectors).
#[inline(always)]
fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = vectors.div_ceil(VECTORS);
    let (narrow, wide) = (vectors / count.max(1), vectors % count.max(1));
    (0..count).map(move |panel| (panel * narrow + panel.min(wide), narrow + usize::from(panel < wide)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;
    use crate::testing::{arches, assert_close, numbers};

    /// Rows, columns, depth: single ones, whole tiles, remainders of every kind, several panels, more
    /// depth than is worked on at a time.
    pub(super) const SHAPES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (5, 7, 3),
        (19, 40, 160),
        (33, 1, 17),
        (8, 48, 5),
        (15, 160, 40),
        (12, 66, 401),
        (4, 100, 800),
        (23, 17, 200),
    ];

    /// C + A·B in double precision, row by row.
    fn definition(c: &[f32], a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) -> Vec<f64> {
        let term = |i: usize, j: usize, l: usize| f64::from(a[i * k + l]) * f64::from(b[l * n + j]);
        let at = |i, j| f64::from(c[i * n + j]) + (0..k).map(|l| term(i, j, l)).sum::<f64>();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect()
    }

    fn turned(matrix: &[f32], columns: usize) -> Vec<f32> {
        let rows = matrix.len() / columns;
        (0..columns).flat_map(|c| (0..rows).map(move |r| matrix[r * columns + c])).collect()
    }

    #[test]
    fn products_equal_the_definition() {
        for (arch, shape) in arches().into_iter().flat_map(|arch| SHAPES.map(|shape| (arch, shape))) {
            let (m, n, k) = shape;
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let packed = [Packed::new(arch, &b, k, n), Packed::transposed(arch, &turned(&b, n), k, n)];
            for packed in packed {
                let mut c = vec![f32::NAN; m * n];
                product(arch, &a, &packed, &mut c, Start::Zero);
                assert_close(&c, &definition(&vec![0.0; m * n], &a, &b, shape), 1e-5, "product");
                c.copy_from_slice(&start);
                product(arch, &a, &packed, &mut c, Start::Sum);
                assert_close(&c, &definition(&start, &a, &b, shape), 1e-5, "sum with product");
            }
        }
    }

    #[test]
    fn outer_products_equal_the_definition() {
        for (arch, shape) in arches().into_iter().flat_map(|arch| SHAPES.map(|shape| (arch, shape))) {
            let (m, n, k) = shape;
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let mut c = vec![f32::NAN; m * n];
            outer(arch, &turned(&a, k), &b, &mut c, (m, n), false);
            assert_close(&c, &definition(&vec![0.0; m * n], &a, &b, shape), 1e-5, "outer product");
            c.copy_from_slice(&start);
            outer(arch, &turned(&a, k), &b, &mut c, (m, n), true);
            assert_close(&c, &definition(&start, &a, &b, shape), 1e-5, "sum with outer product");
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_neighbours() {
        let (m, n, k) = (29, 50, 500);
        let (a, b) = (numbers(m * k, 1), Packed::new(Arch::new(), &numbers(k * n, 2), k, n));
        let (mut whole, mut single) = (vec![0.0; m * n], vec![0.0; m * n]);
        product(Arch::new(), &a, &b, &mut whole, Start::Zero);
        for (a, c) in a.chunks(k).zip(single.chunks_mut(n)) {
            product(Arch::new(), a, &b, c, Start::Zero);
        }
        assert_eq!(whole, single);
    }

    #[test]
    fn panels_follow_one_another_and_hold_at_most_three_vectors() {
        for vectors in 0..50 {
            let mut next = 0;
            for (first, width) in panels(vectors) {
                assert!(first == next && (1..=VECTORS).contains(&width));
                assert!(width > 1 || vectors == 1, "a narrow panel wastes registers");
                next += width;
            }
            assert_eq!(next, vectors);
        }
    }
}
