//! What a network is trained to say of an image: the three problem types of transformers.

use std::fmt;

use burn::tensor::Tensor;
use data::Task;
use serde::{Deserialize, Serialize};

use crate::loss::{binary_cross_entropy, mean_squared_error, soft_cross_entropy};

/// transformers' `problem_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// The one class that an image shows.
    #[default]
    SingleLabelClassification,
    /// All classes that an image shows.
    MultiLabelClassification,
    /// Numbers that belong to the image.
    Regression,
}

impl fmt::Display for ProblemType {
    /// The name in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleLabelClassification => "single_label_classification",
            Self::MultiLabelClassification => "multi_label_classification",
            Self::Regression => "regression",
        })
    }
}

impl ProblemType {
    /// What the targets of a source train a network for.
    pub fn of(task: Task) -> Self {
        match task {
            Task::Class => Self::SingleLabelClassification,
            Task::Labels => Self::MultiLabelClassification,
            Task::Numbers => Self::Regression,
        }
    }

    /// The loss of outputs `[N, outputs]` against targets of the same shape, averaged over samples.
    pub fn loss(self, outputs: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
        match self {
            Self::SingleLabelClassification => soft_cross_entropy(outputs, targets),
            Self::MultiLabelClassification => binary_cross_entropy(outputs, targets),
            Self::Regression => mean_squared_error(outputs, targets),
        }
    }

    /// What the outputs of one image mean: probabilities, or the numbers themselves.
    pub fn scores(self, outputs: &[f32]) -> Vec<f32> {
        match self {
            Self::SingleLabelClassification => softmax(outputs),
            Self::MultiLabelClassification => outputs.iter().map(|x| sigmoid(*x)).collect(),
            Self::Regression => outputs.to_vec(),
        }
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|v| f64::from(v - largest).exp()).sum();
    logits.iter().map(|v| (f64::from(v - largest).exp() / sum) as f32).collect()
}

fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-logit).exp())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProblemType::*;

    #[test]
    fn scores_are_probabilities_or_numbers() {
        let outputs = [0.0, 3f32.ln(), -200.0];
        let soft = SingleLabelClassification.scores(&outputs);
        assert!((soft[0] - 0.25).abs() < 1e-6 && (soft[1] - 0.75).abs() < 1e-6 && soft[2] < 1e-30);
        let each = MultiLabelClassification.scores(&outputs);
        assert!((each[0] - 0.5).abs() < 1e-6 && (each[1] - 0.75).abs() < 1e-6 && each[2] < 1e-30);
        assert_eq!(Regression.scores(&outputs), outputs);
    }
}
