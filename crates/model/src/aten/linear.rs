//! A linear layer on tokens.

use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::block::linear_backward;

/// x `[…, in]`, weight `[out, in]`, bias `[out]` → `[…, out]` in f32.
pub(super) fn forward(t: &[TchTensor; 3], kind: Kind) -> Tensor {
    let [x, weight, bias] = t.each_ref().map(|tensor| tensor.tensor.to_kind(kind));
    x.linear(&weight, Some(&bias)).to_kind(Kind::Float)
}

/// Gradients of x, weight and bias. x is cast again: that is cheaper than to keep it twice.
pub(super) fn backward(t: &[TchTensor; 3], kind: Kind, dy: &Tensor) -> [Tensor; 3] {
    let [x, weight, _] = t.each_ref().map(|tensor| tensor.tensor.to_kind(kind));
    let rows = |tensor: &Tensor| tensor.reshape([-1, *tensor.size().last().expect("a dimension")]);
    let (dx, [d_weight, d_bias]) = linear_backward(&rows(&dy.to_kind(kind)), &rows(&x), &weight);
    [dx, d_weight, d_bias]
}
