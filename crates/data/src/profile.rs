//! Where the time of making a batch goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::DataError;
use crate::loader::Pixels;
use crate::loaders::TrainingBatches;
use crate::picture::Picture;
use crate::rng::{Stream, rng};
use crate::source::ImageSource;
use crate::transform::Raster;

/// Time that one thread spends on the parts of making images for training.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile {
    /// Images that were made.
    pub images: usize,
    /// Reading files, shards or tables.
    pub reading: Duration,
    /// Decoding what is cut out.
    pub decoding: Duration,
    /// Resizing it.
    pub resizing: Duration,
    /// Mirroring, colours, RandAugment, normalising and erasing.
    pub augmenting: Duration,
}

impl Profile {
    /// Time of all parts.
    pub fn total(&self) -> Duration {
        self.reading + self.decoding + self.resizing + self.augmenting
    }
}

impl TrainingBatches<'_> {
    /// Makes some images of a source, as many as it has and at most `count`, part by part. Unreadable
    /// ones are left out.
    ///
    /// # Errors
    /// Means and deviations that fit no image.
    pub fn profile(&self, source: &Arc<dyn ImageSource>, count: usize) -> Result<Profile, DataError> {
        let size = self.data.image_size.pixels();
        let transform = self.augment.transform(size, &self.data.mean);
        let (normalize, erase) = (self.data.normalize(self.channels)?, self.augment.erase());
        let mut profile = Profile::default();
        let count = count.min(source.len());
        // From all over the source, whose images may be sorted.
        for index in (0..count).map(|image| image * source.len() / count) {
            let mut rng = rng(self.seed, Stream::Augment, 0, index as u64);
            let mut clock = Clock(Instant::now());
            let Ok(stored) = source.read(index) else { continue };
            profile.reading += clock.lap();
            let Ok(picture) = Picture::open(&stored, self.data.decode(self.channels)) else { continue };
            let area = transform.crop.sample(picture.dimensions(), &mut rng);
            let Ok(part) = picture.part(area, size) else { continue };
            profile.decoding += clock.lap();
            let resized = part.resize(size);
            profile.resizing += clock.lap();
            let Ok(image) = transform.augment(resized, &mut rng) else { continue };
            let mut pixels = Pixels::with_capacity(self.raw, 0);
            let Ok(values) = pixels.push(&image, &normalize) else { continue };
            let _ = erase.and_then(|erase| erase.now_or_later(values, self.channels, size, &mut rng));
            profile.augmenting += clock.lap();
            profile.images += 1;
        }
        Ok(profile)
    }
}

/// Time since it was last asked.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, Instant::now());
        self.0 - before
    }
}
