//! LayerNorm over channels.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module};

#[cfg(feature = "tch")]
use crate::aten;
use crate::engine::{Engine, Kernels};
use crate::ops;

/// Epsilon of every norm inside the network (official code; PyTorch's own default is 1e-5).
pub const EPSILON: f64 = 1e-6;

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
    kernels: Kernels,
}

impl LayerNorm {
    /// Weight 1, bias 0.
    pub fn new(channels: usize, epsilon: f64, kernels: Kernels, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            epsilon,
            kernels,
        }
    }

    /// Chooses what computes the layer.
    pub fn set_kernels(&mut self, kernels: Kernels) {
        self.kernels = kernels;
    }

    /// `[…, channels]` → the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        match self.kernels.engine(&x.device()) {
            Engine::Slices => ops::layer_norm(x, weight, bias, self.epsilon),
            #[cfg(feature = "tch")]
            Engine::Aten(_) => aten::layer_norm(x, weight, bias, self.epsilon),
            Engine::Tensors => module::layer_norm(x, weight, Some(bias), self.epsilon),
        }
    }
}
