//! Global Response Normalization over the tokens of one sample.

use crate::{Arch, dispatch};

/// Added to the divisor, as in the paper's code.
const EPSILON: f32 = 1e-6;

/// Channel norms √Σₜ x² of one sample's tokens.
pub fn norms(arch: Arch, tokens: &[f32], norms: &mut [f32]) {
    dispatch!(arch, {
        norms.fill(0.0);
        for row in tokens.chunks_exact(norms.len()) {
            norms.iter_mut().zip(row).for_each(|(n, x)| *n += x * x);
        }
        norms.iter_mut().for_each(|n| *n = n.sqrt());
    });
}

/// 1 + γ · n, where n is a norm over the mean of the norms: what every token is multiplied by.
pub fn scale(norms: &[f32], gamma: &[f32], scale: &mut [f32]) {
    let divisor = mean(norms) + EPSILON;
    for ((s, n), g) in scale.iter_mut().zip(norms).zip(gamma) {
        *s = 1.0 + g * (n / divisor);
    }
}

fn mean(norms: &[f32]) -> f32 {
    (norms.iter().map(|n| f64::from(*n)).sum::<f64>() / norms.len() as f64) as f32
}

/// z = x · scale + β.
pub fn apply(arch: Arch, x: &[f32], scale: &[f32], beta: &[f32], z: &mut [f32]) {
    dispatch!(arch, {
        for (x, z) in x.chunks_exact(scale.len()).zip(z.chunks_exact_mut(scale.len())) {
            for (((x, z), s), b) in x.iter().zip(z).zip(scale).zip(beta) {
                *z = x * s + b;
            }
        }
    });
}

/// From dz in `gradient` to dx · `factor`, in place, for one sample; adds to the gradients of γ
/// and β. `factor` is the derivative of what comes before, so that both are one pass.
pub fn backward(
    arch: Arch,
    gradient: &mut [f32],
    (x, factor): (&[f32], &[f32]),
    (norms, gamma): (&[f32], &[f32]),
    (d_gamma, d_beta): (&mut [f32], &mut [f32]),
) {
    let channels = gamma.len();
    let divisor = mean(norms) + EPSILON;
    // Σₜ dz·x, then what multiplies x in dx.
    let mut along = vec![0.0f32; channels];
    dispatch!(arch, {
        for (g, x) in gradient.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            for (((g, x), a), b) in g.iter().zip(x).zip(along.iter_mut()).zip(d_beta.iter_mut()) {
                *a += g * x;
                *b += g;
            }
        }
    });
    let shared: f64 = (along.iter().zip(gamma).zip(norms)).map(|((a, g), n)| f64::from(a * g * n)).sum();
    let shared = (shared / (f64::from(divisor) * f64::from(divisor) * channels as f64)) as f32;
    let mut multiplier = vec![0.0f32; channels];
    for i in 0..channels {
        d_gamma[i] += along[i] * norms[i] / divisor;
        multiplier[i] = 1.0 + gamma[i] * norms[i] / divisor;
        // A channel that is zero everywhere has no direction: subgradient 0.
        let d_norm = along[i] * gamma[i] / divisor - shared;
        along[i] = if norms[i] > 0.0 { d_norm / norms[i] } else { 0.0 };
    }
    dispatch!(arch, {
        let rows = gradient
            .chunks_exact_mut(channels)
            .zip(x.chunks_exact(channels).zip(factor.chunks_exact(channels)));
        for (g, (x, f)) in rows {
            for ((((g, x), f), m), a) in g.iter_mut().zip(x).zip(f).zip(&multiplier).zip(&along) {
                *g = (*g * m + x * a) * f;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, assert_close, numbers, wide};

    fn naive(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
        let channels = gamma.len();
        let norms: Vec<f64> = (0..channels)
            .map(|c| x.chunks(channels).map(|row| row[c] * row[c]).sum::<f64>().sqrt())
            .collect();
        let divisor = norms.iter().sum::<f64>() / channels as f64 + f64::from(EPSILON);
        x.iter()
            .enumerate()
            .map(|(i, v)| {
                let c = i % channels;
                gamma[c] * v * norms[c] / divisor + beta[c] + v
            })
            .collect()
    }

    #[test]
    fn forward_and_backward_equal_the_definition() {
        for arch in arches() {
            for (tokens, channels, dead) in [(1, 1, false), (3, 5, false), (7, 20, true), (2, 33, false)] {
                let mut x = numbers(tokens * channels, 1);
                if dead {
                    x.iter_mut().skip(2).step_by(channels).for_each(|v| *v = 0.0);
                }
                let (gamma, beta) = (numbers(channels, 2), numbers(channels, 3));
                let (upstream, factor) = (numbers(x.len(), 4), numbers(x.len(), 5));
                let (mut found, mut s, mut z) =
                    (vec![0.0; channels], vec![0.0; channels], vec![0.0; x.len()]);
                norms(arch, &x, &mut found);
                scale(&found, &gamma, &mut s);
                apply(arch, &x, &s, &beta, &mut z);
                let (x64, g64, b64) = (wide(&x), wide(&gamma), wide(&beta));
                assert_close(&z, &naive(&x64, &g64, &b64), 1e-5, "z");

                let mut dx = upstream.clone();
                let (mut dg, mut db) = (vec![0.0; channels], vec![0.0; channels]);
                backward(arch, &mut dx, (&x, &factor), (&found, &gamma), (&mut dg, &mut db));
                let loss = |x: &[f64], g: &[f64], b: &[f64]| -> f64 {
                    naive(x, g, b).iter().zip(&upstream).map(|(z, u)| z * f64::from(*u)).sum()
                };
                let slope = |at: &[f64], f: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
                    (0..at.len())
                        .map(|i| {
                            let shifted = |h: f64| {
                                let mut v = at.to_vec();
                                v[i] += h;
                                f(&v)
                            };
                            (shifted(1e-6) - shifted(-1e-6)) / 2e-6
                        })
                        .collect()
                };
                let mut expected = slope(&x64, &|v| loss(v, &g64, &b64));
                expected.iter_mut().zip(&factor).for_each(|(e, f)| *e *= f64::from(*f));
                assert_close(&dx, &expected, 1e-4, "dx");
                assert_close(&dg, &slope(&g64, &|v| loss(&x64, v, &b64)), 1e-4, "dγ");
                assert_close(&db, &slope(&b64, &|v| loss(&x64, &g64, v)), 1e-4, "dβ");
            }
        }
    }
}
