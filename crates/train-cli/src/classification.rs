//! A fine-tuning experiment put together: data, objective, groups.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use burn::tensor::{Device, Tensor, TensorData};
use data::mixup::{Mixup, soft_targets};
use data::rng::{Stream, rng};
use data::transform::{EvalTransform, RandomErasing, RandomResizedCrop, TrainTransform};
use data::{
    Batch, DataError, ImageSource, Labels, Loader, LoaderConfig, Position, Shard, Split, stratified_split,
};
use distributed::Communicator;
use finetune::{Judgement, LayerDecay, Tally, soft_cross_entropy};
use image::RgbImage;
use model::drop_path::DropPath;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, official_name};
use trainer::{Evaluation, Objective, ParameterGroup, ParameterRule, TrainError, decays, parameter_groups};

use crate::config::{DataSection, FinetuneExperiment};
use crate::experiment::{normalize, to_device};
use crate::world::World;

/// Training and validation images.
pub(crate) struct Data {
    pub(crate) training: Arc<dyn ImageSource>,
    pub(crate) validation: Arc<dyn ImageSource>,
}

impl Data {
    /// A `val` folder beside `train`, the data set's own division, or `data.val_fraction`.
    pub(crate) fn open(config: &FinetuneExperiment) -> Result<Self> {
        let path = config.data.path.as_deref();
        let path =
            path.ok_or_else(|| anyhow!("no images: give --data DIR, or path = \"…\" in the [data] section"))?;
        let training = data::open(path, config.data.format, Split::Train, Labels::Required)?;
        if let Some(fraction) = config.data.val_fraction {
            let (training, validation) = stratified_split(&training, fraction, config.seed);
            if validation.indices().is_empty() {
                bail!(
                    "data.val_fraction = {fraction} of {} images leaves none to validate on",
                    path.display()
                );
            }
            return Ok(Self { training: Arc::new(training), validation: Arc::new(validation) });
        }
        let validation = match data::open(path, config.data.format, Split::Val, Labels::Required) {
            Ok(validation) => validation,
            Err(DataError::NoSplit { .. }) => bail!(
                "{} has no validation images; add a folder val beside train, or hold some out: \
                 --set data.val_fraction=0.1",
                path.display()
            ),
            Err(error) => return Err(error.into()),
        };
        if validation.len() == training.len() && validation.name(0) == training.name(0) {
            bail!(
                "{} is not divided into train and val; hold some images out: --set data.val_fraction=0.1",
                path.display()
            );
        }
        same_classes(training.classes(), validation.classes())?;
        Ok(Self { training, validation })
    }

    /// Augmented batches, for training.
    pub(crate) fn loader(
        &self,
        config: &FinetuneExperiment,
        channels: usize,
        shard: Shard,
    ) -> Result<Loader> {
        let section = &config.data;
        let fill = |mean: &f32| (255.0 * mean).round().clamp(0.0, 255.0) as u8;
        let fill: Vec<u8> = section.mean.iter().map(fill).cycle().take(3).collect();
        let fill = [fill[0], fill[1], fill[2]];
        let transform = TrainTransform {
            crop: RandomResizedCrop {
                size: section.image_size.pixels(),
                scale: section.crop_scale,
                ratio: section.crop_ratio,
            },
            hflip: section.hflip,
            rand_augment: config.augment.rand_augment.map(|augment| (augment, fill)),
        };
        let loader_config = LoaderConfig {
            seed: config.seed,
            batch_size: config.train.batch_size,
            accumulate: config.train.accumulate,
            workers: section.workers,
            max_corrupt: section.max_corrupt,
            normalize: normalize(section, channels)?,
            erase: Some(RandomErasing { probability: config.augment.random_erasing }),
            shard,
        };
        Ok(Loader::new(Arc::clone(&self.training), Arc::new(transform), loader_config)?)
    }
}

/// Validation images must be of classes that are trained; their numbers must mean the same.
fn same_classes(training: &[String], validation: &[String]) -> Result<()> {
    if let Some(unknown) = validation.iter().find(|class| !training.contains(class)) {
        bail!("class {unknown} has validation images but no training images");
    }
    if training != validation {
        let missing: Vec<_> = training.iter().filter(|class| !validation.contains(class)).cloned().collect();
        bail!("no validation images of: {}", missing.join(", "));
    }
    Ok(())
}

/// Every image of a source once, as the network sees it in evaluation, or those of this process.
/// Unreadable ones are an error:
/// an accuracy over other images than asked for would not be that accuracy.
pub(crate) fn evaluation_loader(
    source: &Arc<dyn ImageSource>,
    section: &DataSection,
    channels: usize,
    batch_size: usize,
    shard: Shard,
) -> Result<Loader> {
    let transform = EvalTransform { size: section.image_size.pixels() };
    let loader_config = LoaderConfig {
        seed: 0,
        batch_size,
        accumulate: 1,
        workers: section.workers,
        max_corrupt: 0,
        normalize: normalize(section, channels)?,
        erase: None,
        shard,
    };
    Ok(Loader::evaluation(Arc::clone(source), Arc::new(transform), loader_config)?)
}

