//! Our kernels as operations of Burn's autodiff: the fused block and the linear layer.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
use kernels::Arch;
use kernels::block::{self, Batch, Saved, Weights};

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

/// Input, weight `[out, in]` and bias of a linear layer.
#[derive(ExtensionType)]
pub(crate) struct LinearArgs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
}

/// Backends with our kernels.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait KernelBackend: Backend {
    fn block(#[extension_type] args: BlockArgs<Self>) -> FloatTensor<Self>;
    fn linear(#[extension_type] args: LinearArgs<Self>) -> FloatTensor<Self>;
}

/// y = x·Wᵀ + b over the last dimension, with W `[out, in]` of any rank.
pub(crate) fn linear<const D: usize, const W: usize>(
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Tensor<1>,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as KernelBackend>::linear(LinearArgs {
        x: x.into_dispatch(),
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
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

    fn linear(args: LinearArgs<Self>) -> FlexTensor {
        linear_forward(&[args.x, args.weight, args.bias].map(|tensor| tensor.to_contiguous()))
    }
}

fn linear_forward([x, weight, bias]: &[FlexTensor; 3]) -> FlexTensor {
    let y = kernels::linear::forward(slice(x), slice(weight), slice(bias));
    let mut shape = x.shape().to_vec();
    let last = shape.len() - 1;
    shape[last] = bias.shape()[0];
    FlexTensor::from_data(TensorData::new(y, shape))
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

    fn linear(args: LinearArgs<Self>) -> FloatTensor<Self> {
        let tensors = [args.x, args.weight, args.bias];
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive().to_contiguous());
        let y = linear_forward(&t);
        match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(t, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = [FlexTensor; 3];

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight, bias] = &ops.state;
        let wants_dx = ops.parents[0].is_some();
        let outputs = bias.shape()[0];
        let (dx, dw, db) = kernels::linear::backward(slice(x), slice(weight), slice(&dy), outputs, wants_dx);
        let all = [dx, Some(dw), Some(db)];
        for ((parent, tensor), gradient) in ops.parents.into_iter().zip(&ops.state).zip(all) {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                let data = TensorData::new(gradient, tensor.shape());
                gradients.register::<Flex>(node.id, FlexTensor::from_data(data));
            }
        }
    }
}

impl Backward<Flex, 11> for BlockBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 11>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let State { tensors: t, saved, batch } = &ops.state;
        let (dx, dw) = block::backward(Arch::new(), batch, &weights(t), slice(&t[0]), saved, slice(&dy));
        let all = std::iter::once(dx).chain(dw.into_array());
        for ((parent, tensor), gradient) in ops.parents.into_iter().zip(t).zip(all) {
            if let Some(node) = parent {
                let data = TensorData::new(gradient, tensor.shape());
                gradients.register::<Flex>(node.id, FlexTensor::from_data(data));
            }
        }
    }
}

/// The values of a small tensor.
pub(crate) fn host_values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 data")
}
