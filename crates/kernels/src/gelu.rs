//! GELU by the error function, and its derivative.

use pulp::{Simd, WithSimd};

use crate::{Arch, vector};

/// Φ(−x) / exp(−x²/2) for 0 ≤ x ≤ 5, highest power first: the polynomial whose product with x and the
/// Gaussian is off by less than 2e-7 anywhere, found by reweighted least squares. Needs no division.
const TAIL: [f32; 11] = [
    1.284_003_7e-6,
    -2.920_854_2e-5,
    2.966_623e-4,
    -1.807_119_3e-3,
    7.554_769e-3,
    -2.378_057e-2,
    6.071_620_4e-2,
    -1.323_122_2e-1,
    2.498_710_8e-1,
    -3.989_326e-1,
    4.999_998_8e-1,
];
const TAIL_END: f32 = 5.0;

/// x·Φ(x) and Φ(x) + x·φ(x).
///
/// The Gaussian of the derivative is that of the tail of Φ, so both cost hardly more than one.
/// Absolute error below 1e-6 for |x| < 8.
#[inline(always)]
fn value_and_derivative<S: Simd>(s: S, x: S::f32s) -> (S::f32s, S::f32s) {
    const INV_SQRT_TAU: f32 = 0.398_942_3;
    let exponent = s.mul_f32s(s.mul_f32s(x, x), s.splat_f32s(-0.5 * std::f32::consts::LOG2_E));
    let gauss = exp2(s, exponent);
    let tail = s.mul_f32s(horner(s, s.min_f32s(s.abs_f32s(x), s.splat_f32s(TAIL_END)), TAIL), gauss);
    let right = s.greater_than_or_equal_f32s(x, s.splat_f32s(0.0));
    let cdf = s.select_f32s(right, s.sub_f32s(s.splat_f32s(1.0), tail), tail);
    let slope = s.mul_add_e_f32s(s.mul_f32s(x, gauss), s.splat_f32s(INV_SQRT_TAU), cdf);
    (s.mul_f32s(x, cdf), slope)
}

/// x·Φ(x).
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    value_and_derivative(s, x).0
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
    let x = s.max_f32s(x, s.splat_f32s(-100.0));
    let shifted = s.add_f32s(x, s.splat_f32s(ROUND));
    let f = s.sub_f32s(x, s.sub_f32s(shifted, s.splat_f32s(ROUND)));
    // The shift drops all bits of ROUND, so that only integer + 127 is left, as an exponent.
    let biased = s.add_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(127));
    let power = s.transmute_f32s_u32s(s.wrapping_dyn_shl_u32s(biased, s.splat_u32s(23)));
    let coefficients =
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0];
    s.mul_f32s(horner(s, f, coefficients), power)
}

/// GELU of every input, and its derivative.
pub fn with_derivative(arch: Arch, inputs: &[f32], values: &mut [f32], derivatives: &mut [f32]) {
    assert_eq!(inputs.len(), values.len());
    assert_eq!(inputs.len(), derivatives.len());
    arch.dispatch(WithDerivative { inputs, values, derivatives });
}

struct WithDerivative<'a> {
    inputs: &'a [f32],
    values: &'a mut [f32],
    derivatives: &'a mut [f32],
}

impl WithSimd for WithDerivative<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (inputs, tail) = S::as_simd_f32s(self.inputs);
        let (values, values_tail) = S::as_mut_simd_f32s(self.values);
        let (derivatives, derivatives_tail) = S::as_mut_simd_f32s(self.derivatives);
        for ((x, value), derivative) in inputs.iter().zip(values).zip(derivatives) {
            (*value, *derivative) = value_and_derivative(s, *x);
        }
        let (value, derivative) = value_and_derivative(s, vector::load(s, tail));
        vector::store(s, values_tail, value);
        vector::store(s, derivatives_tail, derivative);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, gelu};

    #[test]
    fn value_and_derivative_are_exact_to_one_millionth() {
        for arch in arches() {
            // One more than fills vectors.
            let inputs: Vec<f32> = (-800..=800).map(|i| i as f32 / 100.0).collect();
            let (mut values, mut derivative) = (vec![0.0; inputs.len()], vec![0.0; inputs.len()]);
            with_derivative(arch, &inputs, &mut values, &mut derivative);
            for ((x, v), d) in inputs.iter().zip(values).zip(derivative) {
                let (value, slope) = gelu(f64::from(*x));
                assert!((f64::from(v) - value).abs() < 1e-6, "gelu({x}) = {v}, expected {value}");
                assert!((f64::from(d) - slope).abs() < 1e-6, "gelu'({x}) = {d}, expected {slope}");
            }
        }
    }

    #[test]
    fn far_out_it_is_zero_or_the_identity() {
        let inputs = [-40.0, -1e4, 40.0, 1e4, 0.0, f32::NAN];
        let (mut values, mut slopes) = ([0.0; 6], [0.0; 6]);
        with_derivative(Arch::new(), &inputs, &mut values, &mut slopes);
        let expected: [f32; 5] = [0.0, 0.0, 40.0, 1e4, 0.0];
        assert!(values.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-24));
        assert!(values[5].is_nan() && slopes[5].is_nan());
    }
}
