//! LayerNorm over channels.

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

/// From dy in `gradient` to dx, in place; adds to the gradients of weight and bias.
pub fn backward(
    arch: Arch,
    gradient: &mut [f32],
    normalized: &[f32],
    inverse_std: &[f32],
    weight: &[f32],
    (d_weight, d_bias): (&mut [f32], &mut [f32]),
) {
    let channels = weight.len();
    assert_eq!(gradient.len(), normalized.len());
    dispatch!(arch, {
        let rows = gradient.chunks_exact_mut(channels).zip(normalized.chunks_exact(channels));
        for ((g, x), inverse) in rows.zip(inverse_std) {
            for (((g, x), w), (dw, db)) in
                g.iter_mut().zip(x).zip(weight).zip(d_weight.iter_mut().zip(d_bias.iter_mut()))
            {
                *dw += *g * x;
                *db += *g;
                *g *= w;
            }
            let mean = sum(g, g, |g, _| g) / channels as f32;
            let along = sum(g, x, |g, x| g * x) / channels as f32;
            for (g, x) in g.iter_mut().zip(x) {
                *g = (*g - mean - x * along) * inverse;
            }
        }
    });
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
                backward(arch, &mut dx, &xhat, &inverse, &w, (&mut dw, &mut db));
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
}
