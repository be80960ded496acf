//! Loaders as configurations ask for them.

use std::sync::Arc;

use crate::any_image::AnyImage;
use crate::augment_config::AugmentConfig;
use crate::data_config::DataConfig;
use crate::error::DataError;
use crate::eval_config::EvalConfig;
use crate::loader::{Loader, LoaderConfig, Sampling, Shuffle};
use crate::shard::Shard;
use crate::source::ImageSource;
use crate::transform::{EvalTransform, Normalize};

/// What a training loader is made of, beside its images.
#[derive(Debug, Clone, Copy)]
pub struct TrainingBatches<'a> {
    /// Where images come from, and how their pixels become numbers.
    pub data: &'a DataConfig,
    /// Augmentation of the images.
    pub augment: &'a AugmentConfig,
    /// Seed of order, crops and flips.
    pub seed: u64,
    /// Images of a batch of one process.
    pub batch_size: usize,
    /// Batches of an update.
    pub accumulate: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Whether the device normalises.
    pub raw: bool,
    /// The part of each batch that is made here.
    pub shard: Shard,
}

impl TrainingBatches<'_> {
    /// Augmented batches of a source, for training.
    ///
    /// # Errors
    /// Fewer images than a batch takes; means and deviations that fit no image; classes to be balanced
    /// that not every image has; shards to be shuffled of images that lie in none; colours to be changed of
    /// images of other channels.
    pub fn loader(&self, source: &Arc<dyn ImageSource>) -> Result<Loader, DataError> {
        self.augment.check_channels(self.channels)?;
        let transform = self.augment.transform(self.data.image_size.pixels(), &self.data.mean);
        let config = LoaderConfig {
            seed: self.seed,
            sampling: self.data.sampling,
            shuffle: self.data.shuffle,
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            workers: self.data.workers.count(),
            prefetch: self.data.prefetch,
            max_corrupt: self.data.max_corrupt,
            decode: self.data.decode(self.channels),
            normalize: self.data.normalize(self.channels)?,
            raw: self.raw && !may_hold_bands(&**source, self.channels),
            erase: self.augment.erase(),
            shard: self.shard,
        };
        Loader::new(Arc::clone(source), Arc::new(transform), config)
    }
}

/// Every image of a source once, as the network sees it in evaluation, or those of this process.
/// Unreadable ones are an error: an accuracy over other images than asked for would not be that
/// accuracy.
///
/// # Errors
/// Means and deviations that fit no image.
pub fn evaluation_loader(
    source: &Arc<dyn ImageSource>,
    data: &DataConfig,
    eval: &EvalConfig,
    channels: usize,
    batch_size: usize,
    shard: Shard,
) -> Result<Loader, DataError> {
    let config = LoaderConfig {
        seed: 0,
        sampling: Sampling::Uniform,
        shuffle: Shuffle::Images,
        batch_size,
        accumulate: 1,
        workers: data.workers.count(),
        prefetch: data.prefetch,
        max_corrupt: 0,
        decode: data.decode(channels),
        normalize: eval.normalize(data, channels)?,
        raw: false,
        erase: None,
        shard,
    };
    Loader::evaluation(Arc::clone(source), Arc::new(eval.transform(data)), config)
}

/// Whether a source has files that may be more than pictures of 8 bits, which the host normalises.
fn may_hold_bands(source: &dyn ImageSource, channels: usize) -> bool {
    if !matches!(channels, 1 | 3) {
        return true;
    }
    let is_picture = |ending: &str| match ending {
        "png" => channels == 3,
        "jpg" | "jpeg" | "jpe" | "jfif" | "webp" | "bmp" | "gif" | "qoi" => true,
        _ => false,
    };
    // Images without files of their own are pictures in memory, but for those of Parquet files.
    let ending = |name: String| name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    (0..source.len()).any(|index| ending(source.name(index)).is_some_and(|ending| !is_picture(&ending)))
}

/// Evaluation transform and normalisation of a few images: values and shape `[N, C, H, W]`.
///
/// # Errors
/// An image of other channels.
pub fn prepare(
    images: Vec<AnyImage>,
    transform: &EvalTransform,
    normalize: &Normalize,
) -> Result<(Vec<f32>, [usize; 4]), String> {
    let [height, width] = transform.size;
    let shape = [images.len(), normalize.channels(), height, width];
    let mut values = Vec::with_capacity(shape.iter().product());
    for image in images {
        normalize.apply(&transform.prepare(&image), &mut values)?;
    }
    Ok((values, shape))
}
