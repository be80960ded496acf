//! Making batches: reading, augmenting and normalising their samples.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand_chacha::ChaCha8Rng;

use crate::any_image::AnyImage;
use crate::error::DataError;
use crate::loader::batch::{Batch, Pixels};
use crate::loader::config::LoaderConfig;
use crate::loader::memory::{Assembly, MemoryPool};
use crate::loader::order::{SHUFFLE_BUFFER, Sampling, Shuffle, balanced_order, order, shard_order};
use crate::picture::Picture;
use crate::rng::{Stream, rng};
use crate::source::ImageSource;
use crate::transform::Transform;

/// How a loader goes through its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passes {
    /// Again and again, in a new order each time, whole updates only.
    Shuffled,
    /// Once, in the source's order, every image.
    Sequential,
}

/// What every thread that makes batches works with.
pub(super) struct Shared {
    pub(super) source: Arc<dyn ImageSource>,
    pub(super) transform: Arc<dyn Transform>,
    pub(super) config: LoaderConfig,
    pub(super) passes: Passes,
    /// Where memory for raw batches comes from, if the device wants its own.
    pub(super) memory: Option<Arc<dyn MemoryPool>>,
    /// Unreadable images in delivered batches, by index, with the reason.
    pub(super) corrupt: Mutex<BTreeMap<usize, String>>,
    /// The images that threads are at, by number, and since when.
    making: Mutex<BTreeMap<u64, (usize, Instant)>>,
    /// Epochs whose images are being made, the last one first, and the order of each.
    orders: Mutex<Vec<(u64, Arc<Vec<u64>>)>>,
}

/// An image of a batch, and those that could not be read for it.
pub(super) struct Made {
    /// A batch of one image; of none behind the end of the last batch.
    pub(super) image: Result<Batch, DataError>,
    pub(super) unreadable: BTreeMap<usize, String>,
}

impl Shared {
    pub(super) fn new(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
        passes: Passes,
    ) -> Self {
        Self {
            source,
            transform,
            config,
            passes,
            memory: None,
            corrupt: Mutex::default(),
            making: Mutex::default(),
            orders: Mutex::default(),
        }
    }

    /// Makes an image by number, counted over all batches of all epochs.
    pub(super) fn make(&self, number: u64, assembly: &Assembly) -> Made {
        let size = self.config.batch_size;
        let (whole, place) = (number / size as u64, (number % size as u64) as usize);
        let (epoch, batch) = self.position(whole);
        let order = self.order(epoch);
        let draw = order.get(self.config.shard.start(batch, size) + place);
        let (mut image, mut unreadable) = (self.empty_batch(1, whole, place, assembly), BTreeMap::new());
        let begin = |index| {
            self.making().insert(number, (index, Instant::now()));
        };
        let added = draw.map_or(Ok(()), |draw| self.add_sample(*draw, &begin, &mut image, &mut unreadable));
        self.making().remove(&number);
        Made { image: added.map(|()| image), unreadable }
    }

    /// The batch of a number, which waits for so many images, the first of which is its image `place`.
    pub(super) fn empty_batch(&self, count: usize, number: u64, place: usize, assembly: &Assembly) -> Batch {
        let [height, width] = self.transform.size();
        let image = [self.config.normalize.channels(), height, width];
        let (numbers, size) = (image.iter().product(), self.config.batch_size);
        let pixels = match assembly.place(number, place, size, numbers) {
            Some(staged) => Pixels::Staged(staged),
            None => Pixels::with_capacity(self.config.raw, count * numbers),
        };
        Batch::empty(pixels, image, count, self.position(number).0)
    }

    /// The epoch of a batch and its number within that.
    fn position(&self, number: u64) -> (u64, usize) {
        let per_epoch = self.delivered_per_epoch();
        (number / per_epoch, (number % per_epoch) as usize)
    }

    /// Batches that this process makes in one pass: whole ones in training, all in evaluation.
    pub(super) fn batches_per_epoch(&self) -> usize {
        let LoaderConfig { batch_size, shard, .. } = self.config;
        match self.passes {
            Passes::Shuffled => self.source.len() / (batch_size * shard.world_size),
            Passes::Sequential => shard.share(self.source.len().div_ceil(batch_size)),
        }
    }

    /// Batches of an epoch that are delivered: in training those that fill an update.
    pub(super) fn delivered_per_epoch(&self) -> u64 {
        let batches = match self.passes {
            Passes::Shuffled => self.batches_per_epoch() / self.config.accumulate * self.config.accumulate,
            Passes::Sequential => self.batches_per_epoch(),
        };
        // At least one, so that positions exist; the trainer refuses such a plan.
        batches.max(1) as u64
    }

