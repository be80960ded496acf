//! A pretraining experiment put together: data, objective, groups, length.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use burn::tensor::{Device, Tensor};
use data::rng::{Stream, rng};
use data::transform::{EvalTransform, Normalize, RandomResizedCrop, TrainTransform};
use data::{Batch, ImageSource, Labels, Loader, LoaderConfig, Shard, Split, Transform};
use fcmae::{Fcmae, MaskShape, random_mask, reconstruct};
use image::RgbImage;
use model::drop_path::DropPath;
use model::{ConvNextV2Config, Execution, official_name};
use trainer::{Objective, ParameterGroup, ParameterRule, Plan, TrainError, decays, parameter_groups};

use crate::config::{DataSection, PretrainConfig};
use crate::upload::batch_to_device;
pub(crate) use crate::upload::to_device;

/// Images on a progress picture.
const PICTURES: usize = 8;

/// The data of a run, opened and checked.
pub(crate) struct Data {
    pub(crate) source: Arc<dyn ImageSource>,
    pub(crate) loader: Loader,
}

/// Opens the data of an experiment.
/// `raw`: the device normalises.
pub(crate) fn open_data(config: &PretrainConfig, channels: usize, raw: bool, shard: Shard) -> Result<Data> {
    let section = &config.data;
    let path = section
        .path
        .as_deref()
        .ok_or_else(|| anyhow!("no images: give --data DIR, or path = \"…\" in the [data] section"))?;
    let source = data::open(path, section.format, Split::Train, Labels::Ignored)?;
    let transform = TrainTransform {
        crop: RandomResizedCrop {
            size: section.image_size.pixels(),
            scale: section.crop_scale,
            ratio: section.crop_ratio,
        },
        hflip: section.hflip,
        color_jitter: None,
        rand_augment: None,
    };
    let loader = Loader::new(
        Arc::clone(&source),
        Arc::new(transform),
        LoaderConfig {
            seed: config.seed,
            batch_size: config.train.batch_size,
            accumulate: config.train.accumulate,
            workers: section.workers,
            max_corrupt: section.max_corrupt,
            normalize: normalize(section, channels)?,
            raw,
            erase: None,
            shard,
        },
    )?;
    Ok(Data { source, loader })
}

/// The normalisation of a data section for images of so many channels.
pub(crate) fn normalize(section: &DataSection, channels: usize) -> Result<Normalize> {
    if channels != 1 && channels != 3 {
        bail!("model.num_channels = {channels}: image files give 1 channel (grey) or 3 (colour)");
    }
    let of = |key: &str, values: &[f32]| match (values.len(), channels) {
        (found, wanted) if found == wanted => Ok(values.to_vec()),
        (3, 1) => Ok(vec![values.iter().sum::<f32>() / 3.0]),
        (found, wanted) => Err(anyhow!("data.{key} has {found} numbers for model.num_channels = {wanted}")),
    };
    let normalize = Normalize { mean: of("mean", &section.mean)?, std: of("std", &section.std)? };
    let sound = |std: &f32| *std > 0.0 && std.is_finite();
    if !normalize.std.iter().all(sound) || !normalize.mean.iter().all(|mean| mean.is_finite()) {
        bail!(
            "data.std must be positive and data.mean finite, found {:?} and {:?}",
            section.std,
            section.mean
        );
    }
    Ok(normalize)
}

/// FCMAE on batches of images.
pub(crate) struct Pretraining {
    seed: u64,
    execution: Execution,
    shape: MaskShape,
    drop_path_rates: Vec<f64>,
    /// With autodiff.
    device: Device,
    normalize: Normalize,
    /// The same few images all through the run.
    pictures: (Vec<f32>, [usize; 4]),
}

