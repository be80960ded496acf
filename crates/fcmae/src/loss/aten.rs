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
use host::HostBackend;
use host::libtorch::indices_on;
use kernels::patch_loss::Target;
use tch::{Reduction, Tensor as Raw};

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

/// Mean of squared differences, `[1]`.
fn loss(predicted: &TchTensor, wanted: &TchTensor) -> TchTensor {
    TchTensor::new(predicted.tensor.mse_loss(&wanted.tensor, Reduction::Mean).view([1]))
}

/// What is to be predicted, in the shape of predictions.
fn wanted(target: &Target, images: &Raw, shape: &[i64]) -> TchTensor {
    let patches = picked_patches(target, images);
    let values = patches.size()[1];
    let patches = match target.normalize {
        true => normalized(&patches, values),
        false => patches,
    };
    TchTensor::new(patches.view(shape))
}

/// (x − mean) / √(var + ε) row by row, by a LayerNorm. Its variance v divides by n, the one meant here by
/// n − 1, so that √(v·n/(n−1) + ε) = √(n/(n−1)) · √(v + ε·(n−1)/n).
fn normalized(patches: &Raw, values: i64) -> Raw {
    let share = (values - 1) as f64 / values as f64;
    let (mut patches, _, _) =
        patches.native_layer_norm([values], None::<&Raw>, None::<&Raw>, EPSILON * share);
    patches.g_mul_scalar_(share.sqrt())
}

/// The patches that are predicted, `[N·K, P·P·C]`.
fn picked_patches(target: &Target, images: &Raw) -> Raw {
    let [samples, patch, channels] = [target.samples, target.patch, target.channels].map(|n| n as i64);
    let [rows, columns] = target.grid.map(|n| n as i64);
    let per_sample = target.picked.len() / target.samples;
    let indices = target.picked.iter().enumerate();
    let indices: Vec<i64> =
        indices.map(|(i, index)| (i / per_sample) as i64 * rows * columns + i64::from(*index)).collect();
    images
        .view([samples, channels, rows, patch, columns, patch])
        .permute([0, 2, 4, 3, 5, 1])
        .reshape([samples * rows * columns, patch * patch * channels])
        .index_select(0, &indices_on(indices, images.device()))
}

impl AtenLossBackend for LibTorch {
    fn aten_patch_loss(args: AtenLossArgs<Self>) -> TchTensor {
        let images = Self::contiguous(args.images);
        loss(&args.predicted, &wanted(&args.target, &images.tensor, &args.predicted.tensor.size()))
    }
}

impl<C: CheckpointStrategy> AtenLossBackend for Autodiff<LibTorch, C> {
    fn aten_patch_loss(args: AtenLossArgs<Self>) -> FloatTensor<Self> {
        let node = args.predicted.node();
        let predicted = args.predicted.into_primitive();
        let images = LibTorch::contiguous(args.images.into_primitive());
        let wanted = wanted(&args.target, &images.tensor, &predicted.tensor.size());
        let loss = loss(&predicted, &wanted);
        match PatchLossBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([predicted, wanted], loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

#[derive(Debug)]
struct PatchLossBackward;

impl Backward<LibTorch, 1> for PatchLossBackward {
    /// What was predicted, and what was to be.
    type State = [TchTensor; 2];

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<LibTorch>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        let [predicted, wanted] = ops.state.each_ref().map(|tensor| &tensor.tensor);
        let value = predicted.mse_loss_backward(&upstream.tensor, wanted, Reduction::Mean);
        gradients.register::<LibTorch>(parent.id, TchTensor::new(value));
    }
}
