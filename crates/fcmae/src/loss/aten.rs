//! The loss in ATen operations: what computes it on a GPU.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, LibTorch, backend_extension};
use burn::tensor::Tensor;
use host::libtorch::to_device;
use kernels::patch_loss::Target;
use tch::{Kind, Tensor as Raw};

use crate::target::EPSILON;

/// Predictions `[N, K, P·P·C]`, images `[N, C, H, W]`, and what of them was to be predicted.
#[derive(ExtensionType)]
pub(crate) struct AtenLossArgs<B: Backend> {
    predicted: FloatTensor<B>,
    images: FloatTensor<B>,
    target: Arc<Target>,
}

/// Libtorch, with and without autodiff.
#[backend_extension(LibTorch, Autodiff)]
pub(crate) trait AtenLossBackend: Backend {
    fn aten_patch_loss(#[extension_type] args: AtenLossArgs<Self>) -> FloatTensor<Self>;
}

/// Mean squared error over predicted patches, `[1]`. No gradient reaches the images.
pub(crate) fn patch_loss(predicted: Tensor<3>, images: Tensor<4>, target: Target) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as AtenLossBackend>::aten_patch_loss(AtenLossArgs {
        predicted: predicted.into_dispatch(),
        images: images.into_dispatch(),
        target: Arc::new(target),
    }))
}

/// Loss and its gradient.
fn forward(target: &Target, predicted: &Raw, images: &Raw) -> [TchTensor; 2] {
    let difference = predicted - picked_patches(target, images).view_as(predicted);
    let loss = difference.square().mean(Kind::Float).reshape([1]);
    let gradient = &difference * (2.0 / difference.numel() as f64);
    [loss, gradient].map(TchTensor::new)
}

/// What is to be predicted, `[N·K, P·P·C]`.
fn picked_patches(target: &Target, images: &Raw) -> Raw {
    let [samples, patch, channels] = [target.samples, target.patch, target.channels].map(|n| n as i64);
    let [rows, columns] = target.grid.map(|n| n as i64);
    let per_sample = target.picked.len() / target.samples;
    let indices = target.picked.iter().enumerate();
    let indices: Vec<i64> =
        indices.map(|(i, index)| (i / per_sample) as i64 * rows * columns + i64::from(*index)).collect();
    let patches = images
        .reshape([samples, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 3, 5, 1])
        .reshape([samples * rows * columns, patch * patch * channels])
        .index_select(0, &to_device(&Raw::from_slice(&indices), images.device()));
    if !target.normalize {
        return patches;
    }
    let (variance, mean) = patches.var_mean_dim([1].as_slice(), true, true);
    (patches - mean) * (variance + EPSILON).rsqrt()
}

impl AtenLossBackend for LibTorch {
    fn aten_patch_loss(args: AtenLossArgs<Self>) -> TchTensor {
        let [loss, _] = forward(&args.target, &args.predicted.tensor, &args.images.tensor);
        loss
    }
}

impl<C: CheckpointStrategy> AtenLossBackend for Autodiff<LibTorch, C> {
    fn aten_patch_loss(args: AtenLossArgs<Self>) -> FloatTensor<Self> {
        let node = args.predicted.node();
        let (predicted, images) = (args.predicted.into_primitive(), args.images.into_primitive());
        let [loss, gradient] = forward(&args.target, &predicted.tensor, &images.tensor);
        match PatchLossBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(gradient, loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

#[derive(Debug)]
struct PatchLossBackward;

impl Backward<LibTorch, 1> for PatchLossBackward {
    /// Gradient of the loss.
    type State = TchTensor;

    fn backward(self, ops: Ops<TchTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<LibTorch>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        let value = &ops.state.tensor * &upstream.tensor;
        gradients.register::<LibTorch>(parent.id, TchTensor::new(value));
    }
}
