//! LayerNorm on tokens, in f32.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use host::libtorch::aten::layer_norm_backward;

use super::gradient;
use crate::nodes::Operation;

/// LayerNorm over the last dimension; input, weight and bias.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f64,
}

impl Operation<LibTorch, 3> for LayerNorm {
    /// Mean and reciprocal deviation.
    type Saved = [TchTensor; 2];

    fn forward(&self, [x, weight, bias]: &[TchTensor; 3]) -> (TchTensor, Self::Saved) {
        let channels = weight.tensor.size();
        let (y, mean, deviation) =
            x.tensor.native_layer_norm(channels, Some(&weight.tensor), Some(&bias.tensor), self.epsilon);
        (TchTensor::new(y), [mean, deviation].map(TchTensor::new))
    }

    fn backward(
        &self,
        inputs: &[TchTensor; 3],
        saved: &Self::Saved,
        dy: TchTensor,
        _wanted: [bool; 3],
    ) -> [Option<TchTensor>; 3] {
        let [x, weight, bias] = inputs.each_ref().map(|tensor| &tensor.tensor);
        let stats = saved.each_ref().map(|tensor| &tensor.tensor);
        gradient::all(inputs, layer_norm_backward(&dy.tensor, x, stats, [weight, bias]))
    }
}
