//! What a run is going to do and what it will cost, printed before it starts.

use std::fmt;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use model::cost::EncoderCost;
use model::{ConvNextV2Config, Execution};
use serde::Serialize;
use trainer::{ParameterGroup, Plan};

use crate::config::PretrainConfig;
use crate::experiment::{Data, of_processes};

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

/// A run, before it starts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunPlan {
    #[serde(flatten)]
    cost: NetworkCost,
    model: String,
    images: usize,
    classes: usize,
    batch_size: usize,
    accumulate: usize,
    processes: usize,
    effective_batch: usize,
    peak_lr: f64,
    groups: Vec<GroupRow>,
    steps_per_epoch: u64,
    total_steps: u64,
    epochs: u64,
    seed: u64,
    /// At this machine's speed; a rough guess from a short measurement.
    expected_hours: f64,
}

/// Parameters under one rule.
#[derive(Debug, Clone, Serialize)]
struct GroupRow {
    weight_decay: f64,
    tensors: usize,
    parameters: usize,
}

impl RunPlan {
    pub(crate) fn new(
        config: &PretrainConfig,
        model: &ConvNextV2Config,
        data: &Data,
        plan: &Plan,
        groups: &[ParameterGroup],
        device: &Device,
    ) -> anyhow::Result<Self> {
        let cost = NetworkCost::of(config, model)?;
        let macs = match config.model.execution() {
            Execution::Compact => cost.compact_macs,
            Execution::Masked => cost.dense_macs,
        };
        // Forward and backward are three times the work of forward.
        let images = plan.effective_batch as f64 / plan.processes as f64 * plan.total_steps as f64;
        let work = 3.0 * macs as f64 * images;
        let groups = groups.iter().map(|group| GroupRow {
            weight_decay: group.rule.weight_decay,
            tensors: group.names.len(),
            parameters: group.elements,
        });
        let size = config.model.size.map_or("ConvNeXt V2".to_owned(), |size| format!("ConvNeXt V2-{size}"));
        Ok(Self {
            cost,
            expected_hours: work / (matrix_speed(device) * USUAL_SHARE) / 3600.0,
            model: format!("{size}, depths {:?}, channels {:?}", model.depths, model.hidden_sizes),
            images: data.source.len(),
            classes: data.source.classes().len(),
            batch_size: config.train.batch_size,
            accumulate: config.train.accumulate,
            processes: plan.processes,
            effective_batch: plan.effective_batch,
            peak_lr: config.optim.peak_lr(plan.effective_batch),
            groups: groups.collect(),
            steps_per_epoch: plan.steps_per_epoch(),
            total_steps: plan.total_steps,
            epochs: config.train.epochs,
            seed: config.seed,
        })
    }
}

impl fmt::Display for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model        {}", self.model)?;
        write!(f, "{}", self.cost)?;
        let labels = match self.classes {
            0 => "no labels".to_owned(),
            classes => format!("{classes} classes, not used"),
        };
        writeln!(f, "data         {} images, {labels}", self.images)?;
        writeln!(
            f,
            "batch        {} × {} accumulated{} = {}, peak learning rate {:.3e}",
            self.batch_size,
            self.accumulate,
            of_processes(self.processes),
            self.effective_batch,
            self.peak_lr
        )?;
        for group in &self.groups {
            writeln!(
                f,
                "group        weight decay {}: {} tensors, {} parameters",
                group.weight_decay, group.tensors, group.parameters
            )?;
        }
        writeln!(
            f,
            "steps        {} in {} epochs of {}, seed {}",
            self.total_steps, self.epochs, self.steps_per_epoch, self.seed
        )?;
        write!(f, "finish       roughly {} from now", duration(self.expected_hours))
    }
}

/// Share of the speed of a large matrix product that a training step usually reaches (measured).
const USUAL_SHARE: f64 = 0.15;

/// Multiply-adds a second of a large matrix product on the device.
fn matrix_speed(device: &Device) -> f64 {
    const SIDE: usize = 768;
    let matrix = Tensor::<2>::ones([SIDE, SIDE], &device.clone().inner());
    let product = || drop(matrix.clone().matmul(matrix.clone()).into_data());
    product();
    let start = Instant::now();
    (0..3).for_each(|_| product());
    3.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64()
}

/// `40 s`, `12 min`, `5.2 h` or `3.1 days`.
fn duration(hours: f64) -> String {
    match hours {
        h if h < 1.0 / 60.0 => format!("{:.0} s", (h * 3600.0).ceil()),
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.1} h"),
        h => format!("{:.1} days", h / 24.0),
    }
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
        let visible = match config.model.execution() {
            Execution::Compact => mask.visible_share(encoder.activations()),
            Execution::Masked => encoder.activations(),
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
