//! The objective of FCMAE on batches of images: mask → loss → progress picture.

use burn::tensor::{Device, Tensor};
use config::SettingError;
use data::rng::{Stream, rng};
use data::transform::Normalize;
use data::{Batch, ImageSource, image_of, prepare};
use model::drop_path::DropPath;
use model::{ConvNextV2Config, Execution, official_name};
use trainer::{BoxError, Objective, Picture};

use crate::configuration::PretrainExperiment;
use crate::mask::random_mask;
use crate::network::Fcmae;
use crate::picture::{reconstruct, usual_bands};
use crate::section::{FcmaeError, MaskShape};

/// Images on a progress picture.
const PICTURES: usize = 8;

/// FCMAE on batches of images.
pub struct FcmaeObjective {
    seed: u64,
    execution: Execution,
    shape: MaskShape,
    drop_path_rates: Vec<f64>,
    /// The device that computes, with autodiff.
    device: Device,
    normalize: Normalize,
    pictures: Pictures,
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
    /// No image for the progress picture can be read.
    #[error("none of the images that were tried for progress pictures can be read; {0}")]
    NoPicture(data::DataError),
}

impl FcmaeObjective {
    /// The objective of an experiment whose `[model]` section describes `model`.
    ///
    /// # Errors
    /// A mask that cannot be trained, images that cannot be read or normalised.
    pub fn new(
        experiment: &PretrainExperiment,
        model: &ConvNextV2Config,
        source: &dyn ImageSource,
        device: &Device,
    ) -> Result<Self, ObjectiveError> {
        let normalize = experiment.data.normalize(model.num_channels)?;
        // Spread over the data, so that they show more than the first class.
        let step = (source.len() / PICTURES).max(1);
        let decode = experiment.data.decode(model.num_channels);
        let (mut images, mut unreadable) = (Vec::new(), None);
        for index in (0..source.len()).step_by(step) {
            match image_of(source, index, decode) {
                Ok(image) => images.push(image),
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        images.truncate(PICTURES);
        if let (true, Some(error)) = (images.is_empty(), unreadable) {
            return Err(ObjectiveError::NoPicture(error));
        }
        let PretrainExperiment { data, eval, .. } = experiment;
        let eval_normalize = eval.normalize(data, model.num_channels)?;
        let (values, shape) = prepare(images, &eval.transform(data), &eval_normalize)
            .map_err(|error| ObjectiveError::Setting(SettingError::Together(error)))?;
        let mask = experiment.fcmae.mask_shape(model, eval.size(data))?;
        Ok(Self {
            seed: experiment.seed,
            execution: experiment.model.execution(),
            shape: experiment.fcmae.mask_shape(model, experiment.data.image_size.pixels())?,
            drop_path_rates: model.drop_path_rates(),
            device: device.clone(),
            pictures: Pictures { values, shape, mask, normalize: eval_normalize },
            normalize,
        })
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
        let drop_path = DropPath::for_training(&self.drop_path_rates, streams, &self.device);
        let images = trainer::to_device(batch.pixels, batch.shape, &self.normalize, &self.device);
        Ok(model.loss(images, &mask, self.execution, drop_path.as_ref()))
    }

    fn picture(&self, model: &Fcmae) -> Result<Option<Picture>, BoxError> {
        let Pictures { values, shape, mask, normalize } = &self.pictures;
        let indices: Vec<u64> = (0..shape[0] as u64).collect();
        let mask = random_mask(mask, self.seed, 0, &indices)?;
        let images = host::floats(values.clone(), *shape, &self.device.clone().inner());
        let result = reconstruct(model, images, &mask, normalize, usual_bands(shape[1]))?;
        Ok(Some(Picture { tag: "reconstruction", image: result.picture }))
    }
}
