//! A fine-tuning experiment put together: data, objective, groups.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Device, Tensor, TensorData};
use data::mixup::{Mixup, mixed_values, soft_targets};
use data::rng::{Stream, rng};
use data::transform::{ColorJitter, EvalTransform, RandomErasing, RandomResizedCrop, TrainTransform};
use data::{
    Batch, DataError, Format, ImageSource, Labels, Loader, LoaderConfig, Position, Shard, Split, Subset,
    Task, stratified_split, with_classes,
};
use distributed::Communicator;
use finetune::{LayerDecay, Metrics, ProblemType};
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
    /// A `val` folder beside `train`, the data set's own division, `data.val_csv` or
    /// `data.val_fraction`.
    pub(crate) fn open(config: &FinetuneExperiment) -> Result<Self> {
        let Self { training, validation } = Self::divided(config)?;
        if training.task() != validation.task() {
            bail!("the validation images have targets of another kind than the training images");
        }
        // Their numbers must mean the same.
        let validation = with_classes(validation, training.classes()).context("in the validation images")?;
        Ok(Self { training, validation })
    }

    fn divided(config: &FinetuneExperiment) -> Result<Self> {
        let path = config.data.path.as_deref();
        let path =
            path.ok_or_else(|| anyhow!("no images: give --data DIR, or path = \"…\" in the [data] section"))?;
        let training = data::open(path, config.data.format, Split::Train, Labels::Required)?;
        if let Some(fraction) = config.data.val_fraction {
            let divided = data::open(path, config.data.format, Split::Val, Labels::Required)
                .is_ok_and(|source| source.name(0) != training.name(0));
            if divided {
                bail!(
                    "{} has validation images of its own, and data.val_fraction would hold out others; leave \
                     it out",
                    path.display()
                );
            }
            let (training, validation) = stratified_split(&training, fraction, config.seed);
            if validation.indices().is_empty() {
                bail!(
                    "data.val_fraction = {fraction} of {} images leaves none to validate on",
                    path.display()
                );
            }
            return Ok(Self { training: Arc::new(training), validation: Arc::new(validation) });
        }
        if let Some(csv) = &config.data.val_csv {
            let validation = data::open(csv, Format::Auto, Split::Val, Labels::Required)?;
            return Ok(Self { training: Arc::new(without(&training, &*validation)), validation });
        }
        let validation = match data::open(path, config.data.format, Split::Val, Labels::Required) {
            Ok(validation) => validation,
            Err(DataError::NoSplit { .. }) => bail!(
                "{} has no validation images; add a folder val beside train, name them in data.val_csv, \
                 or hold some out: --set data.val_fraction=0.1",
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
            color_jitter: Some(config.augment.color_jitter)
                .filter(|strength| *strength > 0.0)
                .map(|strength| ColorJitter { strength }),
            rand_augment: config.augment.rand_augment.map(|augment| (augment, fill)),
        };
        let loader_config = LoaderConfig {
            seed: config.seed,
            batch_size: config.train.batch_size,
            accumulate: config.train.accumulate,
            workers: section.workers,
            max_corrupt: section.max_corrupt,
            normalize: normalize(section, channels)?,
            raw: false,
            erase: Some(RandomErasing { probability: config.augment.random_erasing }),
            shard,
        };
        Ok(Loader::new(Arc::clone(&self.training), Arc::new(transform), loader_config)?)
    }
}

/// The images of a source that are not in another one.
fn without(source: &Arc<dyn ImageSource>, other: &dyn ImageSource) -> Subset {
    // The same file may have been named in two ways.
    let file = |name: String| fs::canonicalize(&name).unwrap_or(name.into());
    let held_out: HashSet<PathBuf> = (0..other.len()).map(|index| file(other.name(index))).collect();
    Subset::new(source, |index| !held_out.contains(&file(source.name(index))))
}

/// What the targets of a source train a network for.
pub(crate) fn problem_type(task: Task) -> ProblemType {
    match task {
        Task::Class => ProblemType::SingleLabelClassification,
        Task::Labels => ProblemType::MultiLabelClassification,
        Task::Numbers => ProblemType::Regression,
    }
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
        raw: false,
        erase: None,
        shard,
    };
    Ok(Loader::evaluation(Arc::clone(source), Arc::new(transform), loader_config)?)
}

