//! Making batches: reading, augmenting and normalising their samples.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::DataError;
use crate::loader::batch::Batch;
use crate::loader::config::LoaderConfig;
use crate::loader::order::{SHUFFLE_BUFFER, Sampling, Shuffle, balanced_order, order, shard_order};
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
    /// Unreadable images in delivered batches, by index, with the reason.
    pub(super) corrupt: Mutex<BTreeMap<usize, String>>,
}

/// Images that a thread makes at a time, at most: a batch is put together from such pieces, so that
/// what is made ahead is bounded in images, however many a batch takes.
pub(super) const PIECE: usize = 16;

/// Consecutive images of a batch, and those that could not be read for it.
pub(super) struct Piece {
    pub(super) images: Result<Batch, DataError>,
    pub(super) unreadable: BTreeMap<usize, String>,
}

/// Makes pieces by number, counted over all batches of all epochs.
#[derive(Clone)]
pub(super) struct BatchMaker {
    pub(super) shared: Arc<Shared>,
    /// Set when no more batches are wanted.
    pub(super) stop: Arc<AtomicBool>,
    /// The order of the epoch worked on last.
    order: (u64, Vec<u64>),
}

impl BatchMaker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stop: Arc::default(), order: (0, Vec::new()) }
    }

    /// A piece; `None` once it is not wanted any more.
    pub(super) fn make(&mut self, number: u64) -> Option<Piece> {
        let pieces = self.shared.pieces();
        let (number, piece) = (number / pieces as u64, (number % pieces as u64) as usize);
        let per_epoch = self.shared.delivered_per_epoch();
        let (epoch, batch) = (number / per_epoch, (number % per_epoch) as usize);
        if self.order.0 != epoch || self.order.1.is_empty() {
            self.order = (epoch, self.shared.order(epoch));
        }
        let shared = &self.shared;
        let size = shared.config.batch_size;
        let start = shared.config.shard.start(batch, size);
        let wanted = &self.order.1[start..(start + size).min(self.order.1.len())];
        // Of equal size, so that no thread always gets the larger ones.
        let [from, to] = [piece, piece + 1].map(|piece| wanted.len() * piece / pieces);
        let wanted = &wanted[from..to];
        let [height, width] = shared.transform.size();
        let image = [shared.config.normalize.channels(), height, width];
        let mut batch = Batch::empty(shared.config.raw, image, wanted.len(), epoch);
        let mut unreadable = BTreeMap::new();
        for &draw in wanted {
            if self.stop.load(Relaxed) {
                return None;
            }
            if let Err(error) = shared.add_sample(draw, &mut batch, &mut unreadable) {
                return Some(Piece { images: Err(error), unreadable });
            }
        }
        Some(Piece { images: Ok(batch), unreadable })
    }
}

impl Shared {
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

    /// Pieces of a batch.
    pub(super) fn pieces(&self) -> usize {
        self.config.batch_size.div_ceil(PIECE)
    }

    /// Pieces that each thread has finished at most before they are asked for: together those of one
    /// batch, so that the next is made while one is computed.
    pub(super) fn pieces_ahead(&self) -> usize {
        self.pieces().div_ceil(self.config.workers.max(1))
    }

    /// The images of an epoch: what their random choices depend on, which is an index plus a multiple of
    /// the number of images.
    fn order(&self, epoch: u64) -> Vec<u64> {
        let (seed, count) = (self.config.seed, self.source.len());
        match (self.passes, self.config.sampling) {
            (Passes::Sequential, _) => (0..count as u64).collect(),
            (Passes::Shuffled, Sampling::Uniform) => {
                // That there are shards was checked when the loader was made.
                let shards = self.source.shards().filter(|_| self.config.shuffle == Shuffle::Shards);
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

    /// Appends a sample; if it cannot be read, the next one that can.
    fn add_sample(
        &self,
        wanted: u64,
        batch: &mut Batch,
        unreadable: &mut BTreeMap<usize, String>,
    ) -> Result<(), DataError> {
        let count = self.source.len();
        let (wanted, repeat) = ((wanted % count as u64) as usize, wanted / count as u64);
        for index in (0..count).map(|offset| (wanted + offset) % count) {
            // One batch beyond the limit is enough to fail: do not try a million more files.
            if unreadable.len() > self.config.max_corrupt {
                break;
            }
            if unreadable.contains_key(&index) {
                continue;
            }
            let sample = match self.source.get(index) {
                Ok(sample) => sample,
                Err(error) => {
                    unreadable.insert(index, reason(error));
                    continue;
                }
            };
            let draw = index as u64 + repeat * count as u64;
            let mut rng = rng(self.config.seed, Stream::Augment, batch.epoch, draw);
            let image = self.transform.apply(&sample.image, &mut rng);
            let values = batch.pixels.push(&image, &self.config.normalize);
            if let (Some(values), Some(erase)) = (values, self.config.erase) {
                erase.apply(values, self.transform.size(), &mut rng);
            }
            batch.targets.push(sample.target, batch.indices.len())?;
            batch.indices.push(index as u64);
            batch.draws.push(draw);
            return Ok(());
        }
        Err(DataError::AllCorrupt(unreadable.values().next_back().cloned().unwrap_or_default()))
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
