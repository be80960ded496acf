//! The weights of a block in the order in which products read them.

use rayon::prelude::*;

use super::Weights;
use crate::gemm::Packed;
use crate::{Arch, dispatch, dwconv7};

/// Rows of a weight whose products with a vector a thread computes at a time.
const ROWS: usize = 64;

/// Weights as the forward pass reads them: made for every step in training, once for all of inference.
///
/// What LayerNorm and GRN multiply and add after their norms is part of the linear layers behind them, which
/// is exact up to rounding: W·(γ·x̂ + β) + b = (W·γ)·x̂ + (b + W·β).
#[derive(Debug)]
pub struct Prepared {
    pub(super) taps: dwconv7::Weights,
    /// Reads LayerNorm's x̂.
    pub(super) expand: Linear,
    /// GRN's γ, which belongs to the norms of a sample.
    pub(super) gamma: Vec<f32>,
    /// Reads GELU's outputs times GRN's scale.
    pub(super) contract: Linear,
}

/// A linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Packed,
    pub(super) bias: Vec<f32>,
}

impl Prepared {
    /// Packs the weights.
    pub fn new(arch: Arch, w: &Weights) -> Self {
        let (channels, hidden) = (w.channels(), w.hidden());
        let mut pwconv1 = Packed::transposed(arch, w.pwconv1, channels, hidden);
        pwconv1.scale_rows(arch, w.norm);
        Self {
            taps: dwconv7::Weights::new(w.dwconv, w.dwconv_bias),
            expand: Linear {
                weight: pwconv1,
                bias: with_offset(arch, w.pwconv1_bias, w.pwconv1, w.norm_bias),
            },
            gamma: w.gamma.to_vec(),
            contract: Linear {
                weight: Packed::transposed(arch, w.pwconv2, hidden, channels),
                bias: with_offset(arch, w.pwconv2_bias, w.pwconv2, w.beta),
            },
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.contract.bias.len()
    }

    pub(super) fn hidden(&self) -> usize {
        self.gamma.len()
    }
}

/// The bias of a layer whose input has an offset: bias + W·offset.
fn with_offset(arch: Arch, bias: &[f32], weight: &[f32], offset: &[f32]) -> Vec<f32> {
    let inputs = offset.len();
    let mut sum = bias.to_vec();
    sum.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * inputs)).for_each(|(sum, weight)| {
        dispatch!(arch, {
            for (sum, row) in sum.iter_mut().zip(weight.chunks_exact(inputs)) {
                *sum += crate::columns::dot(row, offset);
            }
        });
    });
    sum
}
