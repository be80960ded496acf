//! How much each class counts in the loss.

use data::ImageSource;
use serde::{Deserialize, Serialize};

use crate::error::FinetuneError;

/// What the loss of each class is multiplied by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"balanced\" or a number for each class")]
pub enum ClassWeights {
    /// A rule.
    Named(WeightRule),
    /// A factor for each class, in the order of the classes.
    Each(Vec<f64>),
}

/// A rule for the weights of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightRule {
    /// images / (classes · images of the class), as scikit-learn's `class_weight="balanced"`: all classes
    /// count as much together, and an image 1 on average.
    Balanced,
}

impl ClassWeights {
    /// Whether the numbers can be weights.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Named(WeightRule::Balanced) => true,
            Self::Each(weights) => {
                weights.iter().all(|weight| *weight >= 0.0 && weight.is_finite())
                    && weights.iter().any(|weight| *weight > 0.0)
            }
        }
    }

    /// A factor for each of the classes of training images.
    ///
    /// # Errors
    /// As many weights as there are no classes; a class without images, to be balanced.
    pub(crate) fn of(&self, training: &dyn ImageSource) -> Result<Vec<f32>, FinetuneError> {
        let classes = training.classes();
        match self {
            Self::Each(weights) if weights.len() != classes.len() => {
                Err(FinetuneError::OtherWeights { weights: weights.len(), classes: classes.len() })
            }
            Self::Each(weights) => Ok(weights.iter().map(|weight| *weight as f32).collect()),
            Self::Named(WeightRule::Balanced) => {
                let mut counts = vec![0u64; classes.len()];
                for label in (0..training.len()).filter_map(|index| training.label(index)) {
                    counts[label as usize] += 1;
                }
                if let Some(empty) = counts.iter().position(|count| *count == 0) {
                    return Err(FinetuneError::NothingToWeigh(classes[empty].clone()));
                }
                let share = training.len() as f64 / classes.len() as f64;
                Ok(counts.into_iter().map(|count| (share / count as f64) as f32).collect())
            }
        }
    }
}

/// Multiplies targets `[N, classes]` by the weights of the classes. The soft cross-entropy of these is
/// PyTorch's `CrossEntropyLoss(weight)` for class probabilities: −Σ weight · target · log p, divided by
/// the number of samples and not, as for class indices, by their weights.
pub(crate) fn weighted(mut targets: Vec<f32>, weights: &[f32]) -> Vec<f32> {
    targets.iter_mut().zip(weights.iter().cycle()).for_each(|(target, weight)| *target *= weight);
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::soft_cross_entropy;
    use burn::tensor::{Device, Tensor, TensorData};

    fn tensor(values: &[f32]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 3]), &Device::flex().autodiff())
    }

    /// `CrossEntropyLoss(weight=[0.5, 2, 1.5])` of PyTorch 2.15 in double precision, for class
    /// probabilities; its gradient as well.
    #[test]
    fn the_loss_is_that_of_pytorch() {
        let logits = tensor(&[0.5, -1.0, 2.0, 8.0, -9.0, 0.0]).require_grad();
        let targets = weighted(vec![0.2, 0.0, 0.8, 1.0, 0.0, 0.5], &[0.5, 2.0, 1.5]);
        let loss = soft_cross_entropy(logits.clone(), tensor(&targets));
        let found = f64::from(loss.clone().into_scalar::<f32>());
        assert!((found - 3.232_061_997_676_144_7).abs() < 1e-6, "{found}");
        let gradient: Vec<f32> = logits.grad(&loss.backward()).unwrap().into_data().iter().collect();
        let expected = [0.063_938_75, 0.025_423_173, -0.089_361_93, 0.374_790_4, 2.586_593e-8, -0.374_790_4];
        for (found, expected) in gradient.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn weights_are_a_rule_or_a_list() {
        let read = |text: &str| config::parse::<crate::FinetuneExperiment>(text, &[]);
        let config = read("[finetune]\nclass_weights = \"balanced\"\n").unwrap();
        assert_eq!(config.finetune.class_weights, Some(ClassWeights::Named(WeightRule::Balanced)));
        let text = config::to_toml(&config).unwrap();
        assert_eq!(read(&text).unwrap(), config);
        let config = read("[finetune]\nclass_weights = [1, 0.5]\n").unwrap();
        assert_eq!(config.finetune.class_weights, Some(ClassWeights::Each(vec![1.0, 0.5])));
        for wrong in ["\"fair\"", "[0.0, 0.0]", "[1.0, -1.0]", "[nan]", "[]"] {
            assert!(read(&format!("[finetune]\nclass_weights = {wrong}\n")).is_err(), "{wrong}");
        }
    }
}
