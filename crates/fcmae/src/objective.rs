//! The objective of FCMAE on batches of images: mask → loss → progress picture.

use burn::tensor::{Device, Tensor};
use config::SettingError;
use data::mixup::Mix;
use data::rng::{Stream, rng};
use data::transform::Normalize;
use data::{AnyImage, Batch, DataError, DecodeOptions, ImageSource, Target, image_of, prepare};
use host::{Arena, Lists};
use model::drop_path::DropPath;
use model::layer_norm::LayerNorm;
use model::{Compute, ConvNextV2Config, Execution, official_name};
use trainer::health::{Examination, Examined, Measures, Subjects};
use trainer::{BoxError, Data, Images, Objective, Picture, StopSignal};

use crate::configuration::PretrainExperiment;
use crate::mask::random_mask;
use crate::network::Fcmae;
use crate::picture::{reconstruct, usual_bands};
use crate::section::{FcmaeError, MaskShape};

/// Images on a progress picture.
const PICTURES: usize = 8;
/// The epoch whose masks health is measured with; no run comes so far.
const FIXED_MASKS: u64 = u64::MAX;

/// FCMAE on batches of images.
pub struct FcmaeObjective {
    seed: u64,
    execution: Execution,
    shape: MaskShape,
    drop_path_rates: Vec<f64>,
    /// The device that computes, with autodiff.
    device: Device,
    lists: Lists,
    images: Images,
    pictures: Pictures,
    /// What is measured of the network, if anything is.
    examination: Option<Examination>,
    /// Added to the variance of pooled features when they are normed.
    layer_norm_eps: f64,
}

/// The images of the progress picture, the same all through the run, as they are in evaluation.
struct Pictures {
    values: Vec<f32>,
    /// `[N, C, H, W]`.
    shape: [usize; 4],
    mask: MaskShape,
    normalize: Normalize,
}

/// Why the objective cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ObjectiveError {
    /// A mask that cannot be trained, or a normalisation that fits no image.
    #[error(transparent)]
    Mask(#[from] FcmaeError),
    /// Images that cannot be normalised.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No image for the progress picture can be read, and more images cannot than a run leaves out.
    #[error("none of the images that were tried for progress pictures can be read; {0}")]
    NoPicture(DataError),
}

impl FcmaeObjective {
    /// The objective of an experiment whose `[model]` section describes `model`.
    ///
    /// # Errors
    /// A mask that cannot be trained, images that cannot be read or normalised.
    pub fn new(
        experiment: &PretrainExperiment,
        model: &ConvNextV2Config,
        all: &Data,
        device: &Device,
    ) -> Result<Self, ObjectiveError> {
        let source = all.training.as_ref();
        let normalize = experiment.data.normalize(model.num_channels)?;
        let PretrainExperiment { data, eval, .. } = experiment;
        let subjects = Subjects::of(all, &experiment.health, experiment.seed);
        let examination = subjects.map(|subjects| Examination::new(subjects, data, eval, model.num_channels));
        Ok(Self {
            seed: experiment.seed,
            execution: experiment.model.execution(),
            shape: experiment.fcmae.mask_shape(model, experiment.data.image_size.pixels())?,
            drop_path_rates: model.drop_path_rates(),
            device: device.clone(),
            lists: Compute::from(experiment.model.kernels).lists(device),
            pictures: Pictures::read(experiment, model, source)?,
            images: Images::new(normalize, device),
            examination: examination.transpose()?,
            layer_norm_eps: model.layer_norm_eps,
        })
    }
}

impl Pictures {
    fn read(
        experiment: &PretrainExperiment,
        model: &ConvNextV2Config,
        source: &dyn ImageSource,
    ) -> Result<Self, ObjectiveError> {
        let PretrainExperiment { data, eval, .. } = experiment;
        let normalize = eval.normalize(data, model.num_channels)?;
        let mask = experiment.fcmae.mask_shape(model, eval.size(data))?;
        let images = readable(source, data.decode(model.num_channels), data.max_corrupt)?;
        let (values, shape) = prepare(images, &eval.transform(data), &normalize)
            .map_err(|error| ObjectiveError::Setting(SettingError::Together(error)))?;
        Ok(Self { values, shape, mask, normalize })
    }
}

impl Objective for FcmaeObjective {
    type Model = Fcmae;
    type Batch = Batch;

    fn parameter_name(path: &str) -> String {
        official_name(path)
    }

    fn loss(&self, model: &Fcmae, batch: Batch) -> Result<Tensor<1>, BoxError> {
        let mask = random_mask(&self.shape, self.seed, batch.epoch, &batch.draws)?;
        let streams = batch.draws.iter().map(|i| rng(self.seed, Stream::DropPath, batch.epoch, *i));
        let mut arena = Arena::new(&self.device);
        let drop_path = DropPath::for_training(&self.drop_path_rates, streams, &mut arena);
        let mask = mask.put(&mut arena);
        let images = self.images.put(batch, Mix::None, &mut arena);
        let mut uploaded = arena.upload();
        let mask = mask.arrived(&mut uploaded);
        let drop_path = drop_path.map(|draw| draw.arrived(&mut uploaded));
        let images = self.images.arrived(images, &mut uploaded);
        Ok(model.loss(images, &mask, self.execution, drop_path.as_ref()))
    }

