//! Our kernels as operations of Burn's autodiff: the fused block, the convolution without overlap,
//! and LayerNorm. They work on the memory of Flex and of libtorch on the CPU.

#![cfg_attr(feature = "tch", allow(deprecated, reason = "Burn 0.22 is the last with libtorch, and pinned"))]

use std::sync::Arc;

#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use host::HostBackend;
use host::gradient::written;
use kernels::block::{self as block_kernel, Batch, Saved, Weights};
use kernels::strided_conv::{self, Windows};
use kernels::{Arch, layer_norm};

use crate::block_weights::{BlockWeights, block_args};

block_args!(BlockArgs, Batch);

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
#[backend_extension(Flex, LibTorch: cfg(feature = "tch"), Autodiff)]
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
pub(crate) fn block(x: Tensor<3>, weights: BlockWeights, batch: Batch) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as KernelBackend>::block(BlockArgs::new(x, weights, batch)))
}

fn weights<B: HostBackend>(t: &[FloatTensor<B>; 11]) -> Weights<'_> {
    Weights {
        dwconv: B::values(&t[1]),
        dwconv_bias: B::values(&t[2]),
        norm: B::values(&t[3]),
        norm_bias: B::values(&t[4]),
        pwconv1: B::values(&t[5]),
        pwconv1_bias: B::values(&t[6]),
        gamma: B::values(&t[7]),
        beta: B::values(&t[8]),
        pwconv2: B::values(&t[9]),
        pwconv2_bias: B::values(&t[10]),
    }
}

fn output<B: HostBackend>(values: Vec<f32>, batch: &Batch, x: &FloatTensor<B>) -> FloatTensor<B> {
    let channels = x.shape()[2];
    B::tensor(values, [batch.samples, batch.tokens_out(), channels])
}

fn infer_block<B: HostBackend>(batch: &Batch, t: &[FloatTensor<B>; 11]) -> FloatTensor<B> {
    let y = block_kernel::infer(Arch::new(), batch, &weights::<B>(t), B::values(&t[0]));
    output::<B>(y, batch, &t[0])
}

fn strided_conv_forward<B: HostBackend>(
    [x, weight, bias]: &[FloatTensor<B>; 3],
    windows: &Windows,
) -> FloatTensor<B> {
    let y = strided_conv::forward(windows, B::values(x), B::values(weight), B::values(bias));
    B::tensor(y, [windows.samples, windows.rows(), bias.shape()[0]])
}

fn layer_norm_forward<B: HostBackend>(
    [x, weight, bias]: &[FloatTensor<B>; 3],
    epsilon: f64,
) -> (FloatTensor<B>, layer_norm::Saved) {
    let [values, weight, bias] = [x, weight, bias].map(B::values);
    let (y, saved) = layer_norm::layer(Arch::new(), values, weight, bias, epsilon as f32);
    (B::tensor(y, x.shape()), saved)
}

/// The operations of a backend without autodiff.
macro_rules! without_autodiff {
    ($Backend:ty) => {
        impl KernelBackend for $Backend {
            fn block(args: BlockArgs<Self>) -> FloatTensor<Self> {
                let (tensors, batch) = args.into_parts();
                infer_block::<Self>(&batch, &tensors.map(Self::contiguous))
            }

            fn strided_conv(args: StridedConvArgs<Self>) -> FloatTensor<Self> {
                let t = [args.x, args.weight, args.bias].map(Self::contiguous);
                strided_conv_forward::<Self>(&t, &args.windows)
            }

            fn layer_norm(args: LayerNormArgs<Self>) -> FloatTensor<Self> {
                let t = [args.x, args.weight, args.bias].map(Self::contiguous);
                layer_norm_forward::<Self>(&t, args.epsilon).0
            }
        }
    };
}

without_autodiff!(Flex);
#[cfg(feature = "tch")]
without_autodiff!(LibTorch);

