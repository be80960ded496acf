//! The weights of a block, as fused operations take them.

use burn::tensor::Tensor;

/// The weights of a block.
pub(crate) struct BlockWeights {
    /// `[C, 1, 7, 7]`.
    pub(crate) dwconv: Tensor<4>,
    /// `[C]`.
    pub(crate) dwconv_bias: Tensor<1>,
    /// `[C]`.
    pub(crate) norm: Tensor<1>,
    /// `[C]`.
    pub(crate) norm_bias: Tensor<1>,
    /// `[4C, C]`.
    pub(crate) pwconv1: Tensor<2>,
    /// `[4C]`.
    pub(crate) pwconv1_bias: Tensor<1>,
    /// `[1, 1, 1, 4C]`.
    pub(crate) gamma: Tensor<4>,
    /// `[1, 1, 1, 4C]`.
    pub(crate) beta: Tensor<4>,
    /// `[C, 4C]`.
    pub(crate) pwconv2: Tensor<2>,
    /// `[C]`.
    pub(crate) pwconv2_bias: Tensor<1>,
}

/// The type of a block's arguments: input and weights, and what else there is to know.
macro_rules! block_args {
    ($Args:ident, $Spec:ty) => {
        /// Input and weights of a block, and what else there is to know.
        #[derive(ExtensionType)]
        pub(crate) struct $Args<B: Backend> {
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
            spec: Arc<$Spec>,
        }

        impl<B: Backend> $Args<B> {
            /// Tensors in the order of the fields.
            fn into_parts(self) -> ([FloatTensor<B>; 11], Arc<$Spec>) {
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
                (tensors, self.spec)
            }
        }

        impl $Args<Dispatch> {
            fn new(x: Tensor<3>, weights: $crate::block_weights::BlockWeights, spec: $Spec) -> Self {
                Self {
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
                    spec: Arc::new(spec),
                }
            }
        }
    };
}
pub(crate) use block_args;
