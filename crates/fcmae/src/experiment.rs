//! Pretraining as one configuration: what a TOML file for `train-cli pretrain` says.

use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, StateDict};
use config::{Config, Section, SectionDoc, SettingError};
use data::{AugmentConfig, DataConfig};
use model::{Compute, ConvNextV2Config, ModelConfig, is_decoder, is_encoder, official_name};
use serde::{Deserialize, Serialize};
use trainer::{
    BoxError, Context, Data, Experiment, Input, LogConfig, OptimConfig, Settings, TrainConfig, Weights,
};

use crate::config::FcmaeConfig;
use crate::cost::PretrainCost;
use crate::network::Fcmae;
use crate::objective::FcmaeObjective;

/// A pretraining experiment; the defaults are those of official FCMAE pretraining.
///
/// ```
/// let text = "[model]\nsize = \"atto\"\n[fcmae]\nmask_ratio = 0.75\n";
/// let experiment: fcmae::PretrainExperiment = config::parse(text, &[]).unwrap();
/// assert_eq!(experiment.optim.blr, 1.5e-4);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainExperiment {
    /// Seed of weights, order, crops, flips and masks.
    pub seed: u64,
    /// The encoder.
    pub model: ModelConfig,
    /// Mask, decoder and loss.
    pub fcmae: FcmaeConfig,
    /// Images.
    pub data: DataConfig,
    /// Augmentation of training images.
    pub augment: AugmentConfig,
    /// Optimizer and learning rate.
    pub optim: OptimConfig,
    /// Batch size and length.
    pub train: TrainConfig,
    /// Logs.
    pub log: LogConfig,
}

impl Config for PretrainExperiment {
    const MOVED: &'static [(&'static str, &'static str)] = data::MOVED_KEYS;

    fn check(&self) -> Result<(), SettingError> {
        self.model.check()?;
        self.fcmae.check()?;
        self.data.check()?;
        self.augment.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.log.check()?;
        if self.data.val_fraction.is_some() || self.data.val_csv.is_some() {
            return Err(SettingError::Together(
                "data.val_fraction and data.val_csv are for fine-tuning; pretraining learns from all images"
                    .to_owned(),
            ));
        }
        if self.augment.mixup > 0.0 || self.augment.cutmix > 0.0 {
            return Err(SettingError::Together(
                "augment.mixup and augment.cutmix mix targets and are for fine-tuning".to_owned(),
            ));
        }
        Ok(())
    }

    fn sections(&self) -> Vec<SectionDoc> {
        vec![
            SectionDoc::of(&self.model),
            SectionDoc::of(&self.fcmae),
            SectionDoc::of(&self.data),
            SectionDoc::of(&self.augment),
            SectionDoc::of(&self.optim),
            SectionDoc::of(&self.train),
            SectionDoc::of(&self.log),
        ]
    }
}

impl PretrainExperiment {
    /// The encoder that the `[model]` section describes.
    ///
    /// # Errors
    /// A section that describes no network.
    pub fn resolve(&self) -> Result<ConvNextV2Config, SettingError> {
        self.model.resolve(self.data.image_size.pixels())
    }

    /// What computes the network on a device.
    ///
    /// # Errors
    /// Kernels or a precision that the device does not have.
    pub fn compute(&self, model: &ConvNextV2Config, device: &Device) -> Result<Compute, model::ComputeError> {
        let asked = Compute { kernels: self.model.kernels, precision: self.train.precision };
        asked.on(device, model.hidden_act)
    }
}

impl Experiment for PretrainExperiment {
    type Objective = FcmaeObjective;
    type Cost = PretrainCost;

    fn settings(&self) -> Settings<'_> {
        Settings {
            seed: self.seed,
            data: &self.data,
            augment: &self.augment,
            optim: &self.optim,
            train: &self.train,
            log: &self.log,
        }
    }

    fn input(&self, device: &Device) -> Result<Input, BoxError> {
        let model = self.resolve()?;
        self.fcmae.mask_shape(&model, self.data.image_size.pixels())?;
        let compute = self.compute(&model, device)?;
        // Erasing works on normalised images.
        let raw = compute.device_normalizes(device) && self.augment.random_erasing == 0.0;
        Ok(Input { channels: model.num_channels, normalize_on_device: raw })
    }

    fn network(&self, weights: Weights, device: &Device) -> Result<Fcmae, BoxError> {
        let model = self.resolve()?;
        let compute = self.compute(&model, device)?;
        Ok(match weights {
            Weights::Zero => Fcmae::zeros(&self.fcmae, &model, compute, device)?,
            Weights::Fresh => Fcmae::new(&self.fcmae, &model, compute, self.seed, device)?,
        })
    }

    /// As far as they fit: encoder and decoder, or the encoder alone. Norm and head of a classifier
    /// have no place in pretraining.
    fn initialize(
        &self,
        fresh: Fcmae,
        source: &Checkpoint,
        allow: &Allow,
    ) -> Result<(Fcmae, Vec<String>), BoxError> {
        let has_decoder = source.weights.names().any(is_decoder);
        let kept = source.weights.iter().filter(|(name, _)| has_decoder || is_encoder(name));
        let weights: StateDict = kept.map(|(name, entry)| (name.to_owned(), entry.clone())).collect();
        let (network, mut report) = weights.apply_to(fresh, &official_name);
        let fresh = report.accept(allow, |name| is_decoder(name) && !has_decoder);
        report.require_complete()?;
        Ok((network, fresh))
    }

    fn cost(&self) -> Result<PretrainCost, BoxError> {
        Ok(PretrainCost::of(self, &self.resolve()?)?)
    }

    fn describe(&self, data: &Data) -> String {
        let labels = match data.training.classes().len() {
            0 => "no labels".to_owned(),
            classes => format!("{classes} classes, not used"),
        };
        format!("{} images, {labels}", data.training.len())
    }

    fn objective(&self, data: &Data, context: &Context) -> Result<FcmaeObjective, BoxError> {
        Ok(FcmaeObjective::new(self, &self.resolve()?, data.training.as_ref(), &context.device)?)
    }
}
