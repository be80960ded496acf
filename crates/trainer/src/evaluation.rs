//! Judging a network on data held out, and remembering the best one.

use serde::{Deserialize, Serialize};

/// When a run is evaluated, and when it has seen enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationPlan {
    /// Epochs between evaluations; the end of the run is always evaluated.
    pub every_epochs: u64,
    /// Evaluations without a better score after which the run stops.
    pub patience: Option<u64>,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What networks are compared by; more is better.
    pub score: f64,
    /// Names and values, for the logs.
    pub metrics: Vec<(&'static str, f64)>,
}

/// The best network of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its score.
    pub score: f64,
    /// Updates after which it was found.
    pub step: u64,
    /// Whether it is the moving average.
    pub ema: bool,
    /// Evaluations since then.
    pub since: u64,
}
