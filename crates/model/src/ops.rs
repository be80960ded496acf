//! Our kernels as operations of Burn's autodiff: the fused block, the convolution without overlap,
//! and LayerNorm.

use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
use kernels::block::{self, Batch, Saved, Weights};
use kernels::strided_conv::{self, Windows};
use kernels::{Arch, layer_norm};

use crate::block::Block;

/// Input and weights of a block, and how its tokens lie.
#[derive(ExtensionType)]
pub(crate) struct BlockArgs<B: Backend> {
    x: FloatTensor<B>,
    dwconv: FloatTensor<B>,
    dwconv_bias: FloatTensor<B>,
    norm: FloatTensor<B>,
    norm_bias: FloatTensor<B>,
    pwconv1: FloatTensor<B>,
    pwconv1_bias: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
    pwconv2: FloatTensor<B>,
    pwconv2_bias: FloatTensor<B>,
    batch: Arc<Batch>,
}

impl<B: Backend> BlockArgs<B> {
    fn into_parts(self) -> ([FloatTensor<B>; 11], Arc<Batch>) {
        let tensors = [
            self.x,
            self.dwconv,
            self.dwconv_bias,
            self.norm,
            self.norm_bias,
            self.pwconv1,
            self.pwconv1_bias,
            self.gamma,
            self.beta,
            self.pwconv2,
            self.pwconv2_bias,
        ];
        (tensors, self.batch)
    }
}

/// Input, weight `[out, in, k, k]` and bias of a convolution, and where its windows lie.
#[derive(ExtensionType)]
pub(crate) struct StridedConvArgs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    windows: Arc<Windows>,
}

/// Input, weight and bias of a LayerNorm.
#[derive(ExtensionType)]
pub(crate) struct LayerNormArgs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    epsilon: f64,
}

/// Backends with our kernels.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait KernelBackend: Backend {
    fn block(#[extension_type] args: BlockArgs<Self>) -> FloatTensor<Self>;
    fn strided_conv(#[extension_type] args: StridedConvArgs<Self>) -> FloatTensor<Self>;
    fn layer_norm(#[extension_type] args: LayerNormArgs<Self>) -> FloatTensor<Self>;
}

/// Tokens or a map → `[N, T, out]`, window by window.
pub(crate) fn strided_conv<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    windows: Windows,
) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as KernelBackend>::strided_conv(StridedConvArgs {
        x: x.into_dispatch(),
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        windows: Arc::new(windows),
    }))
}

/// LayerNorm over the last dimension.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as KernelBackend>::layer_norm(LayerNormArgs {
        x: x.into_dispatch(),
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        epsilon,
    }))
}

/// Tokens `[N, T, C]` through a block by our kernels.
pub(crate) fn fused_block(x: Tensor<3>, block: &Block, batch: Batch) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as KernelBackend>::block(BlockArgs {
        x: x.into_dispatch(),
        dwconv: block.dwconv.weight.val().into_dispatch(),
        dwconv_bias: block.dwconv.bias.val().into_dispatch(),
        norm: block.norm.weight.val().into_dispatch(),
        norm_bias: block.norm.bias.val().into_dispatch(),
        pwconv1: block.pwconv1.weight.val().into_dispatch(),
        pwconv1_bias: block.pwconv1.bias.val().into_dispatch(),
        gamma: block.grn.gamma.val().into_dispatch(),
        beta: block.grn.beta.val().into_dispatch(),
        pwconv2: block.pwconv2.weight.val().into_dispatch(),
        pwconv2_bias: block.pwconv2.bias.val().into_dispatch(),
        batch: Arc::new(batch),
    }))
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("contiguous f32")
}

fn weights(t: &[FlexTensor; 11]) -> Weights<'_> {
    Weights {
        dwconv: slice(&t[1]),
        dwconv_bias: slice(&t[2]),
        norm: slice(&t[3]),
        norm_bias: slice(&t[4]),
        pwconv1: slice(&t[5]),
        pwconv1_bias: slice(&t[6]),
        gamma: slice(&t[7]),
        beta: slice(&t[8]),
        pwconv2: slice(&t[9]),
        pwconv2_bias: slice(&t[10]),
    }
}

fn output(values: Vec<f32>, batch: &Batch, x: &FlexTensor) -> FlexTensor {
    let channels = x.shape()[2];
    FlexTensor::from_data(TensorData::new(values, [batch.samples, batch.tokens_out(), channels]))
}

impl KernelBackend for Flex {
    fn block(args: BlockArgs<Self>) -> FlexTensor {
        let (tensors, batch) = args.into_parts();
        let t = tensors.map(|tensor| tensor.to_contiguous());
        output(block::infer(Arch::new(), &batch, &weights(&t), slice(&t[0])), &batch, &t[0])
    }

