//! What a pretraining network takes.

use std::fmt;

use model::ConvNextV2Config;
use model::cost::EncoderCost;
use model::{Execution, cost::in_giga, cost::in_millions};
use serde::Serialize;
use trainer::{Cost, Memory};

use crate::configuration::PretrainExperiment;
use crate::section::FcmaeError;

/// Size and cost of a pretraining network.
#[derive(Debug, Clone, Serialize)]
pub struct PretrainCost {
    /// The encoder in words.
    pub model: String,
    /// Parameters of encoder and decoder.
    pub parameters: u64,
    /// Parameters of the encoder.
    pub encoder_parameters: u64,
    /// Parameters of the decoder.
    pub decoder_parameters: u64,
    /// Multiply-adds of a forward pass over one image, everything dense.
    pub macs: u64,
    /// The same on visible patches, and only as far as the loss reads the decoder.
    pub compact_macs: u64,
    /// Patches of an image.
    pub patches: usize,
    /// Visible patches of an image.
    pub visible_patches: usize,
    /// The encoder stage by stage.
    pub stages: Vec<StageRow>,
    /// Those of the encoder alone.
    #[serde(skip)]
    encoder_macs: u64,
    /// How the encoder runs.
    #[serde(skip)]
    execution: Execution,
    /// Weights, gradients and moments, and the activations of an image.
    #[serde(skip)]
    memory: Memory,
}

/// One stage of the encoder.
#[derive(Debug, Clone, Serialize)]
pub struct StageRow {
    /// Channels of the stage.
    pub channels: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Rows and columns of the feature map.
    pub map: [usize; 2],
    /// Sites of the map.
    pub tokens: usize,
    /// Sites of visible patches.
    pub visible_tokens: usize,
    /// Parameters of the stage.
    pub parameters: u64,
    /// Multiply-adds over the whole map.
    pub macs: u64,
}

impl PretrainCost {
    /// The cost of an experiment whose `[model]` section describes `model`.
    ///
    /// # Errors
    /// A mask that cannot be trained.
    pub fn of(experiment: &PretrainExperiment, model: &ConvNextV2Config) -> Result<Self, FcmaeError> {
        let image = experiment.data.image_size.pixels();
        let mask = experiment.fcmae.cost(&experiment.fcmae.mask_shape(model, image)?);
        let encoder = EncoderCost::of(model, image);
        let decoder_parameters = mask.decoder_parameters(model);
        let parameters = encoder.parameters() + decoder_parameters;
        let (execution, asked) = (experiment.model.execution(), experiment.asked());
        let encoder_activations = match execution {
            Execution::Compact => mask.visible_share(encoder.activation_bytes(asked)),
            Execution::Masked => encoder.activation_bytes(asked),
        };
        let of_an_image = encoder_activations + mask.decoder_activation_bytes(model, asked);
        let stages = encoder.stages.iter().map(|stage| {
            let tokens = stage.map[0] * stage.map[1];
            StageRow {
                channels: stage.channels,
                depth: stage.depth,
                map: stage.map,
                tokens,
                visible_tokens: mask.visible_share(tokens as u64) as usize,
                parameters: stage.parameters,
                macs: stage.macs,
            }
        });
        Ok(Self {
            model: model.describe(),
            parameters,
            encoder_parameters: encoder.parameters(),
            decoder_parameters,
            encoder_macs: encoder.macs(),
            macs: encoder.macs() + mask.decoder_macs(model, true),
            compact_macs: mask.encoder_macs(&encoder) + mask.decoder_macs(model, false),
            patches: mask.patches,
            visible_patches: mask.visible,
            // Weights, gradients and two moments.
            memory: Memory { parameters: 4 * 4 * parameters, activations: of_an_image },
            stages: stages.collect(),
            execution,
        })
    }
}

impl Cost for PretrainCost {
    fn forward_macs(&self) -> u64 {
        match self.execution {
            Execution::Compact => self.compact_macs,
            Execution::Masked => self.macs,
        }
    }

    fn dense_macs(&self) -> u64 {
        self.encoder_macs
    }

    fn memory(&self) -> Option<Memory> {
        Some(self.memory)
    }
}

impl fmt::Display for PretrainCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model        {}", self.model)?;
        writeln!(
            f,
            "parameters   {} encoder + {} decoder",
            in_millions(self.encoder_parameters),
            in_millions(self.decoder_parameters)
        )?;
        writeln!(f, "patches      {} of {} visible", self.visible_patches, self.patches)?;
        writeln!(
            f,
            "multiply-adds per image, forward: {} compact, {} dense",
            in_giga(self.compact_macs),
            in_giga(self.macs)
        )
    }
}
