//! A network as it travels between formats.

use checkpoint::StateDict;
use model::ConvNextV2Config;

use crate::preprocessing::Preprocessing;

/// What a set of weights is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encoder and FCMAE decoder.
    Pretraining {
        /// Channels of the decoder.
        decoder_dim: usize,
        /// Blocks of the decoder.
        decoder_depth: usize,
    },
    /// Encoder, with or without final norm.
    Encoder,
    /// Encoder, final norm and head.
    Classifier,
    /// Encoder and a norm for each returned stage (transformers' `ConvNextV2Backbone`).
    Backbone,
}

/// Weights and everything that has to go with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Tensors under the official dense names; those of a backbone's norms are
    /// `hidden_states_norms.stage4.weight` and so on, as in transformers.
    pub weights: StateDict,
    /// The architecture.
    pub config: ConvNextV2Config,
    /// What the weights are for.
    pub kind: Kind,
    /// Names of the classes, in the order of the head's outputs, if known.
    pub labels: Option<Vec<String>>,
    /// What the outputs are, in the words of transformers: `single_label_classification` (also where
    /// nothing is said), `multi_label_classification` or `regression`.
    pub problem_type: Option<String>,
    /// Image sizes, resizing, cropping and normalisation, if known.
    pub preprocessing: Option<Preprocessing>,
}

/// Single-precision numbers as they are written: 0.485, not 0.48500001430511475.
pub(crate) fn decimals(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| value.to_string().parse().unwrap_or_else(|_| f64::from(*value))).collect()
}

impl Network {
    /// Names of the classes; `LABEL_0` and so on, as transformers has them, where none are known.
    pub fn labels(&self) -> Vec<String> {
        let unnamed = || (0..self.config.num_labels).map(|index| format!("LABEL_{index}")).collect();
        self.labels.clone().unwrap_or_else(unnamed)
    }

    /// What is done to an image; that of the published checkpoints where nothing is known.
    pub fn preprocessing(&self) -> Preprocessing {
        let usual = || Preprocessing::official([self.config.image_size; 2]);
        self.preprocessing.clone().unwrap_or_else(usual)
    }
}
