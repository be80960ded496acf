//! What a run is going to do and what it will cost, printed before it starts.

use std::fmt;

use model::ConvNextV2Config;
use model::cost::EncoderCost;
use serde::Serialize;

use crate::config::PretrainConfig;

const MIB: u64 = 1 << 20;

/// Size and cost of a pretraining network.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NetworkCost {
    pub(crate) encoder_parameters: u64,
    pub(crate) decoder_parameters: u64,
    /// Multiply-adds of a forward pass over one image: everything dense.
    pub(crate) dense_macs: u64,
    /// The same on visible patches, and only as far as the loss reads the decoder.
    pub(crate) compact_macs: u64,
    pub(crate) patches: usize,
    pub(crate) visible_patches: usize,
    /// For weights, gradients, moments and activations of one batch.
    pub(crate) memory_mib: u64,
    pub(crate) stages: Vec<StageRow>,
}

/// One stage of the encoder.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StageRow {
    pub(crate) channels: usize,
    pub(crate) depth: usize,
    pub(crate) map: [usize; 2],
    pub(crate) tokens: usize,
    pub(crate) visible_tokens: usize,
    pub(crate) parameters: u64,
    pub(crate) macs: u64,
}

impl NetworkCost {
    /// For a validated experiment.
    pub(crate) fn of(config: &PretrainConfig, model: &ConvNextV2Config) -> anyhow::Result<Self> {
        let image = config.data.image_size.pixels();
        let mask = config.fcmae.cost(&config.fcmae.mask_shape(model, image)?);
        let encoder = EncoderCost::of(model, image);
        let decoder_parameters = mask.decoder_parameters(model);
        let parameters = encoder.parameters() + decoder_parameters;
        let visible = match config.model.execution {
            model::Execution::Compact => mask.visible_share(encoder.activations()),
            model::Execution::Masked => encoder.activations(),
        };
        let decoder = mask.decoder_activations(model);
        let activations = config.train.batch_size as u64 * (visible + decoder);
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
            encoder_parameters: encoder.parameters(),
            decoder_parameters,
            dense_macs: encoder.macs() + mask.decoder_macs(model, true),
            compact_macs: mask.encoder_macs(&encoder) + mask.decoder_macs(model, false),
            patches: mask.patches,
            visible_patches: mask.visible,
            // Weights, gradients and two moments.
            memory_mib: 4 * (4 * parameters + activations) / MIB,
            stages: stages.collect(),
        })
    }
}

impl fmt::Display for NetworkCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "parameters   {} encoder + {} decoder",
            millions(self.encoder_parameters),
            millions(self.decoder_parameters)
        )?;
        writeln!(f, "patches      {} of {} visible", self.visible_patches, self.patches)?;
        writeln!(
            f,
            "multiply-adds per image, forward: {} compact, {} dense",
            giga(self.compact_macs),
            giga(self.dense_macs)
        )?;
        writeln!(f, "memory       about {} MiB", self.memory_mib)
    }
}

/// `3.39 M`.
pub(crate) fn millions(count: u64) -> String {
    format!("{:.2} M", count as f64 / 1e6)
}

/// `0.55 G`.
pub(crate) fn giga(count: u64) -> String {
    format!("{:.3} G", count as f64 / 1e9)
}
