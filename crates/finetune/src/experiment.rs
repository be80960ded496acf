//! Fine-tuning as an experiment: data, network, groups, cost, objective.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, Recipe};
use data::{Divided, ImageList};
use model::{ConvNextV2ForImageClassification, STEM, is_decoder, is_grn};
use trainer::health::Subjects;
use trainer::{
    BoxError, Context, Data, EmaDecay, EvaluationPlan, Experiment, Fit, Input, ParameterRule, Settings,
    TrainConfig, Weights, decays,
};

use crate::configuration::FinetuneExperiment;
use crate::cost::ClassifierCost;
use crate::error::FinetuneError;
use crate::initialize::initialize;
use crate::layer_decay::LayerDecay;
use crate::loss::scale_head;
use crate::objective::ClassificationObjective;
use crate::problem::ProblemType;
use crate::recipe::model_section;
use crate::section::{FinetuneConfig, Freeze};

impl Experiment for FinetuneExperiment {
    type Objective = ClassificationObjective;
    type Cost = ClassifierCost;

    fn settings(&self) -> Settings<'_> {
        Settings {
            seed: self.seed,
            data: &self.data,
            eval: &self.eval,
            augment: &self.augment,
            optim: &self.optim,
            train: &self.train,
            log: &self.log,
            health: &self.health,
        }
    }

    fn train_mut(&mut self) -> &mut TrainConfig {
        &mut self.train
    }

    /// Takes the network; a run that goes on, where it came from as well.
    fn adopt(&mut self, recipe: &Recipe, resumes: bool) -> Result<(), BoxError> {
        if resumes {
            let theirs = recipe.section::<FinetuneConfig>("finetune")?;
            self.finetune.init = theirs.ok_or(FinetuneError::ResumesPretraining)?.init;
        }
        Ok(self.model.adopt(&model_section(recipe)?, self.data.image_size.pixels())?)
    }

    fn concern_about_random_weights(&self) -> Option<String> {
        let decay = self.finetune.layer_decay;
        (decay < 1.0).then(|| {
            format!(
                "no --init is given, and finetune.layer_decay = {decay} is for an encoder that has learnt \
                 something; --init none says that this is meant"
            )
        })
    }

    /// Fills in the classes and what the network learns to say.
    fn open_data(&mut self, recorded: Option<&ImageList>) -> Result<Data, BoxError> {
        let Divided { training, validation, origin } = self.data.open_divided(self.seed, recorded)?;
        let (classes, stated) = (training.classes(), &self.finetune.classes);
        if !stated.is_empty() && *stated != classes {
            return Err(FinetuneError::OtherClasses(classes.len()).into());
        }
        if self.finetune.unnamed {
            return Err(FinetuneError::Unnamed.into());
        }
        let found = ProblemType::of(training.task());
        if let Some(stated) = self.finetune.problem_type.filter(|stated| *stated != found) {
            let (stated, found) = (stated.to_string(), found.to_string());
            return Err(FinetuneError::OtherProblem { stated, found }.into());
        }
        self.finetune.classes = classes.to_vec();
        self.finetune.problem_type = Some(found);
        if found == ProblemType::Regression && self.finetune.label_smoothing > 0.0 {
            return Err(FinetuneError::SmoothedNumbers.into());
        }
        if found != ProblemType::SingleLabelClassification && self.finetune.class_weights.is_some() {
            return Err(FinetuneError::WeightedTargets.into());
        }
        let mut remarks = vec![("classes", shown(classes)), ("validation", origin)];
        remarks.extend(self.data.warning(classes).map(|warning| ("warning", warning)));
        Ok(Data { training, validation: Some(validation), remarks })
    }

    fn input(&self, device: &Device) -> Result<Input, BoxError> {
        let model = self.resolve()?;
        let normalize_on_device = self.compute(&model, device)?.device_normalizes(device);
        Ok(Input { channels: model.num_channels, normalize_on_device })
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
        if !self.model.grn {
            network.convnextv2.encoder.freeze_grn();
        }
        if self.finetune.freeze == Freeze::Encoder {
            network.convnextv2.encoder = network.convnextv2.encoder.no_grad();
        }
        Ok(network)
    }

    /// A decoder is left out; a norm that the checkpoint lacks stays fresh, and so does the head unless
    /// the checkpoint's tells the same classes, those of ImageNet by id or by word.
    fn initialize(
        &self,
        fresh: ConvNextV2ForImageClassification,
        source: Checkpoint,
        allow: &Allow,
    ) -> Result<(ConvNextV2ForImageClassification, Fit), BoxError> {
        let mut weights = source.weights;
        weights.require_finite()?;
        let grn = |name: &str| is_grn(name) && !is_decoder(name);
        self.model.check_grn(weights.first_non_zero(grn))?;
        let changed = weights.adapt_stem(STEM, self.resolve()?.num_channels);
        let theirs: Option<FinetuneConfig> = source.recipe.section("finetune")?;
        let keeps_head = theirs.is_some_and(|theirs| theirs.tells_the_same_as(&self.finetune));
        let (network, fresh) = initialize(fresh, weights, keeps_head, allow)?;
        Ok((network, Fit { fresh, changed }))
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

    fn subjects(&self, data: &Data) -> Option<Subjects> {
        Subjects::of(data, &self.health, self.seed)
    }

    fn ema(&self) -> Option<EmaDecay> {
        self.finetune.ema_decay.map(|decay| EmaDecay { decay, warmup: self.finetune.ema_warmup })
    }

    fn evaluation(&self) -> Option<EvaluationPlan> {
        let FinetuneConfig { eval_every_epochs: every_epochs, patience, .. } = self.finetune;
        Some(EvaluationPlan { every_epochs, patience })
    }

    fn init_mut(&mut self) -> Option<&mut Option<PathBuf>> {
        Some(&mut self.finetune.init)
    }
}

/// The first and last few of the classes.
fn shown(classes: &[String]) -> String {
    match classes {
        [first, second, third, .., last_but_one, last] if classes.len() > 8 => {
            format!("{first}, {second}, {third}, …, {last_but_one}, {last}")
        }
        _ => classes.join(", "),
    }
}
