//! The linear layer y = x·Wᵀ + b, with W `[out, in]`.

use crate::gemm::{View, gemm};

/// Rows `[n, in]` → `[n, out]`.
pub fn forward(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let rows = x.len() / inputs;
    let mut y = Vec::with_capacity(rows * outputs);
    (0..rows).for_each(|_| y.extend_from_slice(bias));
    let weight = View::new(weight, outputs, inputs).transposed();
    gemm(&mut y, true, View::new(x, rows, inputs), weight, true);
    y
}

/// From dy `[n, out]` to the gradients of x (if wanted), weight and bias.
pub fn backward(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    outputs: usize,
    wants_dx: bool,
) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
    let inputs = weight.len() / outputs;
    let rows = dy.len() / outputs;
    let gradient = View::new(dy, rows, outputs);
    let dx = wants_dx.then(|| {
        let mut dx = vec![0.0; x.len()];
        gemm(&mut dx, false, gradient, View::new(weight, outputs, inputs), true);
        dx
    });
    let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; outputs]);
    gemm(&mut dw, false, gradient.transposed(), View::new(x, rows, inputs), true);
    for row in dy.chunks_exact(outputs) {
        db.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    (dx, dw, db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn forward_and_backward_equal_the_definition() {
        for (rows, inputs, outputs) in [(1, 1, 1), (4, 3, 5), (7, 16, 40)] {
            let (x, w) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
            let (b, dy) = (numbers(outputs, 3), numbers(rows * outputs, 4));
            let at = |v: &[f32], i: usize| f64::from(v[i]);
            let (mut y, mut dx) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; outputs]);
            for r in 0..rows {
                for o in 0..outputs {
                    let g = at(&dy, r * outputs + o);
                    y[r * outputs + o] += at(&b, o);
                    db[o] += g;
                    for i in 0..inputs {
                        y[r * outputs + o] += at(&x, r * inputs + i) * at(&w, o * inputs + i);
                        dx[r * inputs + i] += g * at(&w, o * inputs + i);
                        dw[o * inputs + i] += g * at(&x, r * inputs + i);
                    }
                }
            }
            assert_close(&forward(&x, &w, &b), &y, 1e-5, "y");
            let (found_dx, found_dw, found_db) = backward(&x, &w, &dy, outputs, true);
            assert_close(&found_dx.expect("dx was asked for"), &dx, 1e-5, "dx");
            assert_close(&found_dw, &dw, 1e-5, "dw");
            assert_close(&found_db, &db, 1e-5, "db");
            assert!(backward(&x, &w, &dy, outputs, false).0.is_none());
        }
    }
}
