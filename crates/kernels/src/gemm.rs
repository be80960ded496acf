//! Matrix products.

use ::gemm::Parallelism;

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

    /// Elements.
    pub fn elements(&self) -> usize {
        self.rows * self.columns
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

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