    /// The images of an epoch, kept until another epoch's are asked for.
    fn order(&self, epoch: u64) -> Arc<Vec<u64>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(known, _)| *known == epoch) {
            return Arc::clone(order);
        }
        let order = Arc::new(self.new_order(epoch));
        // Two, since workers have begun an epoch when the last images of the one before are not made yet.
        orders.truncate(1);
        orders.insert(0, (epoch, Arc::clone(&order)));
        order
    }

    /// What the random choices of an epoch's images depend on: an index plus a multiple of the number of
    /// images.
    fn new_order(&self, epoch: u64) -> Vec<u64> {
        let (seed, count) = (self.config.seed, self.source.len());
        match (self.passes, self.config.sampling) {
            (Passes::Sequential, _) => (0..count as u64).collect(),
            (Passes::Shuffled, Sampling::Uniform) => {
                // That there are shards was checked when the loader was made.
                let shards = match self.config.shuffle {
                    Shuffle::Images => None,
                    Shuffle::Shards => self.source.shards(),
                };
                let by_shard = shards.map(|shards| shard_order(seed, epoch, &shards, SHUFFLE_BUFFER));
                by_shard.unwrap_or_else(|| order(seed, epoch, count)).into_iter().map(u64::from).collect()
            }
            (Passes::Shuffled, Sampling::Balanced) => {
                // That all have one was checked when the loader was made.
                let labels: Vec<u32> = (0..count).filter_map(|index| self.source.label(index)).collect();
                balanced_order(seed, epoch, &labels)
            }
        }
    }

    fn making(&self) -> MutexGuard<'_, BTreeMap<u64, (usize, Instant)>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The images that threads are at, and since when, longest first.
    pub(super) fn in_the_making(&self) -> Vec<(String, Instant)> {
        let mut images: Vec<_> = self.making().values().copied().collect();
        images.sort_by_key(|(_, since)| *since);
        images.into_iter().map(|(index, since)| (self.source.name(index), since)).collect()
    }

    /// Appends a sample; if it cannot be read, the next one that can. `begin` is told of each that is tried.
    fn add_sample(
        &self,
        wanted: u64,
        begin: &dyn Fn(usize),
        batch: &mut Batch,
        unreadable: &mut BTreeMap<usize, String>,
    ) -> Result<(), DataError> {
        let count = self.source.len();
        let (wanted, repeat) = ((wanted % count as u64) as usize, wanted / count as u64);
        for index in (0..count).map(|offset| (wanted + offset) % count) {
            // One beyond the limit is enough to fail: do not try a million more files.
            if unreadable.len() > self.config.max_corrupt {
                break;
            }
            begin(index);
            let draw = index as u64 + repeat * count as u64;
            let mut rng = rng(self.config.seed, Stream::Augment, batch.epoch, draw);
            let image = self.image(index, &mut rng);
            let values = match image.and_then(|image| batch.pixels.push(&image, &self.config.normalize)) {
                Ok(values) => values,
                Err(reason) => {
                    unreadable.insert(index, reason);
                    continue;
                }
            };
            let (channels, size) = (self.config.normalize.channels(), self.transform.size());
            let erase = self.config.erase;
            let later = erase.and_then(|erase| erase.now_or_later(values, channels, size, &mut rng));
            batch.erased.extend(later.map(|erased| (batch.shape[0], erased)));
            batch.targets.push(self.source.target(index), batch.indices.len())?;
            batch.indices.push(index as u64);
            batch.draws.push(draw);
            batch.shape[0] += 1;
            return Ok(());
        }
        Err(DataError::AllCorrupt(unreadable.values().next_back().cloned().unwrap_or_default()))
    }

    /// A transformed image, or why it cannot be had.
    fn image(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<AnyImage, String> {
        let stored = self.source.read(index).map_err(reason)?;
        self.transform.apply(&Picture::open(&stored, self.config.decode)?, rng)
    }

    /// Takes note of unreadable images.
    ///
    /// # Errors
    /// More of them than are allowed.
    pub(super) fn record_corrupt(&self, unreadable: BTreeMap<usize, String>) -> Result<(), DataError> {
        let count = {
            let mut corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
            corrupt.extend(unreadable);
            corrupt.len()
        };
        let limit = self.config.max_corrupt;
        if count <= limit {
            return Ok(());
        }
        let found = self.corrupt_images();
        Err(match self.passes {
            Passes::Shuffled => DataError::TooManyCorrupt { found, limit },
            Passes::Sequential => DataError::Unreadable(found),
        })
    }

    /// Unreadable images in the batches delivered so far: name and reason.
    pub(super) fn corrupt_images(&self) -> Vec<(String, String)> {
        let corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        corrupt.iter().map(|(index, reason)| (self.source.name(*index), reason.clone())).collect()
    }
}

/// Why a sample cannot be read, without its name, which stands beside it.
fn reason(error: DataError) -> String {
    match error {
        DataError::Decode { reason, .. } | DataError::Io { reason, .. } => reason,
        other => other.to_string(),
    }
}
