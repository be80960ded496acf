//! GELU by the error function, and its derivative.

use crate::{Arch, dispatch};

/// x·Φ(x) and Φ(x) + x·φ(x).
///
/// erf by Abramowitz and Stegun 7.1.26; its exponential is the Gaussian of the derivative, so both
/// cost hardly more than one. Absolute error below 1e-6 for |x| < 8.
#[inline(always)]
fn value_and_derivative(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const INV_SQRT_TAU: f32 = 0.398_942_3;
    let t = 1.0 / (1.0 + P * x.abs());
    let gauss = exp2(-0.5 * std::f32::consts::LOG2_E * x * x);
    let poly =
        ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let tail = 0.5 * poly * gauss;
    let cdf = if x >= 0.0 { 1.0 - tail } else { tail };
    (x * cdf, cdf + x * gauss * INV_SQRT_TAU)
}

/// 2^x for x ≤ 0, by splitting off the integer part; 2^−100 below, which is as good as zero and
/// keeps everything made of it out of the slow range of denormals.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -100.0 { -100.0 } else { x };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let poly = 1.540_353e-4f32;
    let poly = poly * f + 1.333_355_8e-3;
    let poly = poly * f + 9.618_129e-3;
    let poly = poly * f + 5.550_411e-2;
    let poly = poly * f + 2.402_265e-1;
    let poly = poly * f + std::f32::consts::LN_2;
    (poly * f + 1.0) * power
}

/// Replaces every value of rows by the GELU of value plus bias.
pub fn forward(arch: Arch, values: &mut [f32], bias: &[f32]) {
    dispatch!(arch, {
        for row in values.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(v, b)| *v = value_and_derivative(*v + b).0);
        }
    });
}

/// The same, and stores the derivative.
pub fn forward_with_derivative(arch: Arch, values: &mut [f32], bias: &[f32], derivative: &mut [f32]) {
    assert_eq!(values.len(), derivative.len());
    dispatch!(arch, {
        let rows = values.chunks_exact_mut(bias.len()).zip(derivative.chunks_exact_mut(bias.len()));
        for (values, derivative) in rows {
            for ((v, d), b) in values.iter_mut().zip(derivative).zip(bias) {
                (*v, *d) = value_and_derivative(*v + b);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arches;

    /// By Simpson's rule on the Gaussian: slow, simple, exact to 1e-10.
    fn naive(x: f64) -> (f64, f64) {
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let steps = 2000;
        let h = x / f64::from(steps);
        let weight = |i| {
            if i == 0 || i == steps {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            }
        };
        let area: f64 = (0..=steps).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>() * h / 3.0;
        (x * (0.5 + area), 0.5 + area + x * density(x))
    }

    #[test]
    fn value_and_derivative_are_exact_to_one_millionth() {
        for arch in arches() {
            let inputs: Vec<f32> = (-800..=800).map(|i| i as f32 / 100.0).collect();
            let (mut values, mut derivative) = (inputs.clone(), vec![0.0; inputs.len()]);
            forward_with_derivative(arch, &mut values, &[0.0], &mut derivative);
            let mut alone = inputs.clone();
            forward(arch, &mut alone, &[0.0]);
            assert_eq!(values, alone);
            for ((x, v), d) in inputs.iter().zip(values).zip(derivative) {
                let (value, slope) = naive(f64::from(*x));
                assert!((f64::from(v) - value).abs() < 1e-6, "gelu({x}) = {v}, expected {value}");
                assert!((f64::from(d) - slope).abs() < 1e-6, "gelu'({x}) = {d}, expected {slope}");
            }
        }
    }

    #[test]
    fn the_bias_is_added_first() {
        let mut values = [0.25f32, -1.0, 0.5, 2.0];
        forward(Arch::new(), &mut values, &[1.0, -0.5]);
        let mut shifted = [1.25f32, -1.5, 1.5, 1.5];
        forward(Arch::new(), &mut shifted, &[0.0]);
        assert_eq!(values, shifted);
    }

    #[test]
    fn far_out_it_is_zero_or_the_identity() {
        let mut values = [-40.0, -1e4, 40.0, 1e4, 0.0, f32::NAN];
        forward(Arch::new(), &mut values, &[0.0]);
        let expected: [f32; 5] = [0.0, 0.0, 40.0, 1e4, 0.0];
        assert!(values.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-24));
        assert!(values[5].is_nan());
    }
}
