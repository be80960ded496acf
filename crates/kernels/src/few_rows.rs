//! A few rows times a large weight: inference on a single image.
//!
//! With many rows a matrix product is bound by arithmetic, and what it spends on bringing the weight
//! into another order is little beside it. With the 49 or 196 rows of an image's last stages, reading
//! the weight from memory is what takes time, so here it is read once, as it lies.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::Arch;
use crate::buffer::Buffer;
use crate::gemm::transpose;

/// Weight rows of a task.
const TASK: usize = 32;
/// Columns worked on at a time, so that some weight rows of them stay in the nearest cache.
const DEPTH: usize = 1024;

/// y = x · Wᵀ for `x` `[rows, inputs]` and `weight` `[outputs, inputs]`; parallel over outputs.
pub fn product(arch: Arch, x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32]) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    assert_eq!(y.len(), rows * outputs, "a {rows}×{outputs} product");
    let mut turned = Buffer::take(rows * outputs);
    turned
        .par_chunks_mut(TASK * rows)
        .zip(weight.par_chunks(TASK * inputs))
        .for_each(|(sums, weight)| arch.dispatch(Task { x, weight, inputs, sums }));
    transpose(&turned, outputs, rows, y);
}

/// `sums` `[weight rows, rows]` = all scalar products of rows.
struct Task<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    inputs: usize,
    sums: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        self.sums.fill(0.0);
        for first in (0..self.inputs).step_by(DEPTH) {
            let columns = first..(first + DEPTH).min(self.inputs);
            // As many sums at a time as there are registers for.
            match S::REGISTER_COUNT {
                32.. => self.add::<S, 4, 6>(s, columns),
                _ => self.add::<S, 2, 5>(s, columns),
            }
        }
    }
}

impl Task<'_> {
    /// Adds the products of some columns, tile by tile of `W` weight rows and `R` rows.
    #[inline(always)]
    fn add<S: Simd, const W: usize, const R: usize>(&mut self, s: S, columns: std::ops::Range<usize>) {
        let rows = self.x.len() / self.inputs;
        let outputs = self.weight.len() / self.inputs;
        for output in (0..outputs).step_by(W) {
            let tall = output + W <= outputs;
            let mut row = 0;
            while row < rows {
                let wide = row + R <= rows;
                match (tall, wide) {
                    (true, true) => self.tile::<S, W, R>(s, output, row, columns.clone()),
                    (true, false) => self.tile::<S, W, 1>(s, output, row, columns.clone()),
                    (false, _) => {
                        (output..outputs).for_each(|o| self.tile::<S, 1, 1>(s, o, row, columns.clone()));
                    }
                }
                row += if tall && wide { R } else { 1 };
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const W: usize, const R: usize>(
        &mut self,
        s: S,
        output: usize,
        row: usize,
        columns: std::ops::Range<usize>,
    ) {
        let (start, len) = (columns.start, columns.len());
        let line = |matrix, index: usize| S::as_simd_f32s(part(matrix, index * self.inputs + start, len));
        let weights: [_; W] = std::array::from_fn(|i| line(self.weight, output + i));
        let inputs: [_; R] = std::array::from_fn(|j| line(self.x, row + j));
        let mut sums = [[s.splat_f32s(0.0); R]; W];
        for k in 0..weights[0].0.len() {
            let x: [S::f32s; R] = std::array::from_fn(|j| inputs[j].0[k]);
            for i in 0..W {
                for j in 0..R {
                    sums[i][j] = s.mul_add_e_f32s(weights[i].0[k], x[j], sums[i][j]);
                }
            }
        }
        let rows = self.x.len() / self.inputs;
        for i in 0..W {
            for j in 0..R {
                let tail = s.mul_f32s(s.partial_load_f32s(weights[i].1), s.partial_load_f32s(inputs[j].1));
                self.sums[(output + i) * rows + row + j] += s.reduce_sum_f32s(s.add_f32s(sums[i][j], tail));
            }
        }
    }
}

#[inline(always)]
fn part(matrix: &[f32], start: usize, len: usize) -> &[f32] {
    &matrix[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, assert_close, numbers};

    #[test]
    fn every_shape_equals_the_definition() {
        for arch in arches() {
            for (rows, outputs, inputs) in
                [(1, 1, 1), (5, 3, 7), (6, 4, 16), (13, 37, 50), (7, 66, 1030), (49, 33, 128)]
            {
                let (x, weight) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
                let mut y = vec![f32::NAN; rows * outputs];
                product(arch, &x, &weight, inputs, &mut y);
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                let expected: Vec<f64> =
                    (x.chunks(inputs)).flat_map(|x| weight.chunks(inputs).map(move |w| dot(x, w))).collect();
                assert_close(&y, &expected, 2e-6, &format!("{rows}×{outputs}×{inputs}"));
            }
        }
    }
}
