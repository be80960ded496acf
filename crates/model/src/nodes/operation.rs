//! Operations with a handwritten backward pass, and their node in Burn's autodiff.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use host::HostBackend;
use host::gradient::written;

/// An operation on N tensors of a backend.
pub(crate) trait Operation<B: HostBackend, const N: usize>: Debug + Send + Sync + 'static {
    /// What the forward pass leaves for the backward pass, besides its inputs.
    type Saved: Debug + Send + Sync + 'static;

    /// The result, where there is no backward pass.
    fn infer(&self, inputs: &[FloatTensor<B>; N]) -> FloatTensor<B> {
        self.forward(inputs).0
    }

    /// The result, and what the backward pass needs.
    fn forward(&self, inputs: &[FloatTensor<B>; N]) -> (FloatTensor<B>, Self::Saved);

    /// What the forward pass left, computed again.
    fn save(&self, inputs: &[FloatTensor<B>; N]) -> Self::Saved {
        self.forward(inputs).1
    }

    /// Gradients of those inputs that are `wanted`, contiguous and shaped as these; others may be left out.
    fn backward(
        &self,
        inputs: &[FloatTensor<B>; N],
        saved: &Self::Saved,
        dy: FloatTensor<B>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

/// Applies an operation to tensors without autodiff.
pub(super) fn apply<B: HostBackend, const N: usize>(
    inputs: [FloatTensor<B>; N],
    operation: &impl Operation<B, N>,
) -> FloatTensor<B> {
    operation.infer(&inputs.map(B::contiguous))
}

/// Applies an operation to tensors with autodiff. With `recompute` nothing is kept for the backward pass but
/// the inputs; the rest is computed again then.
pub(super) fn apply_tracked<B, C, O, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    operation: Arc<O>,
    recompute: bool,
) -> FloatTensor<Autodiff<B, C>>
where
    B: HostBackend,
    C: CheckpointStrategy,
    O: Operation<B, N>,
{
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let inputs = inputs.map(|tensor| B::contiguous(tensor.into_primitive()));
    let node = Node(PhantomData::<O>);
    match Backward::<B, N>::prepare::<C>(node, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (y, saved) = operation.forward(&inputs);
            let saved = (!recompute).then(|| Arc::new(saved));
            prep.finish(State { inputs, operation, saved }, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.infer(&inputs)),
    }
}

/// The node of an operation.
#[derive(Debug)]
struct Node<O>(PhantomData<O>);

/// What a node keeps for the backward pass.
#[derive(Debug)]
struct State<T, O, S, const N: usize> {
    inputs: [T; N],
    operation: Arc<O>,
    /// None where it is computed again.
    saved: Option<Arc<S>>,
}

impl<T: Clone, O, S, const N: usize> Clone for State<T, O, S, N> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), operation: self.operation.clone(), saved: self.saved.clone() }
    }
}

impl<B: HostBackend, O: Operation<B, N>, const N: usize> Backward<B, N> for Node<O> {
    type State = State<FloatTensor<B>, O, O::Saved, N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = B::contiguous(gradients.consume::<B>(&ops.node));
        let State { inputs, operation, saved } = ops.state;
        let saved = saved.unwrap_or_else(|| Arc::new(operation.save(&inputs)));
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        let wanted = parents.each_ref().map(Option::is_some);
        let values = operation.backward(&inputs, &saved, dy, wanted);
        register::<B, N>(parents, &inputs, values, gradients);
    }
}

/// Registers the gradients of those parents that want one, and tells who listens.
///
/// Optimizers and sums over processes work on memory as it lies, so a gradient lies as its parent does.
fn register<B: HostBackend, const N: usize>(
    parents: [Option<NodeId>; N],
    inputs: &[FloatTensor<B>; N],
    values: [Option<FloatTensor<B>>; N],
    gradients: &mut Gradients,
) {
    for ((parent, input), value) in parents.into_iter().zip(inputs).zip(values) {
        let Some(id) = parent else { continue };
        let value = value.expect("every parent that wants a gradient gets one");
        assert!(B::is_contiguous(&value), "a gradient without gaps, row by row");
        assert_eq!(value.shape(), input.shape(), "a gradient in the shape of its parent");
        written::<B>(id, &value);
        gradients.register::<B>(id, value);
    }
}
