//! Sums over rows, channel by channel.

use crate::{Arch, dispatch};

/// Adds the sum of every column to `sums`.
pub(crate) fn add_columns(arch: Arch, rows: &[f32], sums: &mut [f32]) {
    dispatch!(arch, {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    });
}

/// Adds values to others.
pub(crate) fn add(arch: Arch, to: &mut [f32], values: &[f32]) {
    dispatch!(arch, to.iter_mut().zip(values).for_each(|(to, value)| *to += value));
}

/// Σ a·b, in lanes, so that it can be vectorised.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Adds multiples of values to others.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], values: &[f32], factor: f32) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += value * factor);
}
