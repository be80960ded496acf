//! The objective of fine-tuning on batches of images: mix → loss, and how well the network does.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use data::mixup::{Mixup, mixed_values, soft_targets};
use data::rng::{Stream, rng};
use data::{Batch, Loader, Target, Targets, evaluation_loader};
use distributed::Communicator;
use host::{Arena, Lists};
use model::drop_path::DropPath;
use model::{Compute, ConvNextV2Config, ConvNextV2ForImageClassification, official_name};
use trainer::health::{Examination, Examined, Measures, Subjects};
use trainer::{BoxError, Context, Data, Evaluation, Images, Objective, StopSignal};

use crate::class_weights::weighted;
use crate::configuration::FinetuneExperiment;
use crate::error::FinetuneError;
use crate::evaluate::for_every_batch;
use crate::inference::{Inference, Tta};
use crate::metrics::Metrics;
use crate::problem::ProblemType;

/// Classification, or the prediction of numbers, on batches of images.
pub struct ClassificationObjective {
    seed: u64,
    problem: ProblemType,
    /// Classes, or numbers to predict.
    outputs: usize,
    smoothing: f64,
    /// What the loss of each class is multiplied by, in training; nothing where it counts as it is.
    class_weights: Option<Vec<f32>>,
    mixup: Mixup,
    images: Images,
    drop_path_rates: Vec<f64>,
    /// The device that computes, with autodiff.
    device: Device,
    lists: Lists,
    /// Images to evaluate on, if any are held out.
    validation: Option<Loader>,
    /// The processes that evaluate together.
    communicator: Arc<dyn Communicator>,
    /// What is measured of the network, if anything is.
    examination: Option<Examination>,
}

impl ClassificationObjective {
    /// The objective of an experiment whose network `model` describes.
    ///
    /// # Errors
    /// Images that cannot be normalised, weights for other classes.
    pub fn new(
        experiment: &FinetuneExperiment,
        model: &ConvNextV2Config,
        data: &Data,
        context: &Context,
    ) -> Result<Self, FinetuneError> {
        let (channels, batch) = (model.num_channels, experiment.train.batch_size);
        let FinetuneExperiment { data: images, eval, .. } = experiment;
        let loader = |source| evaluation_loader(source, images, eval, channels, batch, context.shard());
        let weights = experiment.finetune.class_weights.as_ref();
        let subjects = Subjects::of(data, &experiment.health, experiment.seed);
        let examination = subjects.map(|subjects| Examination::new(subjects, images, eval, channels));
        Ok(Self {
            seed: experiment.seed,
            problem: experiment.finetune.problem_type.unwrap_or_default(),
            outputs: model.num_labels,
            smoothing: experiment.finetune.label_smoothing,
            class_weights: weights.map(|weights| weights.of(&*data.training)).transpose()?,
            mixup: experiment.augment.mixup(),
            images: Images::new(experiment.data.normalize(channels)?, &context.device),
            drop_path_rates: model.drop_path_rates(),
            device: context.device.clone(),
            lists: Compute::from(experiment.model.kernels).lists(&context.device),
            validation: data.validation.as_ref().map(loader).transpose()?,
            communicator: Arc::clone(&context.communicator),
            examination: examination.transpose()?,
        })
    }

    /// Targets `[N, outputs]` of a batch that was mixed by λ, smoothed and then weighted.
    fn targets(&self, targets: &Targets, lambda: f64) -> Vec<f32> {
        match (targets, self.problem) {
            (Targets::Classes(classes), _) => {
                let targets = soft_targets(classes, self.outputs, lambda, self.smoothing);
                match &self.class_weights {
                    Some(weights) => weighted(targets, weights),
                    None => targets,
                }
            }
            (Targets::Numbers(numbers), ProblemType::MultiLabelClassification) => {
                let smooth = |v: f32| (f64::from(v) * (1.0 - self.smoothing) + self.smoothing / 2.0) as f32;
                mixed_values(numbers, self.outputs, lambda).into_iter().map(smooth).collect()
            }
            (Targets::Numbers(numbers), _) => mixed_values(numbers, self.outputs, lambda),
            (Targets::None, _) => Vec::new(),
        }
    }
}

