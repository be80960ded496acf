//! Fine-tuning as one configuration: what a TOML file for `train-cli finetune` says.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint};
use config::{Config, Section, SectionDoc, SettingError};
use data::{AugmentConfig, DataConfig, Divided};
use model::{Compute, ConvNextV2Config, ConvNextV2ForImageClassification, ModelConfig};
use serde::{Deserialize, Serialize};
use trainer::{
    BoxError, Context, Data, EvaluationPlan, Experiment, Input, LogConfig, OptimConfig, ParameterRule,
    Settings, TrainConfig, Weights, decays,
};

use crate::config::{FinetuneConfig, Freeze};
use crate::cost::ClassifierCost;
use crate::error::FinetuneError;
use crate::initialize::initialize;
use crate::layer_decay::LayerDecay;
use crate::loss::scale_head;
use crate::objective::ClassificationObjective;
use crate::problem::ProblemType;

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
    /// What is done to training images.
    pub augment: AugmentConfig,
    /// Optimizer and learning rate.
    pub optim: OptimConfig,
    /// Batch size and length.
    pub train: TrainConfig,
    /// Logs.
    pub log: LogConfig,
}

impl Default for FinetuneExperiment {
    fn default() -> Self {
        Self {
            seed: 0,
            model: ModelConfig::default(),
            finetune: FinetuneConfig::default(),
            data: DataConfig::default(),
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
        }
    }
}

impl Config for FinetuneExperiment {
    const MOVED: &'static [(&'static str, &'static str)] = data::MOVED_KEYS;

    fn check(&self) -> Result<(), SettingError> {
        self.model.check()?;
        self.finetune.check()?;
        self.data.check()?;
        self.augment.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.log.check()?;
        if self.model.execution.is_some() {
            return Err(SettingError::Together(
                "model.execution is for pretraining; a classifier sees every patch".to_owned(),
            ));
        }
        let smoothed = self.finetune.label_smoothing > 0.0;
        if self.finetune.problem_type == Some(ProblemType::Regression) && smoothed {
            return Err(SettingError::Together(
                "finetune.label_smoothing is for classes; to predict numbers, \
                 --set finetune.label_smoothing=0"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn sections(&self) -> Vec<SectionDoc> {
        vec![
            SectionDoc::of(&self.model),
            SectionDoc::of(&self.finetune),
            SectionDoc::of(&self.data),
            SectionDoc::of(&self.augment),
            SectionDoc::of(&self.optim),
            SectionDoc::of(&self.train),
            SectionDoc::of(&self.log),
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
        Ok(ConvNextV2Config { num_labels: self.finetune.classes.len(), ..model })
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

impl Experiment for FinetuneExperiment {
    type Objective = ClassificationObjective;
    type Cost = ClassifierCost;

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

    /// Fills in the classes and what the network learns to say.
    fn open_data(&mut self) -> Result<Data, BoxError> {
        let Divided { training, validation } = self.data.open_divided(self.seed)?;
        let (classes, stated) = (training.classes(), &self.finetune.classes);
        if !stated.is_empty() && *stated != classes {
            return Err(FinetuneError::OtherClasses(classes.len()).into());
        }
        let found = ProblemType::of(training.task());
        if let Some(stated) = self.finetune.problem_type.filter(|stated| *stated != found) {
            let (stated, found) = (stated.to_string(), found.to_string());
            return Err(FinetuneError::OtherProblem { stated, found }.into());
        }
        self.finetune.classes = classes.to_vec();
        self.finetune.problem_type = Some(found);
        self.check()?;
        Ok(Data { training, validation: Some(validation) })
    }

    fn input(&self, _device: &Device) -> Result<Input, BoxError> {
        Ok(Input { channels: self.resolve()?.num_channels, normalize_on_device: false })
    }

    fn network(
        &self,
        weights: Weights,
        device: &Device,
    ) -> Result<ConvNextV2ForImageClassification, BoxError> {
        let model = self.resolve()?;
        let compute = self.compute(&model, device)?;
        let network = match weights {
            Weights::Zero => ConvNextV2ForImageClassification::zeros(&model, device)?,
            Weights::Fresh => ConvNextV2ForImageClassification::new(&model, self.seed, device)?,
        };
        let mut network = network.with_compute(compute);
        if weights == Weights::Fresh {
            network = scale_head(network, self.finetune.head_init_scale);
        }
        if self.finetune.freeze == Freeze::Encoder {
            network.convnextv2.encoder = network.convnextv2.encoder.no_grad();
        }
        Ok(network)
    }

    /// A decoder is left out; a norm that the checkpoint lacks stays fresh, and so does the head unless
    /// the checkpoint's tells the same classes.
    fn initialize(
        &self,
        fresh: ConvNextV2ForImageClassification,
        source: &Checkpoint,
        allow: &Allow,
    ) -> Result<(ConvNextV2ForImageClassification, Vec<String>), BoxError> {
        let theirs: Option<FinetuneConfig> = source.recipe.section("finetune")?;
        let keeps_head = theirs.is_some_and(|theirs| {
            theirs.problem_type == self.finetune.problem_type && theirs.classes == self.finetune.classes
        });
        Ok(initialize(fresh, &source.weights, keeps_head, allow)?)
    }

    /// Parameters by layer and decay, as official fine-tuning has them.
    fn rule(&self, name: &str, shape: &[usize]) -> ParameterRule {
        let depths = self.resolve().map(|model| model.depths).unwrap_or_default();
        let decay = LayerDecay {
            depths: &depths,
            ids: self.finetune.layer_decay_type,
            rate: self.finetune.layer_decay,
        };
        let decays = decays(name, shape, self.optim.decay_grn);
        ParameterRule {
            lr_scale: decay.scale(decay.id(name)),
            weight_decay: if decays { self.optim.weight_decay } else { 0.0 },
        }
    }

    fn cost(&self) -> Result<ClassifierCost, BoxError> {
        Ok(ClassifierCost::of(self, &self.resolve()?))
    }

    fn describe(&self, data: &Data) -> String {
        let outputs = self.finetune.classes.len();
        let outputs = match self.finetune.problem_type.unwrap_or_default() {
            ProblemType::SingleLabelClassification => format!("in {outputs} classes"),
            ProblemType::MultiLabelClassification => format!("of {outputs} classes, any number each"),
            ProblemType::Regression => format!("with {outputs} numbers each"),
        };
        let held_out = data.validation.as_ref().map_or(0, |images| images.len());
        format!("{} images {outputs}, {held_out} to validate", data.training.len())
    }

    fn objective(&self, data: &Data, context: &Context) -> Result<ClassificationObjective, BoxError> {
        Ok(ClassificationObjective::new(self, &self.resolve()?, data, context)?)
    }

    fn ema_decay(&self) -> Option<f64> {
        self.finetune.ema_decay
    }

    fn evaluation(&self) -> Option<EvaluationPlan> {
        let FinetuneConfig { eval_every_epochs: every_epochs, patience, .. } = self.finetune;
        Some(EvaluationPlan { every_epochs, patience })
    }

    fn init_mut(&mut self) -> Option<&mut Option<PathBuf>> {
        Some(&mut self.finetune.init)
    }
}
