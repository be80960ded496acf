//! What a classifier is trained to: the three losses of transformers' `problem_type`, and the size
//! of the first head.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData, activation};
use model::ConvNextV2ForImageClassification;

/// −Σ target · log softmax(logits), averaged over samples: one class each, labels mixed or smoothed.
pub fn soft_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let samples = logits.dims()[0] as f32;
    (targets * activation::log_softmax(logits, 1)).sum() / -samples
}

/// Binary cross-entropy of every class by itself, averaged over samples and classes: any number of
/// classes each (`BCEWithLogitsLoss`).
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    // max(x, 0) − x·t + log(1 + e^−|x|), which neither overflows nor cancels.
    let log = (logits.clone().abs().neg().exp() + 1.0).log();
    (activation::relu(logits.clone()) - logits * targets + log).mean()
}

/// Mean squared error: numbers to be predicted.
pub fn mean_squared_error(predictions: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    (predictions - targets).square().mean()
}

/// Multiplies the weights of a fresh head by a factor: a head near zero lets the first updates leave
/// the encoder alone (0.001 in the official recipe).
pub fn scale_head(
    mut network: ConvNextV2ForImageClassification,
    factor: f64,
) -> ConvNextV2ForImageClassification {
    fn scaled<const D: usize>(param: Param<Tensor<D>>, factor: f64) -> Param<Tensor<D>> {
        param.map(|values| {
            // A product would not be a leaf of the graph any more.
            let (device, tracked) = (values.device(), values.is_require_grad());
            let data = values.into_data();
            let scaled: Vec<f32> = data.iter::<f32>().map(|v| (f64::from(v) * factor) as f32).collect();
            Tensor::from_data(TensorData::new(scaled, data.shape().clone()), &device)
                .set_require_grad(tracked)
        })
    }
    if let Some(head) = &mut network.head {
        head.weight = scaled(head.weight.clone(), factor);
        head.bias = scaled(head.bias.clone(), factor);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tensor(values: [f32; 6]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 3]), &Device::flex())
    }

    const LOGITS: [f32; 6] = [0.5, -1.0, 2.0, 80.0, -90.0, 0.0];
    const TARGETS: [f32; 6] = [0.2, 0.0, 0.8, 1.0, 0.0, 0.5];

    fn close(found: Tensor<1>, expected: f64) {
        let found = f64::from(found.into_scalar::<f32>());
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }

    #[test]
    fn losses_equal_their_definitions() {
        let wide = |v: [f32; 6]| v.map(f64::from);
        let (x, t) = (wide(LOGITS), wide(TARGETS));
        let mut soft = 0.0;
        for (x, t) in x.chunks(3).zip(t.chunks(3)) {
            let sum: f64 = x.iter().map(|v| (v - x[0].max(x[2])).exp()).sum();
            let norm = sum.ln() + x[0].max(x[2]);
            soft -= x.iter().zip(t).map(|(x, t)| t * (x - norm)).sum::<f64>() / 2.0;
        }
        close(soft_cross_entropy(tensor(LOGITS), tensor(TARGETS)), soft);
        let binary: f64 = x.iter().zip(&t).map(|(x, t)| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p()).sum();
        close(binary_cross_entropy(tensor(LOGITS), tensor(TARGETS)), binary / 6.0);
        let squares: f64 = x.iter().zip(&t).map(|(x, t)| (x - t).powi(2)).sum();
        close(mean_squared_error(tensor(LOGITS), tensor(TARGETS)), squares / 6.0);
    }
}
