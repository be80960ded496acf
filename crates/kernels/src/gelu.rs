//! GELU by the error function, and its derivative.

use pulp::{Simd, WithSimd};

use crate::Arch;

/// x·Φ(x) and Φ(x) + x·φ(x).
///
/// erf by Abramowitz and Stegun 7.1.26; its exponential is the Gaussian of the derivative, so both
/// cost hardly more than one. Absolute error below 1e-6 for |x| < 8.
#[inline(always)]
fn value_and_derivative<S: Simd>(s: S, x: S::f32s) -> (S::f32s, S::f32s) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const INV_SQRT_TAU: f32 = 0.398_942_3;
    let one = s.splat_f32s(1.0);
    let t = s.div_f32s(one, s.mul_add_e_f32s(s.splat_f32s(P), s.abs_f32s(x), one));
    let exponent = s.mul_f32s(s.mul_f32s(x, x), s.splat_f32s(-0.5 * std::f32::consts::LOG2_E));
    let gauss = exp2(s, exponent);
    let poly = horner(s, t, [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6, 0.0]);
    let tail = s.mul_f32s(s.mul_f32s(poly, s.splat_f32s(0.5)), gauss);
    let right = s.greater_than_or_equal_f32s(x, s.splat_f32s(0.0));
    let cdf = s.select_f32s(right, s.sub_f32s(one, tail), tail);
    let slope = s.mul_add_e_f32s(s.mul_f32s(x, gauss), s.splat_f32s(INV_SQRT_TAU), cdf);
    (s.mul_f32s(x, cdf), slope)
}

/// A polynomial, highest power first.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = s.splat_f32s(coefficients[0]);
    for c in &coefficients[1..] {
        sum = s.mul_add_e_f32s(sum, x, s.splat_f32s(*c));
    }
    sum
}

/// 2^x for x ≤ 0, by splitting off the integer part; 2^−100 below, which is as good as zero and
/// keeps everything made of it out of the slow range of denormals.
#[inline(always)]
fn exp2<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    /// 1.5 · 2^23: adding it leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let low = s.splat_f32s(-100.0);
    let x = s.select_f32s(s.less_than_f32s(x, low), low, x);
    let shifted = s.add_f32s(x, s.splat_f32s(ROUND));
    let f = s.sub_f32s(x, s.sub_f32s(shifted, s.splat_f32s(ROUND)));
    // The shift drops all bits of ROUND, so that only integer + 127 is left, as an exponent.
    let biased = s.add_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(127));
    let power = s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(biased, s.splat_u32s(23)));
    let coefficients =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0];
    s.mul_f32s(horner(s, f, coefficients), power)
}

/// Rows of `bias.len()` values.
struct Rows<'a> {
    values: &'a mut [f32],
    bias: &'a [f32],
    slope: Option<&'a mut [f32]>,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { values, bias, mut slope } = self;
        let width = bias.len();
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        for (r, row) in values.chunks_exact_mut(width).enumerate() {
            let slope =
                slope.as_deref_mut().map(|slope| S::as_mut_simd_f32s(&mut slope[r * width..][..width]));
            let (row, tail) = S::as_mut_simd_f32s(row);
            let last = s.add_f32s(s.partial_load_f32s(tail), s.partial_load_f32s(bias_tail));
            let (value, derivative) = value_and_derivative(s, last);
            s.partial_store_f32s(tail, value);
            match slope {
                Some((slope, slope_tail)) => {
                    s.partial_store_f32s(slope_tail, derivative);
                    for ((x, b), d) in row.iter_mut().zip(bias).zip(slope) {
                        (*x, *d) = value_and_derivative(s, s.add_f32s(*x, *b));
                    }
                }
                None => {
                    for (x, b) in row.iter_mut().zip(bias) {
                        *x = value_and_derivative(s, s.add_f32s(*x, *b)).0;
                    }
                }
            }
        }
    }
}

/// Replaces every value of rows by the GELU of value plus bias.
pub fn forward(arch: Arch, values: &mut [f32], bias: &[f32]) {
    arch.dispatch(Rows { values, bias, slope: None });
}

/// The same, and stores the derivative.
pub fn forward_with_derivative(arch: Arch, values: &mut [f32], bias: &[f32], derivative: &mut [f32]) {
    assert_eq!(values.len(), derivative.len());
    arch.dispatch(Rows { values, bias, slope: Some(derivative) });
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