impl Objective for ClassificationObjective {
    type Model = ConvNextV2ForImageClassification;
    type Batch = Batch;

    fn parameter_name(path: &str) -> String {
        official_name(path)
    }

    fn loss(&self, model: &Self::Model, batch: Batch) -> Result<Tensor<1>, BoxError> {
        let [samples, _, height, width] = batch.shape;
        let mix = self.mixup.draw_for(self.seed, &batch);
        let mut arena = Arena::new(&self.device);
        let targets = arena.floats(self.targets(&batch.targets, mix.lambda([height, width])));
        let streams = batch.draws.iter().map(|i| rng(self.seed, Stream::DropPath, batch.epoch, *i));
        let drop_path = DropPath::for_training(&self.drop_path_rates, streams, &mut arena);
        let images = self.images.put(batch, mix, &mut arena);
        let mut uploaded = arena.upload();
        let targets = uploaded.floats(targets, [samples, self.outputs]);
        let drop_path = drop_path.map(|draw| draw.arrived(&mut uploaded));
        let images = self.images.arrived(images, &mut uploaded);
        Ok(self.problem.loss(model.forward(images, drop_path.as_ref()), targets))
    }

    fn lists(&self, _: &Device) -> Lists {
        self.lists
    }

    fn evaluate(
        &self,
        model: &Self::Model,
        stop: &StopSignal<'_>,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Evaluation>, BoxError> {
        let Some(validation) = &self.validation else { return Ok(None) };
        let mut metrics = Metrics::new(self.problem, self.outputs);
        let network = Inference::new(model.clone(), &self.device.clone().inner());
        let (mut judged, images) = (0, validation.images() as u64);
        watch(judged, images);
        // All processes see the batches of all, so they ask at the same points.
        let visit = |[logits]: [&[f32]; 1], targets: &Targets| {
            metrics.add(logits, targets)?;
            judged += (logits.len() / self.outputs) as u64;
            watch(judged, images);
            if stop.is_given()? { Err(FinetuneError::Stopped) } else { Ok(()) }
        };
        match for_every_batch([&network], validation, Tta::None, self.communicator.as_ref(), visit) {
            Err(FinetuneError::Stopped) => Ok(None),
            judged => {
                judged?;
                let named = metrics.named().into_iter().filter_map(|(name, value)| Some((name, value?)));
                Ok(Some(Evaluation { score: metrics.score(), metrics: named.collect() }))
            }
        }
    }

    fn health(&self, model: &Self::Model, stop: &StopSignal<'_>) -> Result<Option<Measures>, BoxError> {
        let Some(examination) = &self.examination else { return Ok(None) };
        let examined = Classifying { objective: self, model };
        examination.measure(&examined, &self.device.clone().inner(), stop)
    }
}

/// A classifier in training, as health looks at it.
struct Classifying<'a> {
    objective: &'a ClassificationObjective,
    model: &'a ConvNextV2ForImageClassification,
}

impl Examined for Classifying<'_> {
    fn expanded(&self, images: Tensor<4>) -> Vec<Tensor<3>> {
        self.model.convnextv2.encoder.expanded(images)
    }

    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        self.model.convnextv2.forward(images, false, None).pooler_output
    }

    /// That of evaluation: targets as they are, and every class as it is.
    fn loss(&self, images: Tensor<4>, _places: &[u64], targets: &[Target]) -> Result<f64, BoxError> {
        let outputs: Vec<f32> = self.model.forward(images, None).into_data().iter().collect();
        let mut metrics = Metrics::new(self.objective.problem, self.objective.outputs);
        metrics.add(&outputs, &together(targets))?;
        Ok(metrics.loss())
    }

    fn grn(&self) -> Vec<[f64; 2]> {
        self.model.convnextv2.encoder.grn()
    }
}

/// The targets of images as those of a batch.
fn together(targets: &[Target]) -> Targets {
    let (mut classes, mut numbers) = (Vec::new(), Vec::new());
    for target in targets {
        match target {
            Target::Class(class) => classes.push(*class),
            Target::Values(values) => numbers.extend(values),
            Target::None => {}
        }
    }
    if classes.is_empty() { Targets::Numbers(numbers) } else { Targets::Classes(classes) }
}
