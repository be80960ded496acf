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

    /// What networks are compared by, at most 1: accuracy, mean average precision or R².
    pub fn score(&self) -> f64 {
        match self {
            Self::Classes(tally) => tally.top1_accuracy(),
            Self::Labels(tally) => tally.mean_average_precision(),
            Self::Numbers(tally) => tally.r2(),
        }
    }

    /// Names and values, for logs.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Classes(tally) => {
                let (top1, top5) = (tally.top1_accuracy(), tally.top5_accuracy());
                vec![("loss", tally.loss()), ("acc1", top1), ("acc5", top5)]
            }
            Self::Labels(tally) => {
                vec![("loss", tally.loss()), ("map", tally.mean_average_precision()), ("f1", tally.f1())]
            }
            Self::Numbers(tally) => {
                vec![("loss", tally.mse()), ("mae", tally.mae()), ("r2", tally.r2())]
            }
        }
    }
}
