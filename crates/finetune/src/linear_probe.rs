//! Judging features by the best linear classifier on them.

use burn::module::Module;
use burn::optim::{GradientsParams, LBFGSConfig, LineSearchFn};
use burn::tensor::{Device, Tensor, TensorData};
use model::linear::Linear;

use crate::knn::Features;
use crate::problem::ProblemType;
use crate::tally::Tally;

/// Steps of the optimizer, each with a line search; it ends sooner where nothing improves any more.
const ITERATIONS: usize = 200;

/// Multinomial logistic regression on features that are brought to mean 0 and variance 1 over the
/// training images, as a batch norm without weights does (arXiv:2111.06377, appendix A.1). The fit
/// minimises the mean cross-entropy + `l2`/2 · Σ W², which has one minimum, by L-BFGS.
pub fn linear_probe(training: Features, test: Features, classes: usize, l2: f64, device: &Device) -> Tally {
    let width = training.values.len() / training.labels.len().max(1);
    let scale = Standardize::of(training.values, width);
    let inner = device.clone().inner();
    let features = |features: Features, device: &Device| {
        let shape = [features.labels.len(), width];
        Tensor::<2>::from_data(TensorData::new(scale.apply(features.values), shape), device)
    };
    let linear = fit(features(training, device), training.labels, classes, l2);
    let logits = linear.valid().forward(features(test, &inner));
    let mut tally = Tally::new(classes);
    tally.add(&logits.into_data().iter::<f32>().collect::<Vec<_>>(), test.labels);
    tally
}

/// The minimum, from zeros.
fn fit(features: Tensor<2>, labels: &[u32], classes: usize, l2: f64) -> Linear {
    let device = features.device();
    let one_hot = labels.iter().flat_map(|label| (0..classes as u32).map(move |c| f32::from(c == *label)));
    let targets = TensorData::new(one_hot.collect::<Vec<f32>>(), [labels.len(), classes]);
    let targets = Tensor::<2>::from_data(targets, &device);
    let loss = |linear: Linear| {
        let logits = linear.forward(features.clone());
        let data = ProblemType::SingleLabelClassification.loss(logits, targets.clone());
        let loss = data + linear.weight.val().square().sum() * (l2 / 2.0);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        (value, GradientsParams::from_grads(loss.backward(), &linear))
    };
    let config = LBFGSConfig::new().with_max_iter(ITERATIONS).with_max_eval(Some(4 * ITERATIONS));
    let mut optimizer =
        config.with_tolerance_grad(1e-6).with_line_search_fn(LineSearchFn::StrongWolfe).init();
    let zeros = Linear::zeros(features.dims()[1], classes, &device);
    optimizer.step(1.0, zeros, loss).0
}

/// Mean and factor of every feature.
struct Standardize(Vec<(f64, f64)>);

impl Standardize {
    fn of(values: &[f32], width: usize) -> Self {
        let rows = (values.len() / width.max(1)) as f64;
        let column = |c: usize| values.iter().skip(c).step_by(width).map(|v| f64::from(*v));
        let moments = |c: usize| {
            let mean = column(c).sum::<f64>() / rows;
            let variance = column(c).map(|v| (v - mean).powi(2)).sum::<f64>() / rows;
            (mean, 1.0 / (variance + 1e-6).sqrt())
        };
        Self((0..width).map(moments).collect())
    }

    fn apply(&self, values: &[f32]) -> Vec<f32> {
        let scaled = |(v, (mean, factor)): (&f32, &(f64, f64))| ((f64::from(*v) - mean) * factor) as f32;
        values.iter().zip(self.0.iter().cycle()).map(scaled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds on a line that cosine similarity cannot tell apart, and a feature of noise.
    fn clouds(count: usize, phase: f32) -> (Vec<f32>, Vec<u32>) {
        let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
        let noise = |i: usize, k: f32| (i as f32 * k + phase).sin();
        let values = labels
            .iter()
            .enumerate()
            .flat_map(|(i, label)| [100.0 + *label as f32 + 0.3 * noise(i, 1.7), noise(i, 2.3), 5.0]);
        (values.collect(), labels)
    }

    #[test]
    fn classes_on_a_line_are_told_apart_whatever_the_scale() {
        let ((known, known_labels), (asked, asked_labels)) = (clouds(300, 0.0), clouds(90, 0.5));
        let training = Features { values: &known, labels: &known_labels };
        let test = Features { values: &asked, labels: &asked_labels };
        let device = Device::flex().autodiff();
        let tally = linear_probe(training, test, 3, 1e-4, &device);
        assert_eq!((tally.top1, tally.images), (90, 90));
        // All weights decayed away, every class is as likely.
        let none = linear_probe(training, test, 3, 1e6, &device);
        assert!((none.loss() - 3f64.ln()).abs() < 1e-3, "{}", none.loss());
    }

    #[test]
    fn the_fit_is_a_minimum() {
        let (values, labels) = clouds(60, 0.0);
        let device = Device::flex().autodiff();
        let scaled = Standardize::of(&values, 3).apply(&values);
        let features = Tensor::<2>::from_data(TensorData::new(scaled.clone(), [60, 3]), &device);
        let linear = fit(features, &labels, 3, 0.01);
        let weight: Vec<f32> = linear.weight.val().into_data().iter().collect();
        let bias: Vec<f32> = linear.bias.val().into_data().iter().collect();
        // Its gradient by hand: (p − y)ᵀ x / n + l2 · W.
        let mut gradient: Vec<f64> = weight.iter().map(|w| 0.01 * f64::from(*w)).collect();
        for (x, label) in scaled.chunks(3).zip(&labels) {
            let logit = |c: usize| (0..3).map(|i| weight[3 * c + i] * x[i]).sum::<f32>() + bias[c];
            let e: Vec<f64> = (0..3).map(|c| f64::from(logit(c)).exp()).collect();
            for (c, row) in gradient.chunks_mut(3).enumerate() {
                let error = e[c] / e.iter().sum::<f64>() - f64::from(u8::from(*label == c as u32));
                row.iter_mut().zip(x).for_each(|(g, x)| *g += error * f64::from(*x) / 60.0);
            }
        }
        assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{gradient:?}");
    }
}
