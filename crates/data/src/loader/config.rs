//! How batches are made.

use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::loader::order::{Sampling, Shuffle};
use crate::shard::Shard;
use crate::transform::{Normalize, RandomErasing};

/// How batches are made.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Seed of order, crops and flips.
    pub seed: u64,
    /// How often the images of an epoch are shown, in training.
    pub sampling: Sampling,
    /// In which order the images of an epoch are shown, in training.
    pub shuffle: Shuffle,
    /// Images of a batch of one process; those left over at the end of an epoch are dropped.
    pub batch_size: usize,
    /// Batches of an update; those left over at the end of an epoch are dropped.
    pub accumulate: usize,
    /// Threads that make batches; 0 makes every batch when it is asked for.
    pub workers: usize,
    /// Images that the threads make before they are asked for, at most, but one a thread at least; as many
    /// as a batch has if nothing is said.
    pub prefetch: Option<usize>,
    /// Unreadable images that are skipped before it is an error.
    pub max_corrupt: usize,
    /// How images are decoded.
    pub decode: DecodeOptions,
    /// Pixels → numbers.
    pub normalize: Normalize,
    /// Whether the device normalises, which gets a quarter of the bytes, and erases.
    pub raw: bool,
    /// What is done to the numbers of an image afterwards, in training.
    pub erase: Option<RandomErasing>,
    /// The part of each batch (in training) or of the batches (in evaluation) that is made here.
    pub shard: Shard,
}

impl LoaderConfig {
    /// Images that are made before they are asked for, at most: enough for the next batch while one is
    /// computed, and for every thread to have work.
    pub(super) fn images_ahead(&self) -> usize {
        match self.workers {
            0 => 0,
            workers => self.prefetch.unwrap_or(self.batch_size).max(workers),
        }
    }

    pub(super) fn check(&self) -> Result<(), DataError> {
        let error = |setting, reason: String| Err(DataError::Setting { setting, reason });
        let Normalize { mean, std } = &self.normalize;
        if self.batch_size == 0 {
            return error("train.batch_size", "is 0; a batch takes at least one image".to_owned());
        }
        if self.accumulate == 0 {
            return error("train.accumulate", "is 0; an update takes at least one batch".to_owned());
        }
        if mean.is_empty() || mean.len() != std.len() {
            let reason =
                format!("has {} numbers and data.std {}; both need one a channel", mean.len(), std.len());
            return error("data.mean", reason);
        }
        if !std.iter().all(|std| *std > 0.0) {
            return error("data.std", format!("is {std:?}; deviations are positive"));
        }
        Ok(())
    }
}
