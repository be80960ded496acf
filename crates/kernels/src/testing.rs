//! Numbers and comparisons for tests.

use crate::Arch;

/// A cheap fixed sequence in [−1, 1).
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// The best instructions, and none.
pub(crate) fn arches() -> [Arch; 2] {
    [Arch::new(), Arch::Scalar]
}

/// Within `tolerance` of the largest expected magnitude.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*a) - b).abs() <= tolerance * scale,
            "{what}[{i}]: {a}, expected {b}, scale {scale}"
        );
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// GELU and its derivative by Simpson's rule on the Gaussian: slow, simple, exact to 1e-10.
pub(crate) fn gelu(x: f64) -> (f64, f64) {
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
