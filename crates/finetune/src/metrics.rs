//! How well a network does, for each problem type.

use data::Targets;

use crate::error::FinetuneError;
use crate::label_tally::LabelTally;
use crate::number_tally::NumberTally;
use crate::problem::ProblemType;
use crate::tally::Tally;

/// Counts over images whose targets are known; the same for any division into batches.
#[derive(Debug, Clone, PartialEq)]
pub enum Metrics {
    /// Images with one class each.
    Classes(Tally),
    /// Images with any number of classes each.
    Labels(LabelTally),
    /// Images with numbers to predict.
    Numbers(NumberTally),
}

impl Metrics {
    /// Starts with nothing counted.
    pub fn new(problem: ProblemType, outputs: usize) -> Self {
        match problem {
            ProblemType::SingleLabelClassification => Self::Classes(Tally::new(outputs)),
            ProblemType::MultiLabelClassification => Self::Labels(LabelTally::new(outputs)),
            ProblemType::Regression => Self::Numbers(NumberTally::new(outputs)),
        }
    }

    /// Counts images by their outputs `[N, outputs]` and targets.
    ///
    /// # Errors
    /// Targets of another kind.
    pub fn add(&mut self, outputs: &[f32], targets: &Targets) -> Result<(), FinetuneError> {
        match (self, targets) {
            (Self::Classes(tally), Targets::Classes(labels)) => tally.add(outputs, labels),
            (Self::Labels(tally), Targets::Numbers(values)) => tally.add(outputs, values),
            (Self::Numbers(tally), Targets::Numbers(values)) => tally.add(outputs, values),
            _ => return Err(FinetuneError::OtherTargets),
        }
        Ok(())
    }

    /// The mean loss of the images.
    pub fn loss(&self) -> f64 {
        match self {
            Self::Classes(tally) => tally.loss(),
            Self::Labels(tally) => tally.loss(),
            Self::Numbers(tally) => tally.mse(),
        }
    }

    /// What networks are compared by, at most 1: accuracy, mean average precision or R²; where these are
    /// not defined on the images, the loss with its sign turned.
    pub fn score(&self) -> f64 {
        match self {
            Self::Classes(tally) => tally.top1_accuracy(),
            Self::Labels(tally) => tally.mean_average_precision().unwrap_or(-tally.loss()),
            Self::Numbers(tally) => tally.r2().unwrap_or(-tally.mse()),
        }
    }

    /// Names and values, for logs; no value of what is not defined on the images.
    pub fn named(&self) -> Vec<(&'static str, Option<f64>)> {
        match self {
            Self::Classes(tally) => {
                let (top1, top5) = (tally.top1_accuracy(), tally.top5_accuracy());
                vec![("loss", Some(tally.loss())), ("top1", Some(top1)), ("top5", Some(top5))]
            }
            Self::Labels(tally) => {
                let map = tally.mean_average_precision();
                vec![("loss", Some(tally.loss())), ("map", map), ("f1", tally.f1())]
            }
            Self::Numbers(tally) => {
                vec![("loss", Some(tally.mse())), ("mae", Some(tally.mae())), ("r2", tally.r2())]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_defined_is_no_score() {
        let add = |problem, outputs: &[f32], targets: &[f32]| {
            let mut metrics = Metrics::new(problem, 1);
            metrics.add(outputs, &Targets::Numbers(targets.to_vec())).unwrap();
            metrics
        };
        // Targets that are all alike say nothing of R², images that show nothing nothing of precision.
        let constant = |by: f32| add(ProblemType::Regression, &[by, by], &[2.0, 2.0]);
        assert_eq!(constant(1.0).named()[2], ("r2", None));
        assert!(constant(1.5).score() > constant(1.0).score());
        let unseen = |logit: f32| add(ProblemType::MultiLabelClassification, &[logit], &[0.0]);
        assert_eq!(unseen(-1.0).named()[1..], [("map", None), ("f1", None)]);
        assert!(unseen(-2.0).score() > unseen(-1.0).score());
    }
}
