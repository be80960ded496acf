//! The loss as one operation of Burn's autodiff.

#![cfg_attr(feature = "tch", allow(deprecated, reason = "Burn 0.22 is the last with libtorch, and pinned"))]

use std::sync::Arc;

#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use host::HostBackend;
use kernels::buffer::Buffer;
use kernels::patch_loss::{self, Target};

/// Predictions `[N, K, P·P·C]`, images `[N, C, H, W]`, and what of them was to be predicted.
#[derive(ExtensionType)]
pub(crate) struct PatchLossArgs<B: Backend> {
    predicted: FloatTensor<B>,
    images: FloatTensor<B>,
    target: Arc<Target>,
}

/// Backends with our loss.
#[backend_extension(Flex, LibTorch: cfg(feature = "tch"), Autodiff)]
pub(crate) trait LossBackend: Backend {
    fn patch_loss(#[extension_type] args: PatchLossArgs<Self>) -> FloatTensor<Self>;
}

/// Mean squared error over predicted patches, `[1]`. No gradient reaches the images.
pub(crate) fn patch_loss(predicted: Tensor<3>, images: Tensor<4>, target: Target) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as LossBackend>::patch_loss(PatchLossArgs {
        predicted: predicted.into_dispatch(),
        images: images.into_dispatch(),
        target: Arc::new(target),
    }))
}

fn forward<B: HostBackend>(
    target: &Target,
    predicted: FloatTensor<B>,
    images: FloatTensor<B>,
) -> (FloatTensor<B>, Buffer) {
    let (predicted, images) = (B::contiguous(predicted), B::contiguous(images));
    let (loss, gradient) = patch_loss::forward(target, B::values(&predicted), B::values(&images));
    (B::tensor(vec![loss], [1]), gradient)
}

impl LossBackend for Flex {
    fn patch_loss(args: PatchLossArgs<Self>) -> FloatTensor<Self> {
        forward::<Self>(&args.target, args.predicted, args.images).0
    }
}

#[cfg(feature = "tch")]
impl LossBackend for LibTorch {
    fn patch_loss(args: PatchLossArgs<Self>) -> FloatTensor<Self> {
        forward::<Self>(&args.target, args.predicted, args.images).0
    }
}

#[derive(Debug)]
struct PatchLossBackward;

impl<B: HostBackend, C: CheckpointStrategy> LossBackend for Autodiff<B, C> {
    fn patch_loss(args: PatchLossArgs<Self>) -> FloatTensor<Self> {
        let node = args.predicted.node();
        let predicted = args.predicted.into_primitive();
        let shape = predicted.shape().to_vec();
        let (loss, gradient) = forward::<B>(&args.target, predicted, args.images.into_primitive());
        match Backward::<B, 1>::prepare::<C>(PatchLossBackward, [node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((Arc::new(gradient), shape), loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

impl<B: HostBackend> Backward<B, 1> for PatchLossBackward {
    /// Gradient of the loss, and the shape of the predictions.
    type State = (Arc<Buffer>, Vec<usize>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = B::values(&B::contiguous(gradients.consume::<B>(&ops.node)))[0];
        let (gradient, shape) = ops.state;
        let [Some(parent)] = ops.parents else { return };
        let values: Vec<f32> = gradient.iter().map(|g| g * upstream).collect();
        gradients.register::<B>(parent.id, B::tensor(values, shape));
    }
}