impl Pretraining {
    pub(crate) fn new(
        config: &PretrainConfig,
        model: &ConvNextV2Config,
        source: &dyn ImageSource,
        device: &Device,
    ) -> Result<Self> {
        let normalize = normalize(&config.data, model.num_channels)?;
        let transform = EvalTransform { size: config.data.image_size.pixels() };
        // Spread over the data, so that they show more than the first class.
        let step = (source.len() / PICTURES).max(1);
        let readable = (0..source.len()).step_by(step).filter_map(|index| source.get(index).ok());
        let images: Vec<_> = readable.take(PICTURES).map(|sample| sample.image).collect();
        if images.is_empty() {
            bail!(
                "none of the {PICTURES} images tried for progress pictures can be read, {} first",
                source.name(0)
            );
        }
        Ok(Self {
            seed: config.seed,
            execution: config.model.execution(),
            shape: config.fcmae.mask_shape(model, config.data.image_size.pixels())?,
            drop_path_rates: model.drop_path_rates(),
            device: device.clone(),
            pictures: prepare(images, &transform, &normalize),
            normalize,
        })
    }
}

/// Evaluation transform and normalisation of a few images: values and shape `[N, C, H, W]`.
pub(crate) fn prepare(
    images: Vec<RgbImage>,
    transform: &EvalTransform,
    normalize: &Normalize,
) -> (Vec<f32>, [usize; 4]) {
    let [height, width] = transform.size;
    let shape = [images.len(), normalize.mean.len(), height, width];
    let mut values = Vec::with_capacity(shape.iter().product());
    for image in images {
        // The evaluation transform draws nothing.
        let image = transform.apply(&image, &mut rng(0, Stream::Augment, 0, 0));
        normalize.apply(&image, &mut values);
    }
    (values, shape)
}

impl Objective for Pretraining {
    type Model = Fcmae;
    type Batch = Batch;

    fn parameter_name(&self, path: &str) -> String {
        official_name(path)
    }

    fn loss(&self, model: &Fcmae, batch: Batch) -> Result<Tensor<1>, TrainError> {
        let mask = random_mask(&self.shape, self.seed, batch.epoch, &batch.indices)
            .map_err(TrainError::objective)?;
        let drop_path = self.drop_path_rates.last().is_some_and(|rate| *rate > 0.0).then(|| {
            let streams = batch.indices.iter().map(|i| rng(self.seed, Stream::DropPath, batch.epoch, *i));
            DropPath::sample(&self.drop_path_rates, streams, &self.device)
        });
        let images = batch_to_device(batch, &self.normalize, &self.device);
        Ok(model.loss(images, &mask, self.execution, drop_path.as_ref()))
    }

    fn picture(&self, model: &Fcmae) -> Result<Option<(&'static str, RgbImage)>, TrainError> {
        let (values, shape) = &self.pictures;
        let indices: Vec<u64> = (0..shape[0] as u64).collect();
        let mask = random_mask(&self.shape, self.seed, 0, &indices).map_err(TrainError::objective)?;
        let images = to_device(values.clone(), *shape, &self.device.clone().inner());
        let result = reconstruct(model, images, &mask, &self.normalize).map_err(TrainError::objective)?;
        Ok(Some(("reconstruction", result.picture)))
    }
}

/// Decaying and exempt parameters, as official pretraining has them.
pub(crate) fn groups(config: &PretrainConfig, network: &Fcmae) -> Vec<ParameterGroup> {
    let optim = &config.optim;
    parameter_groups(network, &official_name, &|name, shape| {
        let weight_decay = if decays(name, shape, optim.decay_grn) { optim.weight_decay } else { 0.0 };
        ParameterRule { lr_scale: 1.0, weight_decay }
    })
}

/// Length of the run; an error when the data do not fill one update.
pub(crate) fn plan(config: &PretrainConfig, data: &Data, processes: usize) -> Result<Plan> {
    let plan = Plan::new(&config.train, data.loader.batches_per_epoch(), processes);
    if plan.steps_per_epoch() == 0 {
        bail!(
            "one update takes {} images (train.batch_size {} × train.accumulate {}{}), the data have {}; \
             lower one of them",
            plan.effective_batch,
            config.train.batch_size,
            config.train.accumulate,
            of_processes(processes),
            data.source.len()
        );
    }
    Ok(plan)
}

/// ` × 2 processes`; nothing for one.
pub(crate) fn of_processes(processes: usize) -> String {
    if processes == 1 { String::new() } else { format!(" × {processes} processes") }
}
