//! A linear layer, and what stands before it and is linear too.

use rayon::prelude::*;

use crate::columns::dot;
use crate::gemm::Packed;
use crate::{Arch, dispatch};

/// Rows of a weight whose products with a vector a thread computes at a time.
const ROWS: usize = 64;

/// Weight and bias in the order in which products read them.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Packed,
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// From a weight `[out, in]`.
    pub(crate) fn new(arch: Arch, weight: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let weight = Packed::transposed(arch, weight, weight.len() / outputs.max(1), outputs);
        Self { weight, bias: bias.to_vec() }
    }

    /// The same for inputs x that should have been multiplied by `gain` and added to `offset` before: both
    /// become part of the layer, since W·(γ·x + β) + b = (W·γ)·x + (b + W·β).
    pub(crate) fn after(
        arch: Arch,
        weight: &[f32],
        bias: &[f32],
        gain: Option<&[f32]>,
        offset: &[f32],
    ) -> Self {
        let mut linear = Self::new(arch, weight, bias);
        if let Some(gain) = gain {
            linear.weight.scale_rows(arch, gain);
        }
        let inputs = offset.len();
        linear.bias.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * inputs)).for_each(|(bias, weight)| {
            dispatch!(arch, {
                let rows = bias.iter_mut().zip(weight.chunks_exact(inputs));
                rows.for_each(|(bias, row)| *bias += dot(row, offset));
            });
        });
        linear
    }
}
