//! What a TOML file for `train-cli finetune` says.

use burn::tensor::Device;
use config::{Config, Section, SectionDoc, SettingError};
use data::{AugmentConfig, DataConfig, EvalConfig, Sampling};
use model::{Compute, ComputeError, ConvNextV2Config, Execution, ModelConfig};
use serde::{Deserialize, Serialize};
use trainer::{HealthConfig, LogConfig, OptimConfig, TrainConfig};

use crate::class_weights::{ClassWeights, WeightRule};
use crate::section::FinetuneConfig;

/// A fine-tuning experiment; the defaults are those of the official fine-tuning code.
///
/// ```
/// let text = "[model]\nsize = \"atto\"\n[finetune]\nlayer_decay = 0.9\n";
/// let experiment: finetune::FinetuneExperiment = config::parse(text, &[]).unwrap();
/// assert_eq!((experiment.optim.blr, experiment.optim.betas), (5e-4, [0.9, 0.999]));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneExperiment {
    /// Seed of head, order, augmentation, mixing and dropped paths.
    pub seed: u64,
    /// The encoder.
    pub model: ModelConfig,
    /// Layer-wise rates, head, evaluation and what the network learns to say.
    pub finetune: FinetuneConfig,
    /// Images.
    pub data: DataConfig,
    /// What is done to images that the network is judged by.
    pub eval: EvalConfig,
    /// What is done to training images.
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

impl Default for FinetuneExperiment {
    fn default() -> Self {
        Self {
            seed: 0,
            model: ModelConfig::default(),
            finetune: FinetuneConfig::default(),
            data: DataConfig::default(),
            eval: EvalConfig::default(),
            augment: AugmentConfig { crop_scale: [0.08, 1.0], ..AugmentConfig::default() },
            optim: OptimConfig {
                blr: 5e-4,
                min_lr: 1e-6,
                warmup_epochs: 20.0,
                betas: [0.9, 0.999],
                decay_grn: false,
                ..OptimConfig::default()
            },
            train: TrainConfig { epochs: 100, ..TrainConfig::default() },
            log: LogConfig::default(),
            health: HealthConfig::default(),
        }
    }
}

impl Config for FinetuneExperiment {
    const MOVED: &'static [(&'static str, &'static str)] = data::MOVED_KEYS;

    fn check(&self) -> Result<(), SettingError> {
        self.model.check()?;
        self.finetune.check()?;
        self.data.check()?;
        self.eval.check()?;
        self.augment.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.log.check()?;
        self.health.check()?;
        if self.health.val_fraction.is_some_and(|share| share > 0.0) {
            return Err(SettingError::Together(
                "health.val_fraction is for pretraining; fine-tuning is looked at on its validation images \
                 (data.val_fraction)"
                    .to_owned(),
            ));
        }
        let rule = Some(ClassWeights::Named(WeightRule::Balanced));
        if self.data.sampling == Sampling::Balanced && self.finetune.class_weights == rule {
            return Err(SettingError::Together(
                "data.sampling and finetune.class_weights both balance the classes, which would make small \
                 ones count most; leave one of them out"
                    .to_owned(),
            ));
        }
        if self.model.execution.is_some() {
            return Err(SettingError::Together(
                "model.execution is for pretraining; a classifier sees every patch".to_owned(),
            ));
        }
        Ok(())
    }

    fn sections(&self) -> Vec<SectionDoc> {
        vec![
            SectionDoc::of(&self.model),
            SectionDoc::of(&self.finetune),
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

impl FinetuneExperiment {
    /// The classifier that `[model]` describes, with an output for each of `finetune.classes`.
    ///
    /// # Errors
    /// A section that describes no network.
    pub fn resolve(&self) -> Result<ConvNextV2Config, SettingError> {
        let model = self.model.resolve(self.data.image_size.pixels())?;
        for size in [self.data.image_size.pixels(), self.eval.size(&self.data)] {
            model.check_size(size).map_err(|error| SettingError::Together(error.to_string()))?;
        }
        Ok(ConvNextV2Config { num_labels: self.finetune.classes.len(), ..model })
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
        self.asked().on(device, model.hidden_act, Execution::Compact)
    }
}
