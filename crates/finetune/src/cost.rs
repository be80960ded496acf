//! What a classifier takes.

use std::fmt;

use model::ConvNextV2Config;
use model::cost::{EncoderCost, in_giga, in_millions};
use serde::Serialize;
use trainer::{Cost, Memory};

use crate::configuration::FinetuneExperiment;
use crate::problem::ProblemType;

/// Size and cost of a classifier.
#[derive(Debug, Clone, Serialize)]
pub struct ClassifierCost {
    /// The encoder in words.
    pub model: String,
    /// Parameters, head included.
    pub parameters: u64,
    /// Multiply-adds of a forward pass over one image.
    pub macs: u64,
    /// Weights, gradients, moments and the moving average, and the activations of an image.
    #[serde(skip)]
    memory: Memory,
    /// What the outputs are.
    pub problem_type: ProblemType,
}

impl ClassifierCost {
    /// The cost of an experiment whose network `model` describes.
    pub fn of(experiment: &FinetuneExperiment, model: &ConvNextV2Config) -> Self {
        let encoder = EncoderCost::of(model, experiment.data.image_size.pixels());
        let (channels, outputs) = (model.last_hidden_size() as u64, model.num_labels as u64);
        let parameters = encoder.parameters() + 2 * channels + (channels + 1) * outputs;
        // Weights, gradients and two moments.
        let copies = 4 + u64::from(experiment.finetune.ema_decay.is_some());
        let activations = encoder.activation_bytes(experiment.asked());
        Self {
            model: model.describe(),
            parameters,
            macs: encoder.macs() + channels * outputs,
            memory: Memory { parameters: 4 * copies * parameters, activations },
            problem_type: experiment.finetune.problem_type.unwrap_or_default(),
        }
    }
}

impl Cost for ClassifierCost {
    fn forward_macs(&self) -> u64 {
        self.macs
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.memory)
    }
}

impl fmt::Display for ClassifierCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model        {}", self.model)?;
        writeln!(f, "parameters   {}", in_millions(self.parameters))?;
        writeln!(f, "multiply-adds per image, forward: {}", in_giga(self.macs))
    }
}
