//! The operations of the network that are bound to Burn's autodiff as one node each: the block, the
//! convolution without overlap, LayerNorm and the linear layer. What computes them is part of the operation.

#![cfg_attr(feature = "tch", allow(deprecated, reason = "Burn 0.22 is the last with libtorch, and pinned"))]

mod either;
mod operation;
pub(crate) mod slices;

use std::sync::Arc;

#[cfg(feature = "tch")]
use burn::backend::LibTorch;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;
use host::HostBackend;

use crate::aten;
use crate::block_weights::BlockWeights;
pub(crate) use either::{Either, Never};
pub(crate) use operation::Operation;
use operation::{apply, apply_tracked};

/// A block of either engine.
pub(crate) type Block = Either<slices::Block, aten::Block>;
/// A convolution without overlap of either engine.
pub(crate) type StridedConv = Either<slices::StridedConv, aten::StridedConv>;
/// A LayerNorm of either engine.
pub(crate) type LayerNorm = Either<slices::LayerNorm, aten::LayerNorm>;
/// A linear layer of ATen; our kernels have it as part of others only.
pub(crate) type Linear = Either<Never, aten::Linear>;

/// Input and weights of a block, in the order of [`BlockWeights`].
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
    operation: Arc<Block>,
    recompute: bool,
}

impl<B: Backend> BlockArgs<B> {
    /// Tensors in the order of the fields.
    fn into_parts(self) -> ([FloatTensor<B>; 11], Arc<Block>, bool) {
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
        (tensors, self.operation, self.recompute)
    }
}

/// The arguments of a layer with a weight and a bias.
macro_rules! layer_args {
    ($Args:ident, $Operation:ty) => {
        /// Input, weight and bias of a layer.
        #[derive(ExtensionType)]
        pub(crate) struct $Args<B: Backend> {
            x: FloatTensor<B>,
            weight: FloatTensor<B>,
            bias: FloatTensor<B>,
            operation: Arc<$Operation>,
        }

        impl<B: Backend> $Args<B> {
            fn into_parts(self) -> ([FloatTensor<B>; 3], Arc<$Operation>) {
                ([self.x, self.weight, self.bias], self.operation)
            }
        }

        impl $Args<Dispatch> {
            fn new<const X: usize, const W: usize>(
                x: Tensor<X>,
                weight: Tensor<W>,
                bias: Tensor<1>,
                operation: $Operation,
            ) -> Self {
                Self {
                    x: x.into_dispatch(),
                    weight: weight.into_dispatch(),
                    bias: bias.into_dispatch(),
                    operation: Arc::new(operation),
                }
            }
        }
    };
}

layer_args!(StridedConvArgs, StridedConv);
layer_args!(LayerNormArgs, LayerNorm);
layer_args!(LinearArgs, Linear);

/// Backends that compute them, with and without autodiff.
#[backend_extension(Flex, LibTorch: cfg(feature = "tch"), Autodiff)]
pub(crate) trait NodeBackend: Backend {
    fn block(#[extension_type] args: BlockArgs<Self>) -> FloatTensor<Self>;
    fn strided_conv(#[extension_type] args: StridedConvArgs<Self>) -> FloatTensor<Self>;
    fn layer_norm(#[extension_type] args: LayerNormArgs<Self>) -> FloatTensor<Self>;
    fn linear(#[extension_type] args: LinearArgs<Self>) -> FloatTensor<Self>;
}

/// The operations of a backend without autodiff.
macro_rules! without_autodiff {
    ($Backend:ty) => {
        impl NodeBackend for $Backend {
            fn block(args: BlockArgs<Self>) -> FloatTensor<Self> {
                let (inputs, operation, _) = args.into_parts();
                apply::<Self, 11>(inputs, &*operation)
            }

            fn strided_conv(args: StridedConvArgs<Self>) -> FloatTensor<Self> {
                let (inputs, operation) = args.into_parts();
                apply::<Self, 3>(inputs, &*operation)
            }

            fn layer_norm(args: LayerNormArgs<Self>) -> FloatTensor<Self> {
                let (inputs, operation) = args.into_parts();
                apply::<Self, 3>(inputs, &*operation)
            }

            fn linear(args: LinearArgs<Self>) -> FloatTensor<Self> {
                let (inputs, operation) = args.into_parts();
                apply::<Self, 3>(inputs, &*operation)
            }
        }
    };
}

without_autodiff!(Flex);
#[cfg(feature = "tch")]
without_autodiff!(LibTorch);

impl<B: HostBackend, C: CheckpointStrategy> NodeBackend for Autodiff<B, C>
where
    Block: Operation<B, 11>,
    StridedConv: Operation<B, 3>,
    LayerNorm: Operation<B, 3>,
    Linear: Operation<B, 3>,
{
    fn block(args: BlockArgs<Self>) -> FloatTensor<Self> {
        let (inputs, operation, recompute) = args.into_parts();
        apply_tracked::<B, C, _, 11>(inputs, operation, recompute)
    }

    fn strided_conv(args: StridedConvArgs<Self>) -> FloatTensor<Self> {
        let (inputs, operation) = args.into_parts();
        apply_tracked::<B, C, _, 3>(inputs, operation, false)
    }

    fn layer_norm(args: LayerNormArgs<Self>) -> FloatTensor<Self> {
        let (inputs, operation) = args.into_parts();
        apply_tracked::<B, C, _, 3>(inputs, operation, false)
    }

    fn linear(args: LinearArgs<Self>) -> FloatTensor<Self> {
        let (inputs, operation) = args.into_parts();
        apply_tracked::<B, C, _, 3>(inputs, operation, false)
    }
}

/// Tokens `[N, T, C]` through a block, of which only the input is kept with `recompute`.
pub(crate) fn block(x: Tensor<3>, weights: BlockWeights, operation: Block, recompute: bool) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as NodeBackend>::block(BlockArgs {
        x: x.into_dispatch(),
        dwconv: weights.dwconv.into_dispatch(),
        dwconv_bias: weights.dwconv_bias.into_dispatch(),
        norm: weights.norm.into_dispatch(),
        norm_bias: weights.norm_bias.into_dispatch(),
        pwconv1: weights.pwconv1.into_dispatch(),
        pwconv1_bias: weights.pwconv1_bias.into_dispatch(),
        gamma: weights.gamma.into_dispatch(),
        beta: weights.beta.into_dispatch(),
        pwconv2: weights.pwconv2.into_dispatch(),
        pwconv2_bias: weights.pwconv2_bias.into_dispatch(),
        operation: Arc::new(operation),
        recompute,
    }))
}

/// Tokens or a map → `[N, T, out]`, window by window.
pub(crate) fn strided_conv<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    operation: StridedConv,
) -> Tensor<3> {
    let args = StridedConvArgs::new(x, weight, bias, operation);
    Tensor::from_dispatch(<Dispatch as NodeBackend>::strided_conv(args))
}

/// LayerNorm over the last dimension.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    operation: LayerNorm,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as NodeBackend>::layer_norm(LayerNormArgs::new(
        x, weight, bias, operation,
    )))
}

/// `[…, in]` → `[…, out]` by a weight `[out, in]`.
pub(crate) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    operation: Linear,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as NodeBackend>::linear(LinearArgs::new(x, weight, bias, operation)))
}
