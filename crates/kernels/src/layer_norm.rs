//! LayerNorm over channels.

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::results::Results;
use crate::{Arch, dispatch};

const LANES: usize = 16;

/// Sum of f over a row, in lanes, so that it can be vectorised.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| f(*a, *b)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Normalises rows of `channels` values in place to mean 0 and variance 1, and stores 1/σ of each.
pub fn normalize(arch: Arch, x: &mut [f32], inverse_std: &mut [f32], channels: usize, epsilon: f32) {
    assert_eq!(x.len(), inverse_std.len() * channels);
    dispatch!(arch, {
        for (row, inverse) in x.chunks_exact_mut(channels).zip(inverse_std.iter_mut()) {
            let mean = sum(row, row, |a, _| a) / channels as f32;
            let variance = sum(row, row, |a, _| (a - mean) * (a - mean)) / channels as f32;
            *inverse = 1.0 / (variance + epsilon).sqrt();
            row.iter_mut().for_each(|v| *v = (*v - mean) * *inverse);
        }
    });
}

/// y = x̂ · weight + bias.
pub fn affine(arch: Arch, normalized: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    assert_eq!(normalized.len(), y.len());
    dispatch!(arch, {
        for (x, y) in normalized.chunks_exact(weight.len()).zip(y.chunks_exact_mut(weight.len())) {
            for (((x, y), w), b) in x.iter().zip(y).zip(weight).zip(bias) {
                *y = x * w + b;
            }
        }
    });
}

/// Turns the gradient of x̂ into that of x, in place.
pub fn backward(arch: Arch, gradient: &mut [f32], normalized: &[f32], inverse_std: &[f32], channels: usize) {
    assert_eq!(gradient.len(), normalized.len());
    dispatch!(arch, {
        let rows = gradient.chunks_exact_mut(channels).zip(normalized.chunks_exact(channels));
        for ((g, x), inverse) in rows.zip(inverse_std) {
            let mean = sum(g, g, |g, _| g) / channels as f32;
            let along = sum(g, x, |g, x| g * x) / channels as f32;
            for (g, x) in g.iter_mut().zip(x) {
                *g = (*g - mean - x * along) * inverse;
            }
        }
    });
}

/// Turns dy into the gradient of x̂, in place; adds to the gradients of weight and bias.
pub fn affine_backward(
    arch: Arch,
    gradient: &mut [f32],
    normalized: &[f32],
    weight: &[f32],
    (d_weight, d_bias): (&mut [f32], &mut [f32]),
) {
    let channels = weight.len();
    dispatch!(arch, {
        for (g, x) in gradient.chunks_exact_mut(channels).zip(normalized.chunks_exact(channels)) {
            for (((g, x), w), (dw, db)) in
                g.iter_mut().zip(x).zip(weight).zip(d_weight.iter_mut().zip(d_bias.iter_mut()))
            {
                *dw += *g * x;
                *db += *g;
                *g *= w;
            }
        }
    });
}

/// Rows that a thread works on at a time, in the layer by itself.
const ROWS: usize = 64;
/// [`normalize`] over all threads, without what a backward pass would need.
pub fn normalize_all(arch: Arch, x: &mut [f32], channels: usize, epsilon: f32) {
    x.par_chunks_mut(ROWS * channels).for_each(|x| {
        let mut inverse_std = Buffer::take(x.len() / channels);
        normalize(arch, x, &mut inverse_std, channels, epsilon);
    });
}

/// The layer in place, without what a backward pass would need.
pub fn apply_all(arch: Arch, x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    x.par_chunks_mut(ROWS * weight.len()).for_each(|x| {
        let mut inverse_std = Buffer::take(x.len() / weight.len());
        normalize(arch, x, &mut inverse_std, weight.len(), epsilon);
        dispatch!(arch, {
            for x in x.chunks_exact_mut(weight.len()) {
                x.iter_mut().zip(weight).zip(bias).for_each(|((x, w), b)| *x = *x * w + b);
            }
        });
    });
}

/// Parts of the rows over which gradients of weight and bias are summed.
const PARTS: usize = 64;

/// What [`layer_backward`] needs of [`layer`].
#[derive(Debug)]
pub struct Saved {
    normalized: Buffer,
    inverse_std: Buffer,
}