    fn strided_conv(args: StridedConvArgs<Self>) -> FlexTensor {
        let t = [args.x, args.weight, args.bias].map(|tensor| tensor.to_contiguous());
        strided_conv_forward(&t, &args.windows)
    }

    fn layer_norm(args: LayerNormArgs<Self>) -> FlexTensor {
        let t = [args.x, args.weight, args.bias].map(|tensor| tensor.to_contiguous());
        layer_norm_forward(&t, args.epsilon).0
    }
}

fn strided_conv_forward([x, weight, bias]: &[FlexTensor; 3], windows: &Windows) -> FlexTensor {
    let y = strided_conv::forward(windows, slice(x), slice(weight), slice(bias));
    let shape = [windows.samples, windows.rows(), bias.shape()[0]];
    FlexTensor::from_data(TensorData::new(y, shape))
}

fn layer_norm_forward([x, weight, bias]: &[FlexTensor; 3], epsilon: f64) -> (FlexTensor, layer_norm::Saved) {
    let (x_values, epsilon) = (slice(x), epsilon as f32);
    let (y, saved) = layer_norm::layer(Arch::new(), x_values, slice(weight), slice(bias), epsilon);
    (FlexTensor::from_data(TensorData::new(y, x.shape())), saved)
}

#[derive(Debug)]
struct BlockBackward;

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
struct State {
    tensors: [FlexTensor; 11],
    saved: Arc<Saved>,
    batch: Arc<Batch>,
}

impl<C: CheckpointStrategy> KernelBackend for Autodiff<Flex, C> {
    fn block(args: BlockArgs<Self>) -> FloatTensor<Self> {
        let (tensors, batch) = args.into_parts();
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive().to_contiguous());
        match BlockBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, saved) = block::forward(Arch::new(), &batch, &weights(&t), slice(&t[0]));
                let y = output(y, &batch, &t[0]);
                prep.finish(State { tensors: t, saved: Arc::new(saved), batch }, y)
            }
            OpsKind::UnTracked(prep) => {
                let y = block::infer(Arch::new(), &batch, &weights(&t), slice(&t[0]));
                prep.finish(output(y, &batch, &t[0]))
            }
        }
    }

    fn strided_conv(args: StridedConvArgs<Self>) -> FloatTensor<Self> {
        let (tensors, windows) = ([args.x, args.weight, args.bias], args.windows);
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive().to_contiguous());
        let y = strided_conv_forward(&t, &windows);
        match StridedConvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, windows), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn layer_norm(args: LayerNormArgs<Self>) -> FloatTensor<Self> {
        let tensors = [args.x, args.weight, args.bias];
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive().to_contiguous());
        let (y, saved) = layer_norm_forward(&t, args.epsilon);
        match LayerNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, Arc::new(saved)), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Registers the gradients of those parents that want one.
fn register<const N: usize>(
    parents: [Option<NodeId>; N],
    tensors: &[FlexTensor; N],
    values: impl IntoIterator<Item = Option<Vec<f32>>>,
    gradients: &mut Gradients,
) {
    for ((parent, tensor), values) in parents.into_iter().zip(tensors).zip(values) {
        if let (Some(id), Some(values)) = (parent, values) {
            gradients.register::<Flex>(id, FlexTensor::from_data(TensorData::new(values, tensor.shape())));
        }
    }
}

#[derive(Debug)]
struct StridedConvBackward;

impl Backward<Flex, 3> for StridedConvBackward {
    type State = ([FlexTensor; 3], Arc<Windows>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (tensors, windows) = &ops.state;
        let [x, weight, bias] = tensors;
        let (wants_dx, outputs) = (ops.parents[0].is_some(), bias.shape()[0]);
        let (dx, dw, db) =
            strided_conv::backward(windows, slice(x), slice(weight), slice(&dy), outputs, wants_dx);
        register(
            ops.parents.map(|parent| parent.map(|node| node.id)),
            tensors,
            [dx, Some(dw), Some(db)],
            gradients,
        );
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    type State = ([FlexTensor; 3], Arc<layer_norm::Saved>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (tensors, saved) = &ops.state;
        let values = layer_norm::layer_backward(Arch::new(), saved, slice(&tensors[1]), slice(&dy));
        register(ops.parents.map(|parent| parent.map(|node| node.id)), tensors, values.map(Some), gradients);
    }
}

impl Backward<Flex, 11> for BlockBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 11>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let State { tensors: t, saved, batch } = &ops.state;
        let (dx, dw) = block::backward(Arch::new(), batch, &weights(t), slice(&t[0]), saved, slice(&dy));
        register(
            ops.parents.map(|parent| parent.map(|node| node.id)),
            t,
            std::iter::once(dx).chain(dw.into_array()).map(Some),
            gradients,
        );
    }
}

/// The values of a small tensor.
pub(crate) fn host_values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 data")
}
