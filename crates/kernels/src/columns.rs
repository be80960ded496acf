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
