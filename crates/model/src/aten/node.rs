//! The operations of this folder as nodes of Burn's autodiff.

use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::libtorch::TchTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, LibTorch, backend_extension};
use burn::tensor::Tensor;
use host::HostBackend;
use host::gradient::written;
use host::libtorch::aten::layer_norm_backward;
use tch::{Kind, Tensor as Raw};

use super::block::{self as block_pass, Saved, Spec};
use super::linear as linear_pass;
use crate::block_weights::{BlockWeights, block_args};

block_args!(AtenBlockArgs, Spec);

/// Input, weight and bias of a linear layer.
#[derive(ExtensionType)]
pub(crate) struct LinearArgs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    kind: Kind,
}

/// Input, weight and bias of a LayerNorm.
#[derive(ExtensionType)]
pub(crate) struct AtenNormArgs<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    epsilon: f64,
}

/// Libtorch, with and without autodiff.
#[backend_extension(LibTorch, Autodiff)]
pub(crate) trait AtenBackend: Backend {
    fn aten_block(#[extension_type] args: AtenBlockArgs<Self>) -> FloatTensor<Self>;
    fn aten_linear(#[extension_type] args: LinearArgs<Self>) -> FloatTensor<Self>;
    fn aten_layer_norm(#[extension_type] args: AtenNormArgs<Self>) -> FloatTensor<Self>;
}

/// Tokens `[N, T, C]` through a block.
pub(crate) fn block(x: Tensor<3>, weights: BlockWeights, spec: Spec) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as AtenBackend>::aten_block(AtenBlockArgs::new(x, weights, spec)))
}

/// `[…, in]` → `[…, out]` by a weight `[out, in]`.
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>, kind: Kind) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as AtenBackend>::aten_linear(LinearArgs {
        x: x.into_dispatch(),
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        kind,
    }))
}

/// LayerNorm over the last dimension.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as AtenBackend>::aten_layer_norm(AtenNormArgs {
        x: x.into_dispatch(),
        weight: weight.into_dispatch(),
        bias: bias.into_dispatch(),
        epsilon,
    }))
}

/// Result, mean and deviation.
fn norm_forward([x, weight, bias]: &[TchTensor; 3], epsilon: f64) -> [Raw; 3] {
    let channels = weight.tensor.size();
    let (y, mean, deviation) =
        x.tensor.native_layer_norm(channels, Some(&weight.tensor), Some(&bias.tensor), epsilon);
    [y, mean, deviation]
}

impl AtenBackend for LibTorch {
    fn aten_block(args: AtenBlockArgs<Self>) -> TchTensor {
        let (tensors, spec) = args.into_parts();
        TchTensor::new(block_pass::forward(&tensors, &spec).0)
    }

    fn aten_linear(args: LinearArgs<Self>) -> TchTensor {
        TchTensor::new(linear_pass::forward(&[args.x, args.weight, args.bias], args.kind))
    }

    fn aten_layer_norm(args: AtenNormArgs<Self>) -> TchTensor {
        let [y, ..] = norm_forward(&[args.x, args.weight, args.bias], args.epsilon);
        TchTensor::new(y)
    }
}

impl<C: CheckpointStrategy> AtenBackend for Autodiff<LibTorch, C> {
    fn aten_block(args: AtenBlockArgs<Self>) -> FloatTensor<Self> {
        let (tensors, spec) = args.into_parts();
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive());
        let (y, saved) = block_pass::forward(&t, &spec);
        match BlockBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish(State { tensors: t, saved: Arc::new(saved), spec }, TchTensor::new(y))
            }
            OpsKind::UnTracked(prep) => prep.finish(TchTensor::new(y)),
        }
    }

    fn aten_linear(args: LinearArgs<Self>) -> FloatTensor<Self> {
        let (tensors, kind) = ([args.x, args.weight, args.bias], args.kind);
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive());
        let y = TchTensor::new(linear_pass::forward(&t, kind));
        match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, kind), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn aten_layer_norm(args: AtenNormArgs<Self>) -> FloatTensor<Self> {
        let tensors = [args.x, args.weight, args.bias];
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let t = tensors.map(|tensor| tensor.into_primitive());
        let [y, mean, deviation] = norm_forward(&t, args.epsilon).map(TchTensor::new);
        match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((t, [mean, deviation]), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Registers the gradients of those parents that want one, in f32 and in the parent's shape.
fn register<const N: usize>(
    parents: [Option<NodeId>; N],
    tensors: &[TchTensor; N],
    values: [Raw; N],
    gradients: &mut Gradients,
) {
    for ((parent, tensor), value) in parents.into_iter().zip(tensors).zip(values) {
        if let Some(id) = parent {
            let value = value.to_kind(Kind::Float).reshape(tensor.tensor.size());
            let value = LibTorch::contiguous(TchTensor::new(value));
            written::<LibTorch>(id, &value);
            gradients.register::<LibTorch>(id, value);
        }
    }
}

#[derive(Debug)]
struct BlockBackward;

#[derive(Debug, Clone)]
struct State {
    tensors: [TchTensor; 11],
    saved: Arc<Saved>,
    spec: Arc<Spec>,
}

impl Backward<LibTorch, 11> for BlockBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 11>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<LibTorch>(&ops.node);
        let State { tensors, saved, spec } = &ops.state;
        let values = block_pass::backward(tensors, spec, saved, &dy.tensor);
        register(ops.parents.map(|parent| parent.map(|node| node.id)), tensors, values, gradients);
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<LibTorch, 3> for LinearBackward {
    type State = ([TchTensor; 3], Kind);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<LibTorch>(&ops.node);
        let (tensors, kind) = &ops.state;
        let values = linear_pass::backward(tensors, *kind, &dy.tensor);
        register(ops.parents.map(|parent| parent.map(|node| node.id)), tensors, values, gradients);
    }
}

#[derive(Debug)]
struct NormBackward;

impl Backward<LibTorch, 3> for NormBackward {
    type State = ([TchTensor; 3], [TchTensor; 2]);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<LibTorch>(&ops.node);
        let (tensors, stats) = &ops.state;
        let ([x, weight, bias], [mean, deviation]) =
            (tensors.each_ref().map(|t| &t.tensor), stats.each_ref().map(|t| &t.tensor));
        let values = layer_norm_backward(&dy.tensor, x, [mean, deviation], [weight, bias]);
        register(ops.parents.map(|parent| parent.map(|node| node.id)), tensors, values, gradients);
    }
}
