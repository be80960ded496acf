//! Features of images, from the encoder of any checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint};
use data::{DataConfig, EvalConfig, ImageSource, Shard, Targets, evaluation_loader};
use distributed::Communicator;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Format, Unprepared};

use crate::embedded::Embedded;
use crate::error::FinetuneError;
use crate::evaluate::for_every_batch;
use crate::inference::{Inference, Tta};
use crate::initialize::initialize;
use crate::recipe::{data_section, eval_section, follow_tf32, model_section, network_config};

/// The encoder of any checkpoint, ended by global pooling and norm: images → features. The norm of a
/// pretrained encoder, which has none, only brings every image's features to mean 0 and variance 1.
pub struct FeatureExtractor {
    /// The folder of the checkpoint, or its file.
    pub path: PathBuf,
    /// The images that it was trained on.
    pub data: DataConfig,
    /// What is done to images.
    pub eval: EvalConfig,
    /// The architecture, without head.
    pub model: ConvNextV2Config,
    /// The network; without a head it gives its features.
    inference: Inference,
}

impl FeatureExtractor {
    /// The encoder of a checkpoint of any origin.
    ///
    /// # Errors
    /// Weights that no encoder can be made of.
    pub fn new(checkpoint: Checkpoint, device: &Device) -> Result<Self, FinetuneError> {
        let Checkpoint { path, weights, recipe } = checkpoint;
        follow_tf32(&recipe, device)?;
        let (section, data) = (model_section(&recipe)?, data_section(&recipe)?);
        let eval = eval_section(&recipe)?;
        let model = network_config(&section, &data, 0)?;
        model.check_size(eval.size(&data))?;
        let zeros = ConvNextV2ForImageClassification::zeros(&model, device)?;
        let zeros = zeros.with_compute(section.kernels.into());
        match initialize(zeros, weights, false, &Allow::default()) {
            Ok((network, _)) => {
                Ok(Self { path, data, eval, model, inference: Inference::new(network, device) })
            }
            Err(reason) => Err(FinetuneError::NoFeatures { path, reason }),
        }
    }

    /// The same extractor with its network in another format, see [`Inference::in_format`].
    ///
    /// # Errors
    /// 8 bits of a network that our kernels do not compute.
    pub fn in_format(self, format: Format) -> Result<Self, Unprepared> {
        let inference = self.inference.in_format(format)?;
        Ok(Self { inference, ..self })
    }

    /// Numbers of a feature vector.
    pub fn width(&self) -> usize {
        self.model.last_hidden_size()
    }

    /// Features and targets of every image of a source, batch by batch in its order. Each process
    /// computes its part, and sees all of them.
    ///
    /// # Errors
    /// An image that cannot be read, features that are not finite, or another process that has ended.
    pub fn for_every_batch(
        &self,
        source: &Arc<dyn ImageSource>,
        batch: usize,
        communicator: &dyn Communicator,
        mut visit: impl FnMut(&[f32], &Targets) -> Result<(), FinetuneError>,
    ) -> Result<(), FinetuneError> {
        let shard = Shard { rank: communicator.rank(), world_size: communicator.world_size() };
        let loader =
            evaluation_loader(source, &self.data, &self.eval, self.model.num_channels, batch, shard)?;
        let visit = |[features]: [&[f32]; 1], targets: &Targets| visit(features, targets);
        for_every_batch([&self.inference], &loader, Tta::None, communicator, visit)
    }

    /// Features and classes of every image of a source, which rank 0 keeps; the other processes have
    /// none in the end. `watch` is told how many images more have their features.
    ///
    /// # Errors
    /// As [`for_every_batch`](Self::for_every_batch).
    pub fn embed(
        &self,
        source: &Arc<dyn ImageSource>,
        batch: usize,
        communicator: &dyn Communicator,
        watch: &dyn Fn(u64),
    ) -> Result<Embedded, FinetuneError> {
        let mut embedded = Embedded::default();
        if communicator.is_leader() {
            // A vector that grows would take up to twice the memory.
            embedded.features.reserve_exact(source.len() * self.width());
            embedded.labels.reserve_exact(source.len());
        }
        self.for_every_batch(source, batch, communicator, |features, targets| {
            watch((features.len() / self.width()) as u64);
            if communicator.is_leader() {
                embedded.features.extend_from_slice(features);
                if let Targets::Classes(classes) = targets {
                    embedded.labels.extend_from_slice(classes);
                }
            }
            Ok(())
        })?;
        Ok(embedded)
    }
}
