//! Judging features by the best linear classifier on them.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, LBFGSConfig, LineSearchFn};
use burn::tensor::{Device, Tensor, TensorData};
use model::Compute;
use model::linear::Linear;
use trainer::health::{Features, Standardize};

use crate::problem::ProblemType;
use crate::tally::Tally;

/// Images that are worked on at a time.
const BLOCK: usize = 4096;
/// Steps of the optimizer, each with a line search; it ends sooner where nothing improves any more.
const ITERATIONS: usize = 200;

/// Multinomial logistic regression on features that are brought to mean 0 and variance 1 over the
/// training images, as a batch norm without weights does (arXiv:2111.06377, appendix A.1). The fit
/// minimises the mean cross-entropy + `l2`/2 · Σ W², which has one minimum, by L-BFGS. Beside the
/// features, memory is taken for a block of images and for the steps that L-BFGS remembers.
pub fn linear_probe(training: Features, test: Features, classes: usize, l2: f64, device: &Device) -> Tally {
    let width = training.values.len() / training.labels.len().max(1);
    let scale = Standardize::of(training.values, width);
    let linear = fit(training, &scale, classes, l2, device).valid();
    let mut tally = Tally::new(classes);
    for block in blocks(test, width) {
        let logits = linear.forward(tensor(&scale, block, &device.clone().inner()));
        tally.add(&logits.into_data().iter::<f32>().collect::<Vec<_>>(), block.labels);
    }
    tally
}

/// The images in parts that are worked on at a time.
fn blocks(features: Features<'_>, width: usize) -> impl Iterator<Item = Features<'_>> {
    let values = features.values.chunks(BLOCK * width.max(1));
    values.zip(features.labels.chunks(BLOCK)).map(|(values, labels)| Features { values, labels })
}

/// The minimum, from zeros.
fn fit(training: Features, scale: &Standardize, classes: usize, l2: f64, device: &Device) -> Linear {
    let width = scale.width();
    let loss = |linear: Linear| {
        let mut gradients = GradientsAccumulator::new();
        let penalty = linear.weight.val().square().sum() * (l2 / 2.0);
        let mut value = f64::from(penalty.clone().into_scalar::<f32>());
        gradients.accumulate(&linear, GradientsParams::from_grads(penalty.backward(), &linear));
        for block in blocks(training, width) {
            let logits = linear.forward(tensor(scale, block, device));
            let share = block.labels.len() as f64 / training.labels.len() as f64;
            let targets = one_hot(block.labels, classes, device);
            let loss = ProblemType::SingleLabelClassification.loss(logits, targets) * share;
            value += f64::from(loss.clone().into_scalar::<f32>());
            gradients.accumulate(&linear, GradientsParams::from_grads(loss.backward(), &linear));
        }
        (value, gradients.grads())
    };
    let config = LBFGSConfig::new().with_max_iter(ITERATIONS).with_max_eval(Some(4 * ITERATIONS));
    let mut optimizer =
        config.with_tolerance_grad(1e-6).with_line_search_fn(LineSearchFn::StrongWolfe).init();
    optimizer.step(1.0, Linear::zeros(width, classes, Compute::default(), device), loss).0
}

fn one_hot(labels: &[u32], classes: usize, device: &Device) -> Tensor<2> {
    let values = labels.iter().flat_map(|label| (0..classes as u32).map(move |c| f32::from(c == *label)));
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [labels.len(), classes]), device)
}

/// Standardised features as a tensor, `[images, width]`.
fn tensor(scale: &Standardize, Features { values, labels }: Features, device: &Device) -> Tensor<2> {
    let values = scale.apply(values).map(|value| value as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [labels.len(), scale.width()]), device)
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
        // More images than a block takes.
        let (values, labels) = clouds(BLOCK + 60, 0.0);
        let device = Device::flex().autodiff();
        let scale = Standardize::of(&values, 3);
        let training = Features { values: &values, labels: &labels };
        let scaled: Vec<f32> = tensor(&scale, training, &device).into_data().iter().collect();
        let linear = fit(training, &scale, 3, 0.01, &device);
        let weight: Vec<f32> = linear.weight.val().into_data().iter().collect();
        let bias: Vec<f32> = linear.bias.val().into_data().iter().collect();
        // Its gradient by hand: (p − y)ᵀ x / n + l2 · W.
        let mut gradient: Vec<f64> = weight.iter().map(|w| 0.01 * f64::from(*w)).collect();
        for (x, label) in scaled.chunks(3).zip(&labels) {
            let logit = |c: usize| (0..3).map(|i| weight[3 * c + i] * x[i]).sum::<f32>() + bias[c];
            let e: Vec<f64> = (0..3).map(|c| f64::from(logit(c)).exp()).collect();
            for (c, row) in gradient.chunks_mut(3).enumerate() {
                let error = e[c] / e.iter().sum::<f64>() - f64::from(u8::from(*label == c as u32));
                row.iter_mut().zip(x).for_each(|(g, x)| *g += error * f64::from(*x) / labels.len() as f64);
            }
        }
        assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{gradient:?}");
    }
}
