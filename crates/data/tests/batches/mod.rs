//! Small batches of a source, for training.

use std::sync::Arc;

use data::{
    AugmentConfig, Batch, DataConfig, DataError, ImageSize, ImageSource, Loader, Shard, Shuffle,
    TrainingBatches, Workers,
};

/// A loader of batches of four images of 8×8 pixels.
pub(crate) fn loader(
    source: &Arc<dyn ImageSource>,
    workers: usize,
    shuffle: Shuffle,
) -> Result<Loader, DataError> {
    let data = DataConfig {
        image_size: ImageSize::Square(8),
        workers: Workers::Number(workers),
        shuffle,
        ..DataConfig::default()
    };
    TrainingBatches {
        data: &data,
        augment: &AugmentConfig::default(),
        seed: 3,
        batch_size: 4,
        accumulate: 1,
        channels: 3,
        raw: false,
        shard: Shard::default(),
    }
    .loader(source)
}

/// Batches of the first epoch, from one on.
pub(crate) fn batches(source: &Arc<dyn ImageSource>, workers: usize, from: u64, count: usize) -> Vec<Batch> {
    let loader = loader(source, workers, Shuffle::Images).unwrap();
    loader.batches(0, from).take(count).collect::<Result<_, _>>().unwrap()
}
