//! A linear layer.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::gradient;
use crate::nodes::Operation;

/// x `[…, in]`, weight `[out, in]`, bias `[out]` → `[…, out]`, in f32.
#[derive(Debug)]
pub(crate) struct Linear;

impl Operation<LibTorch, 3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: &[TchTensor; 3]) -> (TchTensor, ()) {
        (TchTensor::new(x.tensor.linear(&weight.tensor, Some(&bias.tensor))), ())
    }

    fn backward(
        &self,
        inputs: &[TchTensor; 3],
        (): &(),
        dy: TchTensor,
        [wants_dx, ..]: [bool; 3],
    ) -> [Option<TchTensor>; 3] {
        let [x, weight, bias] = inputs;
        let dx = wants_dx.then(|| gradient::of(x, &dy.tensor.matmul(&weight.tensor)));
        let [d_weight, d_bias] = weight_gradients(&dy.tensor, &x.tensor);
        [dx, Some(gradient::of_weight(weight, &d_weight)), Some(gradient::of_weight(bias, &d_bias))]
    }
}

/// Gradients of weight, in the kind of its factors, and of bias, in f32, of a linear layer on rows of x.
pub(super) fn weight_gradients(dy: &Tensor, x: &Tensor) -> [Tensor; 2] {
    let rows: Vec<i64> = (0..dy.dim() as i64 - 1).collect();
    let d_bias = dy.sum_dim_intlist(rows.as_slice(), false, Kind::Float);
    [dy.tensordot(x, rows.as_slice(), rows.as_slice()), d_bias]
}
