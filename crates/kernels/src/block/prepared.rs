//! The weights of a block in the order in which products read them.

use super::Weights;
use crate::linear::{Format, Linear};
use crate::{Arch, dwconv7};

/// Weights as the forward pass reads them: made for every step in training, once for all of inference.
///
/// What LayerNorm and GRN multiply and add after their norms is part of the linear layers behind them.
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

impl Prepared {
    /// Packs the weights, the linear layers' in the numbers that these are to compute with.
    pub fn new(arch: Arch, format: Format, w: &Weights) -> Self {
        Self {
            taps: dwconv7::Weights::new(w.dwconv, w.dwconv_bias),
            expand: Linear::after(arch, format, w.pwconv1, w.pwconv1_bias, Some(w.norm), w.norm_bias),
            gamma: w.gamma.to_vec(),
            contract: Linear::after(arch, format, w.pwconv2, w.pwconv2_bias, None, w.beta),
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.contract.outputs()
    }

    pub(super) fn hidden(&self) -> usize {
        self.gamma.len()
    }
}
