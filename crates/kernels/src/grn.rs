//! Global Response Normalization over the tokens of one sample, or of all samples of a batch.

use crate::{Arch, dispatch};

/// Added to the divisor, as in the paper's code.
const EPSILON: f32 = 1e-6;

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

/// x · scale, in place: what GRN makes of x, but for β.
pub fn apply(arch: Arch, x: &mut [f32], scale: &[f32]) {
    dispatch!(arch, {
        for x in x.chunks_exact_mut(scale.len()) {
            x.iter_mut().zip(scale).for_each(|(x, s)| *x *= s);
        }
    });
}

/// dx = dz · `direct` + x · `radial`, channel by channel.
#[derive(Debug, Clone)]
pub struct Factors {
    direct: Vec<f32>,
    radial: Vec<f32>,
}

impl Factors {
    /// Computes the factors from Σ dz·x and the norms over the same tokens; adds to the gradient of γ.
    pub fn new(along: &[f32], norms: &[f32], gamma: &[f32], d_gamma: &mut [f32]) -> Self {
        let divisor = mean(norms) + EPSILON;
        let shared: f64 = (along.iter().zip(gamma).zip(norms)).map(|((a, g), n)| f64::from(a * g * n)).sum();
        let shared = (shared / (f64::from(divisor) * f64::from(divisor) * norms.len() as f64)) as f32;
        let mut factors = Self { direct: vec![0.0; norms.len()], radial: vec![0.0; norms.len()] };
        for i in 0..norms.len() {
            d_gamma[i] += along[i] * norms[i] / divisor;
            factors.direct[i] = 1.0 + gamma[i] * norms[i] / divisor;
            // A channel that is zero everywhere has no direction: subgradient 0.
            let d_norm = along[i] * gamma[i] / divisor - shared;
            factors.radial[i] = if norms[i] > 0.0 { d_norm / norms[i] } else { 0.0 };
        }
        factors
    }
}

/// Turns dz in `gradient` into dx · `slope`, in place, for one sample. `slope` is the derivative of
/// what comes before, so that both are one pass. Adds the results to `sums`, channel by channel.
pub fn backward(
    arch: Arch,
    gradient: &mut [f32],
    (x, slope): (&[f32], &[f32]),
    factors: &Factors,
    sums: &mut [f32],
) {
    let Factors { direct, radial } = factors;
    let channels = direct.len();
    dispatch!(arch, {
        let rows = gradient
            .chunks_exact_mut(channels)
            .zip(x.chunks_exact(channels).zip(slope.chunks_exact(channels)));
        for (g, (x, s)) in rows {
            for (((((g, x), s), d), r), sum) in
                g.iter_mut().zip(x).zip(s).zip(direct).zip(radial).zip(sums.iter_mut())
            {
                *g = (*g * d + x * r) * s;
                *sum += *g;
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
                let found: Vec<f32> = (0..channels)
                    .map(|c| x.iter().skip(c).step_by(channels).map(|v| v * v).sum::<f32>().sqrt())
                    .collect();
                let (mut s, mut z) = (vec![0.0; channels], vec![0.0; x.len()]);
                scale(&found, &gamma, &mut s);
                z.copy_from_slice(&x);
                apply(arch, &mut z, &s);
                z.chunks_mut(channels).for_each(|z| z.iter_mut().zip(&beta).for_each(|(z, b)| *z += b));
                let (x64, g64, b64) = (wide(&x), wide(&gamma), wide(&beta));
                assert_close(&z, &naive(&x64, &g64, &b64), 1e-5, "z");

                let mut dx = upstream.clone();
                let mut dg = vec![0.0; channels];
                let along = |c: usize| (c..x.len()).step_by(channels).map(|i| dx[i] * x[i]).sum();
                let sums: Vec<f32> = (0..channels).map(along).collect();
                let factors = Factors::new(&sums, &found, &gamma, &mut dg);
                let mut d_inputs = vec![0.0; channels];
                backward(arch, &mut dx, (&x, &factor), &factors, &mut d_inputs);
                let columns = |c: usize| dx.iter().skip(c).step_by(channels).map(|v| f64::from(*v)).sum();
                let columns: Vec<f64> = (0..channels).map(columns).collect();
                assert_close(&d_inputs, &columns, 1e-5, "sums");
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
            }
        }
    }
}
