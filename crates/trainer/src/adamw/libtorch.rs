//! AdamW by libtorch's fused kernel: what updates on a GPU.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;
use host::libtorch::aten::{AdamWStep, fused_adamw};

use super::moments::{AdamWConfig, Moments};

/// One update; `moments.steps` counts it already. What nobody else holds is updated where it lies.
pub(super) fn update<const D: usize>(
    lr: f64,
    config: &AdamWConfig,
    weight_decay: f64,
    weight: Tensor<D>,
    gradient: Tensor<D>,
    moments: Moments<D>,
) -> (Tensor<D>, Moments<D>) {
    let Moments { first, second, steps } = moments;
    let step = AdamWStep { lr, betas: config.betas, weight_decay, eps: config.eps };
    let gradient = primitive(gradient);
    let [mut weight, mut first, mut second] = [weight, first, second].map(|tensor| own(primitive(tensor)));
    fused_adamw(step, &mut weight.tensor, &gradient.tensor, &mut first.tensor, &mut second.tensor, steps);
    let [weight, first, second] = [weight, first, second].map(Tensor::from_primitive::<LibTorch>);
    (weight, Moments { first, second, steps })
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> TchTensor {
    tensor.try_into_primitive::<LibTorch>().expect("a tensor of libtorch; optimizers get none with autodiff")
}

fn own(tensor: TchTensor) -> TchTensor {
    match tensor.can_mut() {
        true => tensor,
        false => TchTensor::new(tensor.tensor.copy()),
    }
}