/// Accuracy over all images of a loader, those of the other processes included. Counted image by
/// image in the source's order, so that every number of processes finds the same bits.
pub(crate) fn evaluate(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
    classes: usize,
    device: &Device,
    world: &dyn Communicator,
) -> Result<Tally, TrainError> {
    let mut own = Vec::new();
    for batch in loader.batches(Position { epoch: 0, batch: 0 }) {
        let batch = batch.map_err(TrainError::data)?;
        let logits = logits(network, batch.images, batch.shape, device);
        own.extend(Judgement::of(&logits, &batch.labels, classes).flat_map(Judgement::to_numbers));
    }
    let found = world.all_gather_f64(&own)?.into_iter();
    let found = found.map(|rank| rank.as_chunks().0.to_vec()).collect();
    let mut tally = Tally::new(classes);
    for judgement in loader.in_order(found) {
        tally.count(Judgement::from_numbers(judgement));
    }
    Ok(tally)
}

/// Logits of normalised images, row by row.
pub(crate) fn logits(
    network: &ConvNextV2ForImageClassification,
    images: Vec<f32>,
    shape: [usize; 4],
    device: &Device,
) -> Vec<f32> {
    let images = to_device(images, shape, device);
    kernels::on_pool(|| network.forward(images, None).into_data().try_into_vec().expect("f32 logits"))
}

/// Classification on batches of images.
pub(crate) struct Classification {
    seed: u64,
    classes: usize,
    smoothing: f64,
    mixup: Mixup,
    drop_path_rates: Vec<f64>,
    /// With autodiff.
    device: Device,
    validation: Loader,
    /// Evaluates together.
    world: Arc<dyn Communicator>,
}

impl Classification {
    pub(crate) fn new(
        config: &FinetuneExperiment,
        model: &ConvNextV2Config,
        data: &Data,
        device: &Device,
        world: &World,
    ) -> Result<Self> {
        let batch = config.train.batch_size;
        Ok(Self {
            seed: config.seed,
            classes: model.num_labels,
            smoothing: config.finetune.label_smoothing,
            mixup: Mixup {
                mixup_alpha: config.augment.mixup,
                cutmix_alpha: config.augment.cutmix,
                probability: config.augment.mixup_prob,
                switch_probability: config.augment.mixup_switch_prob,
            },
            drop_path_rates: model.drop_path_rates(),
            device: device.clone(),
            validation: evaluation_loader(
                &data.validation,
                &config.data,
                model.num_channels,
                batch,
                world.shard(),
            )?,
            world: world.communicator(),
        })
    }
}

impl Objective for Classification {
    type Model = ConvNextV2ForImageClassification;
    type Batch = Batch;

    fn parameter_name(&self, path: &str) -> String {
        official_name(path)
    }

    fn loss(&self, model: &Self::Model, mut batch: Batch) -> Result<Tensor<1>, TrainError> {
        let [samples, _, height, width] = batch.shape;
        // A batch is known by its first image, which no other one of the epoch has.
        let mut draws = rng(self.seed, Stream::Mixup, batch.epoch, batch.indices[0]);
        let mix = self.mixup.draw([height, width], &mut draws);
        mix.apply(&mut batch.images, batch.shape);
        let lambda = mix.lambda([height, width]);
        let targets = soft_targets(&batch.labels, self.classes, lambda, self.smoothing);
        let targets = Tensor::from_data(TensorData::new(targets, [samples, self.classes]), &self.device);
        let drop_path = self.drop_path_rates.last().is_some_and(|rate| *rate > 0.0).then(|| {
            let streams = batch.indices.iter().map(|i| rng(self.seed, Stream::DropPath, batch.epoch, *i));
            DropPath::sample(&self.drop_path_rates, streams, &self.device)
        });
        let images = to_device(batch.images, batch.shape, &self.device);
        Ok(soft_cross_entropy(model.forward(images, drop_path.as_ref()), targets))
    }

    fn picture(&self, _model: &Self::Model) -> Result<Option<(&'static str, RgbImage)>, TrainError> {
        Ok(None)
    }

    fn evaluate(&self, model: &Self::Model) -> Result<Option<Evaluation>, TrainError> {
        let device = self.device.clone().inner();
        let tally = evaluate(model, &self.validation, self.classes, &device, self.world.as_ref())?;
        Ok(Some(Evaluation {
            score: tally.top1_accuracy(),
            metrics: vec![
                ("loss", tally.loss()),
                ("acc1", tally.top1_accuracy()),
                ("acc5", tally.top5_accuracy()),
            ],
        }))
    }
}

/// Parameters by layer and decay, as official fine-tuning has them.
pub(crate) fn groups(
    config: &FinetuneExperiment,
    model: &ConvNextV2Config,
    network: &ConvNextV2ForImageClassification,
) -> Vec<ParameterGroup> {
    let (optim, finetune) = (&config.optim, &config.finetune);
    let decay =
        LayerDecay { depths: &model.depths, ids: finetune.layer_decay_type, rate: finetune.layer_decay };
    parameter_groups(network, &official_name, &|name, shape| ParameterRule {
        lr_scale: decay.scale(decay.id(name)),
        weight_decay: if decays(name, shape, optim.decay_grn) { optim.weight_decay } else { 0.0 },
    })
}