/// How well a network does over all images of a loader, those of the other processes included. Counted
/// in the order of one process, so that any number of processes finds the same.
pub(crate) fn evaluate(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
    mut metrics: Metrics,
    device: &Device,
    world: &dyn Communicator,
) -> Result<Metrics, TrainError> {
    for_every_batch(network, loader, device, world, |logits, labels, values| {
        metrics.add(logits, labels, values);
    })?;
    Ok(metrics)
}

/// What a network makes of every image of a loader and of those of the other processes, batch by batch
/// in the order of the source: logits, classes, values.
pub(crate) fn for_every_batch(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
    device: &Device,
    world: &dyn Communicator,
    mut see: impl FnMut(&[f32], &[u32], &[f32]),
) -> Result<(), TrainError> {
    let mut batches = loader.batches(Position { epoch: 0, batch: 0 });
    for _ in 0..loader.rounds() {
        // In the last round, some processes have none.
        let own = match batches.next() {
            Some(batch) => {
                let batch = batch.map_err(TrainError::data)?;
                let logits = logits(network, batch.images, batch.shape, device);
                (logits, batch.labels, batch.values)
            }
            None => Default::default(),
        };
        if world.world_size() == 1 {
            see(&own.0, &own.1, &own.2);
            continue;
        }
        let logits = world.all_gather(&bytes(&own.0, f32::to_le_bytes))?;
        let labels = world.all_gather(&bytes(&own.1, u32::to_le_bytes))?;
        let values = world.all_gather(&bytes(&own.2, f32::to_le_bytes))?;
        for ((logits, labels), values) in
            logits.iter().zip(&labels).zip(&values).filter(|of| !of.0.0.is_empty())
        {
            let [logits, values] = [logits, values].map(|bytes| numbers(bytes, f32::from_le_bytes));
            see(&logits, &numbers(labels, u32::from_le_bytes), &values);
        }
    }
    Ok(())
}

fn bytes<T: Copy>(numbers: &[T], bytes: fn(T) -> [u8; 4]) -> Vec<u8> {
    numbers.iter().flat_map(|number| bytes(*number)).collect()
}

fn numbers<T>(bytes: &[u8], number: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
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
    problem: ProblemType,
    /// Classes, or numbers to predict.
    outputs: usize,
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
            problem: problem_type(data.training.task()),
            outputs: model.num_labels,
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

impl Classification {
    /// Targets `[N, outputs]` of a batch that was mixed by λ, smoothed.
    fn targets(&self, batch: &Batch, lambda: f64) -> Vec<f32> {
        let mixed = || mixed_values(&batch.values, self.outputs, lambda);
        match self.problem {
            ProblemType::SingleLabelClassification => {
                soft_targets(&batch.labels, self.outputs, lambda, self.smoothing)
            }
            ProblemType::MultiLabelClassification => {
                let smooth = |v: f32| (f64::from(v) * (1.0 - self.smoothing) + self.smoothing / 2.0) as f32;
                mixed().into_iter().map(smooth).collect()
            }
            ProblemType::Regression => mixed(),
        }
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
        let targets = TensorData::new(self.targets(&batch, lambda), [samples, self.outputs]);
        let targets = Tensor::from_data(targets, &self.device);
        let drop_path = self.drop_path_rates.last().is_some_and(|rate| *rate > 0.0).then(|| {
            let streams = batch.indices.iter().map(|i| rng(self.seed, Stream::DropPath, batch.epoch, *i));
            DropPath::sample(&self.drop_path_rates, streams, &self.device)
        });
        let images = to_device(batch.images, batch.shape, &self.device);
        Ok(self.problem.loss(model.forward(images, drop_path.as_ref()), targets))
    }

    fn picture(&self, _model: &Self::Model) -> Result<Option<(&'static str, RgbImage)>, TrainError> {
        Ok(None)
    }

    fn evaluate(&self, model: &Self::Model) -> Result<Option<Evaluation>, TrainError> {
        let metrics = Metrics::new(self.problem, self.outputs);
        let device = self.device.clone().inner();
        let metrics = evaluate(model, &self.validation, metrics, &device, self.world.as_ref())?;
        Ok(Some(Evaluation { score: metrics.score(), metrics: metrics.named() }))
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
