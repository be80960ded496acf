//! Matrix products.

use ::gemm::Parallelism;
use rayon::prelude::*;

use crate::buffer::Buffer;

/// A matrix in a slice: element (row, column) is at `row · row_stride + column · column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "a {rows}×{columns} matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The same, transposed.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// C = A·B, or C += A·B, with row-major C. `parallel`: over rayon's current threads.
pub fn gemm(c: &mut [f32], accumulate: bool, a: View, b: View, parallel: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(c.len(), m * n, "a {m}×{n} product");
    assert_eq!(k, b.rows, "{m}×{k} times {}×{n}", b.rows);
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    let stride = |s: usize| s as isize;
    // SAFETY: `View` keeps rows × columns elements within its slice for both orders of strides, and
    // C was checked to hold m × n; C is borrowed mutably, so it overlaps neither A nor B.
    #[allow(unsafe_code, reason = "the crate takes pointers")]
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Whether a weight is so large that its order in memory matters.
pub(crate) fn is_large(weight: &[f32]) -> bool {
    weight.len() >= 1 << 17
}

/// A weight `[out, in]`, ready to be multiplied by from the right as its transpose.
///
/// The product packs what does not lie row by row, again in every call and slowly: its columns are
/// so far apart that they fight for the same lines of the cache. A large weight is therefore turned
/// once, over all threads, for all calls of a pass.
pub enum Turned<'a> {
    /// Small enough to be packed by the product.
    Small(View<'a>),
    /// `[in, out]`, with the number of columns.
    Large(Buffer, usize),
}

impl<'a> Turned<'a> {
    /// From a row-major `[outputs, inputs]`.
    pub fn new(weight: &'a [f32], outputs: usize, inputs: usize) -> Self {
        match !is_large(weight) {
            true => Self::Small(View::new(weight, outputs, inputs).transposed()),
            false => {
                let mut turned = Buffer::take(weight.len());
                transpose(weight, outputs, inputs, &mut turned);
                Self::Large(turned, outputs)
            }
        }
    }

    /// `[in, out]`.
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Small(view) => *view,
            Self::Large(values, outputs) => View::new(values, values.len() / outputs, *outputs),
        }
    }
}

/// The transpose of a row-major `rows` × `columns` matrix.
pub(crate) fn transpose(matrix: &[f32], rows: usize, columns: usize, turned: &mut [f32]) {
    const TILE: usize = 8;
    assert_eq!((matrix.len(), turned.len()), (rows * columns, rows * columns));
    turned.par_chunks_mut(TILE * rows).enumerate().for_each(|(index, turned)| {
        let left = index * TILE;
        let whole = if turned.len() == TILE * rows { rows - rows % TILE } else { 0 };
        for top in (0..whole).step_by(TILE) {
            // Through registers: both sides are read and written in runs.
            let tile: [[f32; TILE]; TILE] = std::array::from_fn(|r| {
                let line = &matrix[(top + r) * columns + left..][..TILE];
                std::array::from_fn(|i| line[i])
            });
            for i in 0..TILE {
                let column: [f32; TILE] = std::array::from_fn(|r| tile[r][i]);
                turned[i * rows + top..][..TILE].copy_from_slice(&column);
            }
        }
        for (i, turned) in turned.chunks_exact_mut(rows).enumerate() {
            for (r, value) in turned.iter_mut().enumerate().skip(whole) {
                *value = matrix[r * columns + left + i];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn rows_become_columns() {
        for (rows, columns) in [(1, 1), (3, 50), (33, 16), (16, 24), (17, 40)] {
            let matrix = numbers(rows * columns, 1);
            let mut turned = vec![f32::NAN; matrix.len()];
            transpose(&matrix, rows, columns, &mut turned);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(turned[c * rows + r], matrix[r * columns + c]);
                }
            }
        }
    }

    #[test]
    fn products_of_every_orientation() {
        for (m, n, k) in [(1, 1, 1), (5, 7, 3), (19, 40, 160), (33, 1, 17)] {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let at =
                |v: &[f32], row: usize, columns: usize, column: usize| f64::from(v[row * columns + column]);
            for (ta, tb, accumulate) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let mut expected: Vec<f64> =
                    start.iter().map(|v| if accumulate { f64::from(*v) } else { 0.0 }).collect();
                for i in 0..m {
                    for j in 0..n {
                        for l in 0..k {
                            let x = if ta { at(&a, l, m, i) } else { at(&a, i, k, l) };
                            let y = if tb { at(&b, j, k, l) } else { at(&b, l, n, j) };
                            expected[i * n + j] += x * y;
                        }
                    }
                }
                let view = |v, rows, columns, transposed| match transposed {
                    true => View::new(v, columns, rows).transposed(),
                    false => View::new(v, rows, columns),
                };
                for parallel in [false, true] {
                    let mut c = start.clone();
                    gemm(&mut c, accumulate, view(&a, m, k, ta), view(&b, k, n, tb), parallel);
                    assert_close(&c, &expected, 1e-5, "product");
                }
            }
        }
    }
}
