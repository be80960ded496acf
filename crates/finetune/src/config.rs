//! What fine-tuning can be told, beside model, data, optimizer and length.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::layer_decay::LayerIds;
use crate::problem::ProblemType;

/// Which parameters stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// None.
    #[default]
    None,
    /// Everything but norm and head.
    Encoder,
}

/// The recipe of fine-tuning; the defaults change nothing that the official code does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Factor on the learning rate from one layer to the one below it.
    pub layer_decay: f64,
    /// What counts as a layer.
    pub layer_decay_type: LayerIds,
    /// Factor on the weights of a fresh head.
    pub head_init_scale: f64,
    /// Share of the target that is spread over all classes; with several labels an image, over
    /// showing a class and not showing it.
    pub label_smoothing: f64,
    /// Decay of the moving average of the weights, which is evaluated as well; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Epochs between evaluations.
    pub eval_every_epochs: u64,
    /// Evaluations without a better accuracy after which the run stops; none to go on to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Which parameters stay as they are.
    pub freeze: Freeze,
    /// Checkpoint to start from, unless the command line says another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// What the network learns to say; what the data say, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<ProblemType>,
    /// Class names, in the order of the head's outputs; filled in from the data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            layer_decay: 1.0,
            layer_decay_type: LayerIds::Single,
            head_init_scale: 0.001,
            label_smoothing: 0.1,
            ema_decay: None,
            eval_every_epochs: 1,
            patience: None,
            freeze: Freeze::None,
            init: None,
            problem_type: None,
            classes: Vec::new(),
        }
    }
}

/// A setting out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("finetune.{key} must be {expected}, found {found}")]
pub struct InvalidConfig {
    key: &'static str,
    expected: &'static str,
    found: String,
}

impl FinetuneConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let error =
            |key, expected, found: f64| Err(InvalidConfig { key, expected, found: found.to_string() });
        if !(0.0..=1.0).contains(&self.layer_decay) || self.layer_decay == 0.0 {
            return error("layer_decay", "in (0, 1]", self.layer_decay);
        }
        if !(self.head_init_scale >= 0.0 && self.head_init_scale.is_finite()) {
            return error("head_init_scale", "0 or more", self.head_init_scale);
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return error("label_smoothing", "in [0, 1)", self.label_smoothing);
        }
        if let Some(decay) = self.ema_decay.filter(|decay| !(0.0..1.0).contains(decay)) {
            return error("ema_decay", "in [0, 1) (leave it out for no moving average)", decay);
        }
        if self.eval_every_epochs == 0 {
            return error("eval_every_epochs", "at least 1", 0.0);
        }
        if self.patience == Some(0) {
            return error("patience", "at least 1 (or left out)", 0.0);
        }
        Ok(())
    }
}