/// The layer by itself, over all threads: rows → rows.
///
/// ```
/// use kernels::{Arch, layer_norm::layer};
///
/// let (y, _) = layer(Arch::new(), &[1.0, 3.0], &[1.0, 1.0], &[0.0, 0.5], 1e-6);
/// assert!((y[0] + 1.0).abs() < 1e-5 && (y[1] - 1.5).abs() < 1e-5);
/// ```
pub fn layer(arch: Arch, x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> (Vec<f32>, Saved) {
    let channels = weight.len();
    let (mut normalized, mut inverse_std) = (Buffer::take(x.len()), Buffer::take(x.len() / channels));
    let mut y = Results::new(x.len());
    (y.par_parts(ROWS * channels))
        .zip(x.par_chunks(ROWS * channels))
        .zip(normalized.par_chunks_mut(ROWS * channels))
        .zip(inverse_std.par_chunks_mut(ROWS))
        .for_each(|(((mut y, x), normalized), inverse_std)| {
            normalized.copy_from_slice(x);
            normalize(arch, normalized, inverse_std, channels, epsilon);
            affine(arch, normalized, weight, bias, y.slice());
        });
    (y.finish(), Saved { normalized, inverse_std })
}

/// Computes the gradients of x, weight and bias from dy.
pub fn layer_backward(arch: Arch, saved: &Saved, weight: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let channels = weight.len();
    let rows = (dy.len() / channels).div_ceil(PARTS).max(1);
    let mut dx = Results::new(dy.len());
    let parts: Vec<(Vec<f32>, Vec<f32>)> = (dx.par_parts(rows * channels))
        .zip(saved.normalized.par_chunks(rows * channels))
        .zip(saved.inverse_std.par_chunks(rows))
        .zip(dy.par_chunks(rows * channels))
        .map(|(((mut dx, normalized), inverse_std), dy)| {
            let gradient = dx.slice();
            gradient.copy_from_slice(dy);
            let (mut dw, mut db) = (vec![0.0; channels], vec![0.0; channels]);
            affine_backward(arch, gradient, normalized, weight, (&mut dw, &mut db));
            backward(arch, gradient, normalized, inverse_std, channels);
            (dw, db)
        })
        .collect();
    let (mut dw, mut db) = (vec![0.0; channels], vec![0.0; channels]);
    for (w, b) in parts {
        dw.iter_mut().zip(w).chain(db.iter_mut().zip(b)).for_each(|(sum, value)| *sum += value);
    }
    [dx.finish(), dw, db]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, assert_close, numbers, wide};

    const EPSILON: f64 = 1e-6;

    fn naive(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let n = w.len() as f64;
        x.chunks(w.len())
            .flat_map(|row| {
                let mean = row.iter().sum::<f64>() / n;
                let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                row.iter()
                    .zip(w.iter().zip(b))
                    .map(move |(v, (w, b))| (v - mean) / (var + EPSILON).sqrt() * w + b)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn forward_and_backward_equal_the_definition() {
        for arch in arches() {
            for (rows, channels) in [(1, 1), (3, 5), (2, 16), (4, 40), (1, 33)] {
                let x = numbers(rows * channels, 1);
                let (w, b) = (numbers(channels, 2), numbers(channels, 3));
                let upstream = numbers(rows * channels, 4);
                let (mut xhat, mut inverse, mut y) = (x.clone(), vec![0.0; rows], vec![0.0; x.len()]);
                normalize(arch, &mut xhat, &mut inverse, channels, EPSILON as f32);
                affine(arch, &xhat, &w, &b, &mut y);
                let (x, w64, b64) = (wide(&x), wide(&w), wide(&b));
                assert_close(&y, &naive(&x, &w64, &b64), 1e-5, "y");

                let (mut dx, mut dw, mut db) = (upstream.clone(), vec![0.0; channels], vec![0.0; channels]);
                affine_backward(arch, &mut dx, &xhat, &w, (&mut dw, &mut db));
                backward(arch, &mut dx, &xhat, &inverse, channels);
                let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                    naive(x, w, b).iter().zip(&upstream).map(|(y, u)| y * f64::from(*u)).sum()
                };
                let slope = |at: &[f64], f: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
                    (0..at.len())
                        .map(|i| {
                            let shifted = |h: f64| {
                                let mut v = at.to_vec();
                                v[i] += h;
                                f(&v)
                            };
                            (shifted(1e-5) - shifted(-1e-5)) / 2e-5
                        })
                        .collect()
                };
                if channels > 1 {
                    assert_close(&dx, &slope(&x, &|v| loss(v, &w64, &b64)), 1e-3, "dx");
                }
                assert_close(&dw, &slope(&w64, &|v| loss(&x, v, &b64)), 1e-4, "dw");
                assert_close(&db, &slope(&b64, &|v| loss(&x, &w64, v)), 1e-4, "db");
            }
        }
    }

    #[test]
    fn the_layer_is_its_parts_over_many_rows() {
        let (rows, channels) = (2 * ROWS + 5, 20);
        let (x, upstream) = (numbers(rows * channels, 1), numbers(rows * channels, 4));
        let (w, b) = (numbers(channels, 2), numbers(channels, 3));
        let (y, saved) = layer(Arch::new(), &x, &w, &b, EPSILON as f32);
        assert_close(&y, &naive(&wide(&x), &wide(&w), &wide(&b)), 1e-5, "y");
        let mut in_place = x.clone();
        apply_all(Arch::new(), &mut in_place, &w, &b, EPSILON as f32);
        assert_eq!(in_place, y[..]);
        let [dx, dw, db] = layer_backward(Arch::new(), &saved, &w, &upstream);
        let (mut expected, mut ew, mut eb) = (upstream.clone(), vec![0.0; channels], vec![0.0; channels]);
        let (normalized, inverse) = (&saved.normalized, &saved.inverse_std);
        affine_backward(Arch::Scalar, &mut expected, normalized, &w, (&mut ew, &mut eb));
        backward(Arch::Scalar, &mut expected, normalized, inverse, channels);
        assert_close(&dx, &wide(&expected), 1e-5, "dx");
        assert_close(&dw, &wide(&ew), 1e-5, "dw");
        assert_close(&db, &wide(&eb), 1e-5, "db");
    }
}
