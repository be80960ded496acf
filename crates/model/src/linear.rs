//! The pointwise linear layer, stored as PyTorch stores it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::engine::Compute;
use crate::ops;

/// y = x · Wᵀ + b over the last dimension.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, PyTorch's order, so that checkpoints need no transposition.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    compute: Compute,
}

impl Linear {
    /// A layer of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(inputs: usize, outputs: usize, compute: Compute, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([outputs, inputs], device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
            compute,
        }
    }

    /// Chooses what computes the layer.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
    }

    /// `[…, in]` → `[…, out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(self.compute, x, self.weight.val(), self.bias.val())
    }
}
