//! The loss as one operation of Burn's autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
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
#[backend_extension(Flex, Autodiff)]
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

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("contiguous f32")
}

fn forward(target: &Target, predicted: FlexTensor, images: FlexTensor) -> (FlexTensor, Buffer) {
    let (predicted, images) = (predicted.to_contiguous(), images.to_contiguous());
    let (loss, gradient) = patch_loss::forward(target, slice(&predicted), slice(&images));
    (FlexTensor::from_data(TensorData::new(vec![loss], [1])), gradient)
}

impl LossBackend for Flex {
    fn patch_loss(args: PatchLossArgs<Self>) -> FlexTensor {
        forward(&args.target, args.predicted, args.images).0
    }
}

#[derive(Debug)]
struct PatchLossBackward;

impl<C: CheckpointStrategy> LossBackend for Autodiff<Flex, C> {
    fn patch_loss(args: PatchLossArgs<Self>) -> FloatTensor<Self> {
        let node = args.predicted.node();
        let predicted = args.predicted.into_primitive();
        let shape = predicted.shape().to_vec();
        let (loss, gradient) = forward(&args.target, predicted, args.images.into_primitive());
        match PatchLossBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((Arc::new(gradient), shape), loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

impl Backward<Flex, 1> for PatchLossBackward {
    /// Gradient of the loss, and the shape of the predictions.
    type State = (Arc<Buffer>, Vec<usize>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = slice(&gradients.consume::<Flex>(&ops.node).to_contiguous())[0];
        let (gradient, shape) = ops.state;
        let [Some(parent)] = ops.parents else { return };
        let values: Vec<f32> = gradient.iter().map(|g| g * upstream).collect();
        let data = TensorData::new(values, shape);
        gradients.register::<Flex>(parent.id, FlexTensor::from_data(data));
    }
}
