//! What a TOML file for `train-cli pretrain` says.

use burn::tensor::Device;
use config::{Config, Section, SectionDoc, SettingError};
use data::{AugmentConfig, DataConfig, EvalConfig};
use model::{Compute, ComputeError, ConvNextV2Config, ModelConfig};
use serde::{Deserialize, Serialize};
use trainer::{HealthConfig, LogConfig, OptimConfig, TrainConfig};

use crate::section::FcmaeConfig;

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
    /// What is done to images that the network is judged by.
    pub eval: EvalConfig,
    /// Augmentation of training images.
    pub augment: AugmentConfig,
    /// Optimizer and learning rate.
    pub optim: OptimConfig,
    /// Batch size and length.
    pub train: TrainConfig,
    /// Logs.
    pub log: LogConfig,
    /// What is measured of the network while it is trained.
    pub health: HealthConfig,
}

impl Config for PretrainExperiment {
    const MOVED: &'static [(&'static str, &'static str)] = data::MOVED_KEYS;

    fn check(&self) -> Result<(), SettingError> {
        self.model.check()?;
        self.fcmae.check()?;
        self.data.check()?;
        self.eval.check()?;
        self.augment.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.log.check()?;
        self.health.check()?;
        if self.data.val_fraction.is_some() || self.data.val_csv.is_some() {
            return Err(SettingError::Together(
                "data.val_fraction and data.val_csv are for fine-tuning; health.val_fraction holds images out of \
                 pretraining"
                    .to_owned(),
            ));
        }
        if self.augment.mixup() != AugmentConfig::default().mixup() {
            return Err(SettingError::Together(
                "augment.mixup, cutmix, mixup_prob and mixup_switch_prob mix targets and are for fine-tuning"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn sections(&self) -> Vec<SectionDoc> {
        vec![
            SectionDoc::of(&self.model),
            SectionDoc::of(&self.fcmae),
            SectionDoc::of(&self.data),
            SectionDoc::of(&self.eval),
            SectionDoc::of(&self.augment),
            SectionDoc::of(&self.optim),
            SectionDoc::of(&self.train),
            SectionDoc::of(&self.log),
            SectionDoc::of(&self.health),
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

    /// What is asked to compute the network.
    pub(crate) fn asked(&self) -> Compute {
        Compute {
            kernels: self.model.kernels,
            precision: self.train.precision,
            recompute: self.train.recompute,
        }
    }

    /// What computes the network on a device, whose products are set to TF32 or not as `train.tf32` says.
    ///
    /// # Errors
    /// Kernels, a precision or TF32 that the device does not have.
    pub fn compute(&self, model: &ConvNextV2Config, device: &Device) -> Result<Compute, ComputeError> {
        host::set_tf32(device, self.train.tf32)?;
        self.asked().on(device, model.hidden_act, self.model.execution())
    }
}