#[derive(Debug)]
struct BlockBackward;

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
struct State<T> {
    tensors: [T; 11],
    saved: Arc<Saved>,
    batch: Arc<Batch>,
}

impl<B: HostBackend, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
    fn block(args: BlockArgs<Self>) -> FloatTensor<Self> {
        let (tensors, batch) = args.into_parts();
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| B::contiguous(tensor.into_primitive()));
        match Backward::<B, 11>::prepare::<C>(BlockBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, saved) =
                    block_kernel::forward(Arch::new(), &batch, &weights::<B>(&t), B::values(&t[0]));
                let y = output::<B>(y, &batch, &t[0]);
                prep.finish(State { tensors: t, saved: Arc::new(saved), batch }, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(infer_block::<B>(&batch, &t)),
        }
    }

    fn strided_conv(args: StridedConvArgs<Self>) -> FloatTensor<Self> {
        let (tensors, windows) = ([args.x, args.weight, args.bias], args.windows);
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| B::contiguous(tensor.into_primitive()));
        let y = strided_conv_forward::<B>(&t, &windows);
        match Backward::<B, 3>::prepare::<C>(StridedConvBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, windows), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn layer_norm(args: LayerNormArgs<Self>) -> FloatTensor<Self> {
        let tensors = [args.x, args.weight, args.bias];
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| B::contiguous(tensor.into_primitive()));
        let (y, saved) = layer_norm_forward::<B>(&t, args.epsilon);
        match Backward::<B, 3>::prepare::<C>(LayerNormBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, Arc::new(saved)), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Registers the gradients of those parents that want one.
fn register<B: HostBackend, const N: usize>(
    parents: [Option<NodeId>; N],
    tensors: &[FloatTensor<B>; N],
    values: impl IntoIterator<Item = Option<Vec<f32>>>,
    gradients: &mut Gradients,
) {
    for ((parent, tensor), values) in parents.into_iter().zip(tensors).zip(values) {
        if let (Some(id), Some(values)) = (parent, values) {
            let gradient = B::tensor(values, tensor.shape());
            written::<B>(id, &gradient);
            gradients.register::<B>(id, gradient);
        }
    }
}

#[derive(Debug)]
struct StridedConvBackward;

impl<B: HostBackend> Backward<B, 3> for StridedConvBackward {
    type State = ([FloatTensor<B>; 3], Arc<Windows>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = B::contiguous(gradients.consume::<B>(&ops.node));
        let (tensors, windows) = &ops.state;
        let [x, weight, bias] = tensors;
        let (wants_dx, outputs) = (ops.parents[0].is_some(), bias.shape()[0]);
        let [x, weight, dy] = [x, weight, &dy].map(B::values);
        let (dx, dw, db) = strided_conv::backward(windows, x, weight, dy, outputs, wants_dx);
        register::<B, 3>(
            ops.parents.map(|parent| parent.map(|node| node.id)),
            tensors,
            [dx, Some(dw), Some(db)],
            gradients,
        );
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl<B: HostBackend> Backward<B, 3> for LayerNormBackward {
    type State = ([FloatTensor<B>; 3], Arc<layer_norm::Saved>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = B::contiguous(gradients.consume::<B>(&ops.node));
        let (tensors, saved) = &ops.state;
        let values = layer_norm::layer_backward(Arch::new(), saved, B::values(&tensors[1]), B::values(&dy));
        register::<B, 3>(
            ops.parents.map(|parent| parent.map(|node| node.id)),
            tensors,
            values.map(Some),
            gradients,
        );
    }
}

impl<B: HostBackend> Backward<B, 11> for BlockBackward {
    type State = State<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 11>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = B::contiguous(gradients.consume::<B>(&ops.node));
        let State { tensors: t, saved, batch } = &ops.state;
        let (x, dy) = (B::values(&t[0]), B::values(&dy));
        let (dx, dw) = block_kernel::backward(Arch::new(), batch, &weights::<B>(t), x, saved, dy);
        register::<B, 11>(
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
