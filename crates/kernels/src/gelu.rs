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

/// Replaces every value of rows by the GELU of value plus bias, of which `inputs` keeps the latter.
/// Adds the squares of the results to `square_sums`, channel by channel: what GRN takes its norms of.
pub fn forward(
    arch: Arch,
    values: &mut [f32],
    bias: &[f32],
    inputs: Option<&mut [f32]>,
    square_sums: &mut [f32],
) {
    assert_eq!(bias.len(), square_sums.len());
    match inputs {
        Some(inputs) => {
            assert_eq!(values.len(), inputs.len());
            arch.dispatch(Forward::<true> { values, bias, inputs, square_sums });
        }
        None => arch.dispatch(Forward::<false> { values, bias, inputs: &mut [], square_sums }),
    }
}

/// Rows of `bias.len()` values.
struct Forward<'a, const KEEP: bool> {
    values: &'a mut [f32],
    bias: &'a [f32],
    inputs: &'a mut [f32],
    square_sums: &'a mut [f32],
}

impl<const KEEP: bool> WithSimd for Forward<'_, KEEP> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { values, bias, inputs, square_sums } = self;
        let width = bias.len();
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        let (sums, sums_tail) = S::as_mut_simd_f32s(square_sums);
        for (r, row) in values.chunks_exact_mut(width).enumerate() {
            let inputs = if KEEP { &mut inputs[r * width..][..width] } else { &mut [] };
            let (inputs, inputs_tail) = S::as_mut_simd_f32s(inputs);
            let (row, tail) = S::as_mut_simd_f32s(row);
            for (i, ((x, b), sum)) in row.iter_mut().zip(bias).zip(sums.iter_mut()).enumerate() {
                let input = s.add_f32s(*x, *b);
                if KEEP {
                    inputs[i] = input;
                }
                *x = value_and_derivative(s, input).0;
                *sum = s.mul_add_e_f32s(*x, *x, *sum);
            }
            if tail.is_empty() {
                continue;
            }
            let input = s.add_f32s(vector::load(s, tail), vector::load(s, bias_tail));
            vector::store(s, inputs_tail, input);
            let value = value_and_derivative(s, input).0;
            vector::store(s, tail, value);
            let sum = s.mul_add_e_f32s(value, value, vector::load(s, sums_tail));
            vector::store(s, sums_tail, sum);
        }
    }
}

/// The same for one channel: replaces the values of all its tokens, and returns the sum of their squares.
pub fn forward_channel(arch: Arch, values: &mut [f32], bias: f32) -> f32 {
    arch.dispatch(Channel { values, bias })
}

struct Channel<'a> {
    values: &'a mut [f32],
    bias: f32,
}

impl WithSimd for Channel<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> f32 {
        let bias = s.splat_f32s(self.bias);
        let (values, tail) = S::as_mut_simd_f32s(self.values);
        let mut squares = s.splat_f32s(0.0);
        for x in values {
            *x = value_and_derivative(s, s.add_f32s(*x, bias)).0;
            squares = s.mul_add_e_f32s(*x, *x, squares);
        }
        let value = value_and_derivative(s, s.add_f32s(vector::load(s, tail), bias)).0;
        vector::store(s, tail, value);
        s.reduce_sum_f32s(squares) + tail.iter().map(|v| v * v).sum::<f32>()
    }
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
    use crate::testing::{arches, assert_close, numbers};

    /// GELU and its derivative by Simpson's rule on the Gaussian: slow, simple, exact to 1e-10.
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
            with_derivative(arch, &inputs, &mut values, &mut derivative);
            let mut alone = inputs.clone();
            forward(arch, &mut alone, &[0.0], None, &mut [0.0]);
            assert_eq!(values, alone);
            for ((x, v), d) in inputs.iter().zip(values).zip(derivative) {
                let (value, slope) = naive(f64::from(*x));
                assert!((f64::from(v) - value).abs() < 1e-6, "gelu({x}) = {v}, expected {value}");
                assert!((f64::from(d) - slope).abs() < 1e-6, "gelu'({x}) = {d}, expected {slope}");
            }
        }
    }

    #[test]
    fn the_bias_is_added_first_and_squares_are_summed_by_channel() {
        for (arch, width) in arches().into_iter().flat_map(|arch| [(arch, 2), (arch, 37)]) {
            let rows = numbers(3 * width, 1);
            let bias = numbers(width, 2);
            let shifted: Vec<f32> = rows.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect();
            let (mut values, mut kept, mut sums) = (rows.clone(), vec![0.0; rows.len()], vec![1.0; width]);
            forward(arch, &mut values, &bias, Some(&mut kept), &mut sums);
            let (mut expected, mut derivatives) = (vec![0.0; rows.len()], vec![0.0; rows.len()]);
            with_derivative(arch, &shifted, &mut expected, &mut derivatives);
            assert_eq!((values, kept), (expected.clone(), shifted));
            let squares = |c: usize| expected.iter().skip(c).step_by(width).map(|v| f64::from(*v).powi(2));
            let squares: Vec<f64> = (0..width).map(|c| 1.0 + squares(c).sum::<f64>()).collect();
            assert_close(&sums, &squares, 1e-6, "sums of squares");
        }
    }

    #[test]
    fn a_channel_by_itself_is_the_same() {
        for (arch, tokens) in arches().into_iter().flat_map(|arch| [(arch, 3), (arch, 49)]) {
            let (mut values, mut expected) = (numbers(tokens, 1), numbers(tokens, 1));
            let mut squares = vec![0.0; 1];
            forward(arch, &mut expected, &[0.5], None, &mut squares);
            let found = forward_channel(arch, &mut values, 0.5);
            assert_eq!(values, expected);
            assert_close(&[found], &[f64::from(squares[0])], 1e-6, "sum of squares");
        }
    }

    #[test]
    fn far_out_it_is_zero_or_the_identity() {
        let mut values = [-40.0, -1e4, 40.0, 1e4, 0.0, f32::NAN];
        forward(Arch::new(), &mut values, &[0.0], None, &mut [0.0]);
        let expected: [f32; 5] = [0.0, 0.0, 40.0, 1e4, 0.0];
        assert!(values.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-24));
        assert!(values[5].is_nan());
    }
}
