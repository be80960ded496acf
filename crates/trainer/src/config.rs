//! What a run can be told about optimisation, length and logs.

use host::Precision;
use serde::{Deserialize, Serialize};

use crate::adamw::AdamWConfig;

/// AdamW and its learning rate; the defaults are those of official FCMAE pretraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Learning rate for 256 images; the peak is `blr` × effective batch / 256.
    pub blr: f64,
    /// Peak learning rate itself; overrides `blr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Learning rate at the end of the cosine.
    pub min_lr: f64,
    /// Epochs of linear warm-up from 0.
    pub warmup_epochs: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Whether GRN's γ and β and the mask token decay, as they do in official pretraining.
    /// 1-D tensors and biases never do.
    pub decay_grn: bool,
    /// Exponential decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Gradients are scaled down to this global L2 norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_grad: Option<f64>,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            blr: 1.5e-4,
            lr: None,
            min_lr: 0.0,
            warmup_epochs: 40.0,
            weight_decay: 0.05,
            decay_grn: true,
            betas: [0.9, 0.95],
            eps: 1e-8,
            clip_grad: None,
        }
    }
}

/// Batch size, length and checkpoints of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Images of a process in one forward pass.
    pub batch_size: usize,
    /// Forward passes whose gradients are averaged before an update.
    pub accumulate: usize,
    /// Passes over the data; the schedule spans them.
    pub epochs: u64,
    /// Stops earlier, after this many updates; the schedule still spans `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Updates between checkpoints; 0 writes the last one only.
    pub checkpoint_every_steps: u64,
    /// Checkpoints kept; 0 keeps all.
    pub keep_last: usize,
    /// Numbers of the heavy operations of a step; `bf16` needs a GPU.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            accumulate: 1,
            epochs: 800,
            max_steps: None,
            checkpoint_every_steps: 1000,
            keep_last: 3,
            precision: Precision::F32,
        }
    }
}

/// Logs of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Updates between log lines.
    pub every_steps: u64,
    /// Updates between pictures; 0 draws one at the end only.
    pub pictures_every_steps: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { every_steps: 20, pictures_every_steps: 1000 }
    }
}

/// A setting out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key} must be {expected}, found {found}")]
pub struct RangeError {
    key: &'static str,
    expected: &'static str,
    found: String,
}

fn check(
    ok: bool,
    key: &'static str,
    expected: &'static str,
    found: impl ToString,
) -> Result<(), RangeError> {
    if ok { Ok(()) } else { Err(RangeError { key, expected, found: found.to_string() }) }
}

impl OptimConfig {
    /// Peak learning rate for an effective batch.
    pub fn peak_lr(&self, effective_batch: usize) -> f64 {
        self.lr.unwrap_or(self.blr * effective_batch as f64 / 256.0)
    }

    /// What all parameter groups share.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { betas: self.betas, eps: self.eps }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn validate(&self) -> Result<(), RangeError> {
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        check(not_negative(self.blr), "optim.blr", "0 or more", self.blr)?;
        if let Some(lr) = self.lr {
            check(not_negative(lr), "optim.lr", "0 or more", lr)?;
        }
        check(not_negative(self.min_lr), "optim.min_lr", "0 or more", self.min_lr)?;
        check(not_negative(self.warmup_epochs), "optim.warmup_epochs", "0 or more", self.warmup_epochs)?;
        check(not_negative(self.weight_decay), "optim.weight_decay", "0 or more", self.weight_decay)?;
        let betas = self.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        check(betas, "optim.betas", "two numbers in [0, 1)", format!("{:?}", self.betas))?;
        check(self.eps > 0.0, "optim.eps", "positive", self.eps)?;
        if let Some(norm) = self.clip_grad {
            check(norm > 0.0, "optim.clip_grad", "positive (leave it out for no clipping)", norm)?;
        }
        Ok(())
    }
}

impl TrainConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn validate(&self) -> Result<(), RangeError> {
        check(self.batch_size > 0, "train.batch_size", "at least 1", self.batch_size)?;
        check(self.accumulate > 0, "train.accumulate", "at least 1", self.accumulate)?;
        check(self.epochs > 0, "train.epochs", "at least 1", self.epochs)?;
        check(self.max_steps != Some(0), "train.max_steps", "at least 1 (or left out)", 0)
    }
}

impl LogConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn validate(&self) -> Result<(), RangeError> {
        check(self.every_steps > 0, "log.every_steps", "at least 1", self.every_steps)
    }
}
