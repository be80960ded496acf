//! Features of images, from the encoder of any checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint};
use data::{DataConfig, ImageSource, Shard, Targets, evaluation_loader};
use distributed::Communicator;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification};

use crate::embedded::Embedded;
use crate::error::FinetuneError;
use crate::evaluate::for_every_batch;
use crate::initialize::initialize;
use crate::recipe::{data_section, model_section, network_config};

/// The encoder of any checkpoint, ended by global pooling and norm: images → features. The norm of a
/// pretrained encoder, which has none, only brings every image's features to mean 0 and variance 1.
pub struct FeatureExtractor {
    /// The folder of the checkpoint, or its file.
    pub path: PathBuf,
    /// What is done to images.
    pub data: DataConfig,
    /// The architecture, without head.
    pub model: ConvNextV2Config,
    /// The network, without autodiff; without a head it gives its features.
    pub network: ConvNextV2ForImageClassification,
    device: Device,
}

impl FeatureExtractor {
    /// The encoder of a checkpoint of any origin.
    ///
    /// # Errors
    /// Weights that no encoder can be made of.
    pub fn new(checkpoint: Checkpoint, device: &Device) -> Result<Self, FinetuneError> {
        let Checkpoint { path, weights, recipe } = checkpoint;
        let (section, data) = (model_section(&recipe)?, data_section(&recipe)?);
        let model = network_config(&section, &data, 0)?;
        let zeros = ConvNextV2ForImageClassification::zeros(&model, device)?;
        let zeros = zeros.with_compute(section.kernels.into());
        match initialize(zeros, weights, false, &Allow::default()) {
            Ok((network, _)) => Ok(Self { path, data, model, network, device: device.clone() }),
            Err(reason) => Err(FinetuneError::NoFeatures { path, reason }),
        }
    }

    /// Features of every image of a source. Each process computes its part, and has all in the end.
    ///
    /// # Errors
    /// An image that cannot be read, or another process that has ended.
    pub fn embed(
        &self,
        source: &Arc<dyn ImageSource>,
        batch: usize,
        communicator: &dyn Communicator,
    ) -> Result<Embedded, FinetuneError> {
        let shard = Shard { rank: communicator.rank(), world_size: communicator.world_size() };
        let loader = evaluation_loader(source, &self.data, self.model.num_channels, batch, shard)?;
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for_every_batch(&self.network, &loader, &self.device, communicator, |found, targets| {
            features.extend_from_slice(found);
            if let Targets::Classes(classes) = targets {
                labels.extend_from_slice(classes);
            }
            Ok(())
        })?;
        let names = (0..source.len()).map(|index| source.name(index)).collect();
        Ok(Embedded { features, labels, names })
    }
}
