//! An operation that one of two engines computes.

use burn::backend::Flex;
#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::tensor::FloatTensor;
use host::HostBackend;

use super::operation::Operation;

/// An operation of our kernels, on slices, or one of ATen.
#[derive(Debug)]
pub(crate) enum Either<S, A> {
    Slices(S),
    Aten(A),
}

/// An operation that an engine does not have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Never {}

impl<B: HostBackend, const N: usize> Operation<B, N> for Never {
    type Saved = Never;

    fn forward(&self, _: &[FloatTensor<B>; N]) -> (FloatTensor<B>, Self) {
        match *self {}
    }

    fn backward(
        &self,
        _: &[FloatTensor<B>; N],
        _: &Self,
        _: FloatTensor<B>,
        _: [bool; N],
    ) -> [Option<FloatTensor<B>>; N] {
        match *self {}
    }
}

impl<S, A> Either<S, A> {
    /// Our kernels' operation: all that tensors of Flex can have.
    fn slices(&self) -> &S {
        match self {
            Self::Slices(operation) => operation,
            Self::Aten(_) => unreachable!("an engine of libtorch is chosen for its devices alone"),
        }
    }
}

impl<S, A, const N: usize> Operation<Flex, N> for Either<S, A>
where
    S: Operation<Flex, N>,
    A: std::fmt::Debug + Send + Sync + 'static,
{
    type Saved = S::Saved;

    fn infer(&self, inputs: &[FloatTensor<Flex>; N]) -> FloatTensor<Flex> {
        self.slices().infer(inputs)
    }

    fn forward(&self, inputs: &[FloatTensor<Flex>; N]) -> (FloatTensor<Flex>, Self::Saved) {
        self.slices().forward(inputs)
    }

    fn save(&self, inputs: &[FloatTensor<Flex>; N]) -> Self::Saved {
        self.slices().save(inputs)
    }

    fn backward(
        &self,
        inputs: &[FloatTensor<Flex>; N],
        saved: &Self::Saved,
        dy: FloatTensor<Flex>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<Flex>>; N] {
        self.slices().backward(inputs, saved, dy, wanted)
    }
}

#[cfg(feature = "tch")]
impl<S, A, const N: usize> Operation<LibTorch, N> for Either<S, A>
where
    S: Operation<LibTorch, N>,
    A: Operation<LibTorch, N>,
{
    type Saved = Either<S::Saved, A::Saved>;

    fn infer(&self, inputs: &[FloatTensor<LibTorch>; N]) -> FloatTensor<LibTorch> {
        match self {
            Self::Slices(operation) => operation.infer(inputs),
            Self::Aten(operation) => operation.infer(inputs),
        }
    }

    fn forward(&self, inputs: &[FloatTensor<LibTorch>; N]) -> (FloatTensor<LibTorch>, Self::Saved) {
        match self {
            Self::Slices(operation) => {
                let (y, saved) = operation.forward(inputs);
                (y, Either::Slices(saved))
            }
            Self::Aten(operation) => {
                let (y, saved) = operation.forward(inputs);
                (y, Either::Aten(saved))
            }
        }
    }

    fn save(&self, inputs: &[FloatTensor<LibTorch>; N]) -> Self::Saved {
        match self {
            Self::Slices(operation) => Either::Slices(operation.save(inputs)),
            Self::Aten(operation) => Either::Aten(operation.save(inputs)),
        }
    }

    fn backward(
        &self,
        inputs: &[FloatTensor<LibTorch>; N],
        saved: &Self::Saved,
        dy: FloatTensor<LibTorch>,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<LibTorch>>; N] {
        match (self, saved) {
            (Self::Slices(operation), Either::Slices(saved)) => operation.backward(inputs, saved, dy, wanted),
            (Self::Aten(operation), Either::Aten(saved)) => operation.backward(inputs, saved, dy, wanted),
            _ => unreachable!("an operation saves for itself"),
        }
    }
}