    fn lists(&self, _: &Device) -> Lists {
        self.lists
    }

    fn picture(&self, model: &Fcmae) -> Result<Option<Picture>, BoxError> {
        let Pictures { values, shape, mask, normalize } = &self.pictures;
        let indices: Vec<u64> = (0..shape[0] as u64).collect();
        let mask = random_mask(mask, self.seed, 0, &indices)?;
        let images = host::floats(values.clone(), *shape, &self.device.clone().inner());
        let result = reconstruct(model, images, &mask, normalize, usual_bands(shape[1]))?;
        Ok(Some(Picture { tag: "reconstruction", image: result.picture }))
    }

    fn health(&self, model: &Fcmae, stop: &StopSignal<'_>) -> Result<Option<Measures>, BoxError> {
        let Some(examination) = &self.examination else { return Ok(None) };
        let examined = Pretrained { objective: self, model };
        examination.measure(&examined, &self.device.clone().inner(), stop)
    }
}

/// A network that is pretrained, as health looks at it.
struct Pretrained<'a> {
    objective: &'a FcmaeObjective,
    model: &'a Fcmae,
}

impl Examined for Pretrained<'_> {
    fn expanded(&self, images: Tensor<4>) -> Vec<Tensor<3>> {
        self.model.encoder.expanded(images)
    }

    /// As fine-tuning begins with them: the norm has no weights yet.
    fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let (device, pooled) = (images.device(), self.model.encoder.pooled(images));
        let epsilon = self.objective.layer_norm_eps;
        LayerNorm::new(pooled.dims()[1], epsilon, Compute::default(), &device).forward(pooled)
    }

    /// With masks of no epoch of training.
    fn loss(&self, images: Tensor<4>, places: &[u64], _targets: &[Target]) -> Result<f64, BoxError> {
        let FcmaeObjective { seed, execution, pictures, .. } = self.objective;
        let mask = random_mask(&pictures.mask, *seed, FIXED_MASKS, places)?;
        let loss = self.model.loss(images, &mask, *execution, None);
        Ok(f64::from(loss.into_scalar::<f32>()))
    }

    /// That of the mean of all patches, pixel by pixel.
    fn baseline(&self, images: Tensor<4>) -> Option<f64> {
        Some(f64::from(self.model.spread(images).into_scalar::<f32>()))
    }

    fn grn(&self) -> Vec<[f64; 2]> {
        self.model.encoder.grn()
    }
}

/// Images spread over the data, so that they show more than the first class, as far as they can be read. If
/// none of them can, the first that can: a run leaves out as many as `max_corrupt`, and so does its picture.
fn readable(
    source: &dyn ImageSource,
    decode: DecodeOptions,
    max_corrupt: usize,
) -> Result<Vec<AnyImage>, ObjectiveError> {
    let step = (source.len() / PICTURES).max(1);
    let spread = (0..source.len()).step_by(step).take(PICTURES);
    let others = (0..source.len()).filter(|index| !index.is_multiple_of(step));
    let (mut images, mut unreadable) = (Vec::new(), Vec::new());
    for (place, index) in spread.chain(others).enumerate() {
        if place >= PICTURES && (!images.is_empty() || unreadable.len() > max_corrupt) {
            break;
        }
        match image_of(source, index, decode) {
            Ok(image) => images.push(image),
            Err(error) => unreadable.push(error),
        }
    }
    match unreadable.into_iter().next() {
        Some(error) if images.is_empty() => Err(ObjectiveError::NoPicture(error)),
        _ => Ok(images),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Labels;

    /// A folder of so many images, of which only those of `whole` are whole.
    fn folder(count: usize, whole: &[usize]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..count {
            let path = dir.path().join(format!("{index:02}.png"));
            match whole.contains(&index) {
                true => image::RgbImage::new(4, 4).save(path).unwrap(),
                false => std::fs::write(path, "no image").unwrap(),
            }
        }
        dir
    }

    fn found(dir: &tempfile::TempDir, max_corrupt: usize) -> Result<usize, ObjectiveError> {
        let data = data::DataConfig { path: Some(dir.path().to_owned()), ..data::DataConfig::default() };
        let source = data.open(Labels::Ignored).unwrap();
        readable(source.as_ref(), data.decode(3), max_corrupt).map(|images| images.len())
    }

    #[test]
    fn unreadable_images_are_left_out_of_the_picture_as_of_the_run() {
        // Of 32, every fourth is picked.
        let some = folder(32, &[0, 4, 28]);
        assert_eq!(found(&some, 10).unwrap(), 3);
        let hidden = folder(32, &[7]);
        assert_eq!(found(&hidden, 30).unwrap(), 1, "none of those that are picked");
        let error = found(&hidden, 10).unwrap_err().to_string();
        assert!(error.contains("00.png"), "{error}");
        assert!(found(&folder(3, &[]), 10).is_err());
    }
}
