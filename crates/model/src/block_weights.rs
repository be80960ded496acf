//! The weights of a block, as the operation of a block takes them.

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
