//! LayerNorm over channels.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::engine::Compute;
use crate::ops;

/// (x − mean) / √(var + ε) · weight + bias over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
    #[module(skip)]
    compute: Compute,
}

impl LayerNorm {
    /// Weight 1, bias 0.
    pub fn new(channels: usize, epsilon: f64, compute: Compute, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            epsilon,
            compute,
        }
    }

    /// Chooses what computes the layer.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
    }

    /// `[…, channels]` → the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::layer_norm(self.compute, x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
