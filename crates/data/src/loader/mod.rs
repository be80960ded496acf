//! Batches: shuffled, augmented, normalised, made ahead by worker threads.
//!
//! What a batch holds depends on (seed, epoch, batch) alone, so a run can go on from any batch,
//! with any number of workers, and see the same numbers. Workers share single images: how many are made
//! ahead of time is bounded, whatever the number of workers and the batches of an update.

mod batch;
mod config;
mod memory;
mod order;
mod samples;
#[cfg(test)]
mod tests;
mod workers;

use std::sync::Arc;
use std::time::Instant;

use crate::error::DataError;
use crate::shard::Shard;
use crate::source::ImageSource;
use crate::transform::Transform;
use samples::{Passes, Shared};

pub use batch::{Batch, Pixels, Targets};
pub use config::LoaderConfig;
pub use memory::{BatchMemory, MemoryPool, Staged};
pub use order::{ORDER_VERSION, SHUFFLE_BUFFER, Sampling, Shuffle, balanced_order, order, shard_order};
pub use workers::Batches;

/// Makes batches of a source.
#[derive(Clone)]
pub struct Loader(Arc<Shared>);

impl Loader {
    /// A loader for training: shuffled, endless, whole batches only.
    ///
    /// # Errors
    /// Fewer images than a batch takes; a batch of 0; means and deviations that fit no image; classes to
    /// be balanced that not every image has; shards to be shuffled of a source that has none.
    pub fn new(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        let (batch, images) = (config.batch_size * config.shard.world_size, source.len());
        if batch > images {
            return Err(DataError::BatchTooLarge { batch, images });
        }
        if config.sampling == Sampling::Balanced && (0..images).any(|index| source.label(index).is_none()) {
            return Err(DataError::NoClassesToBalance);
        }
        if config.shuffle == Shuffle::Shards && source.shards().is_none() {
            return Err(DataError::NoShards);
        }
        Self::with(source, transform, config, Passes::Shuffled)
    }

    /// A loader for evaluation: one pass in the source's order, with a smaller last batch.
    /// `config.accumulate` does not matter.
    ///
    /// # Errors
    /// As [`Loader::new`], but a batch may be larger than the source.
    pub fn evaluation(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        Self::with(source, transform, config, Passes::Sequential)
    }

    fn with(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
        passes: Passes,
    ) -> Result<Self, DataError> {
        config.check()?;
        Ok(Self(Arc::new(Shared::new(source, transform, config, passes))))
    }

    /// Batches that this process makes in one pass over the source: whole ones in training, all in
    /// evaluation.
    pub fn batches_per_epoch(&self) -> u64 {
        self.0.batches_per_epoch() as u64
    }

    /// Images of the source, of which each process makes its part.
    pub fn images(&self) -> usize {
        self.0.source.len()
    }

    /// Batches that rank 0 makes in evaluation: no other process makes more, and each at most one
    /// less.
    pub fn rounds(&self) -> u64 {
        let LoaderConfig { batch_size, shard, .. } = self.0.config;
        let batches = self.0.source.len().div_ceil(batch_size);
        Shard { rank: 0, ..shard }.share(batches) as u64
    }

    /// The same batches, in memory of a pool if they are raw.
    #[must_use]
    pub fn in_memory_of(self, pool: Arc<dyn MemoryPool>) -> Self {
        let Shared { source, transform, config, passes, .. } = &*self.0;
        let mut shared = Shared::new(Arc::clone(source), Arc::clone(transform), config.clone(), *passes);
        shared.memory = config.raw.then_some(pool);
        Self(Arc::new(shared))
    }

    /// Images that are made before they are asked for, at most; none without workers. Where batches are
    /// made in memory of their own, there is room for whole ones.
    pub fn images_ahead(&self) -> usize {
        let ahead = self.0.config.images_ahead();
        match self.0.memory {
            Some(_) => ahead.next_multiple_of(self.0.config.batch_size),
            None => ahead,
        }
    }

    /// Bytes of an image in a batch.
    pub fn image_bytes(&self) -> usize {
        let [height, width] = self.0.transform.size();
        let of_a_number = if self.0.config.raw { 1 } else { size_of::<f32>() };
        self.0.config.normalize.channels() * height * width * of_a_number
    }

    /// The same images in batches of another size, for a trial: unreadable ones are counted apart.
    pub fn apart(&self, batch_size: usize) -> Self {
        let Shared { source, transform, config, passes, memory, .. } = &*self.0;
        let config = LoaderConfig { batch_size, accumulate: 1, ..config.clone() };
        let mut shared = Shared::new(Arc::clone(source), Arc::clone(transform), config, *passes);
        shared.memory = memory.clone();
        Self(Arc::new(shared))
    }

    /// Unreadable images in the batches delivered so far: name and reason.
    pub fn corrupt(&self) -> Vec<(String, String)> {
        self.0.corrupt_images()
    }

    /// The images that are being read and transformed at present, and since when, longest first.
    pub fn in_the_making(&self) -> Vec<(String, Instant)> {
        self.0.in_the_making()
    }

    /// Batches from number `batch` of an epoch on: epoch after epoch without end in training, to the
    /// end of the pass in evaluation.
    pub fn batches(&self, epoch: u64, batch: u64) -> Batches {
        let first = epoch * self.0.delivered_per_epoch() + batch;
        let end = (self.0.passes == Passes::Sequential).then(|| self.batches_per_epoch());
        Batches::start(&self.0, first, end)
    }
}
