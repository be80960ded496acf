//! Batches: shuffled, augmented, normalised, made ahead by worker threads.
//!
//! What a batch holds depends on (seed, epoch, batch) alone, so a run can go on from any batch,
//! with any number of workers, and see the same numbers.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rand::RngExt;

use crate::error::DataError;
use crate::rng::{Stream, rng};
use crate::source::ImageSource;
use crate::transform::{Normalize, Transform};

/// Images of one forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Normalised, row-major in `shape`.
    pub images: Vec<f32>,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// A class index an image; empty for images without labels.
    pub labels: Vec<u32>,
    /// Index of every image in the source.
    pub indices: Vec<u64>,
    /// The pass over the data that the batch belongs to.
    pub epoch: u64,
}

/// The next batch to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Pass over the data.
    pub epoch: u64,
    /// Batch within it.
    pub batch: u64,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Of order, crops and flips.
    pub seed: u64,
    /// Images of a batch; those left over at the end of an epoch are dropped.
    pub batch_size: usize,
    /// Batches of an update; those left over at the end of an epoch are dropped.
    pub accumulate: usize,
    /// Threads; 0 makes every batch when it is asked for.
    pub workers: usize,
    /// Unreadable images that are skipped before it is an error.
    pub max_corrupt: usize,
    /// Pixels → numbers.
    pub normalize: Normalize,
}

/// Makes batches of a source.
#[derive(Clone)]
pub struct Loader(Arc<Shared>);

struct Shared {
    source: Arc<dyn ImageSource>,
    transform: Arc<dyn Transform>,
    config: LoaderConfig,
    /// Unreadable images by index, with the reason.
    corrupt: Mutex<BTreeMap<usize, String>>,
}

impl Loader {
    /// A loader of a source.
    ///
    /// # Errors
    /// Fewer images than a batch takes.
    pub fn new(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        let (batch, images) = (config.batch_size, source.len());
        if batch > images {
            return Err(DataError::BatchTooLarge { batch, images });
        }
        Ok(Self(Arc::new(Shared { source, transform, config, corrupt: Mutex::default() })))
    }

    /// Whole batches in the source.
    pub fn batches_per_epoch(&self) -> u64 {
        (self.0.source.len() / self.0.config.batch_size) as u64
    }

    /// Unreadable images found so far: name and reason.
    pub fn corrupt(&self) -> Vec<(String, String)> {
        self.0.corrupt_images()
    }

    /// Batches from a position on, epoch after epoch, without end.
    pub fn batches(&self, from: Position) -> Batches {
        let per_epoch = self.0.delivered_per_epoch();
        let first = from.epoch * per_epoch + from.batch;
        let workers = (0..self.0.config.workers as u64).map(|w| self.spawn(first + w));
        Batches { workers: workers.collect(), maker: Maker::new(Arc::clone(&self.0)), next: first, first }
    }

    /// A worker for every `workers`-th batch from `number` on. It has one finished batch waiting
    /// and one in the making, which bounds the memory.
    fn spawn(&self, mut number: u64) -> Worker {
        let (send, receive) = sync_channel(1);
        let mut maker = Maker::new(Arc::clone(&self.0));
        let step = self.0.config.workers as u64;
        let thread = thread::spawn(move || {
            // Sending fails when nobody listens any more.
            while send.send(maker.make(number)).is_ok() {
                number += step;
            }
        });
        Worker { receive: Some(receive), thread: Some(thread) }
    }
}

/// An endless sequence of batches. Dropping it stops the workers.
pub struct Batches {
    workers: Vec<Worker>,
    maker: Maker,
    first: u64,
    next: u64,
}

struct Worker {
    receive: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.receive = None;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        if self.workers.is_empty() {
            return Some(self.maker.make(number));
        }
        let worker = (number - self.first) as usize % self.workers.len();
        self.workers[worker].receive.as_ref()?.recv().ok()
    }
}

/// Makes batches by number, counted over all epochs.
struct Maker {
    shared: Arc<Shared>,
    /// The order of the epoch worked on last.
    order: (u64, Vec<u32>),
}

impl Maker {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, order: (0, Vec::new()) }
    }

    fn make(&mut self, number: u64) -> Result<Batch, DataError> {
        let shared = &self.shared;
        let per_epoch = shared.delivered_per_epoch();
        let (epoch, batch) = (number / per_epoch, (number % per_epoch) as usize);
        if self.order.0 != epoch || self.order.1.is_empty() {
            self.order = (epoch, order(shared.config.seed, epoch, shared.source.len()));
        }
        let size = shared.config.batch_size;
        let indices = &self.order.1[batch * size..][..size];
        let [height, width] = shared.transform.size();
        let shape = [size, shared.config.normalize.channels(), height, width];
        let mut images = Vec::with_capacity(shape.iter().product());
        let (mut labels, mut found) = (Vec::new(), Vec::with_capacity(size));
        for &index in indices {
            let index = shared.add_sample(index as usize, epoch, &mut images, &mut labels)?;
            found.push(index as u64);
        }
        Ok(Batch { images, shape, labels, indices: found, epoch })
    }
}

impl Shared {
    /// Batches of an epoch that fill an update.
    fn delivered_per_epoch(&self) -> u64 {
        let batches = (self.source.len() / self.config.batch_size) as u64;
        let accumulate = self.config.accumulate as u64;
        // At least one, so that positions exist; the trainer refuses such a plan.
        (batches / accumulate * accumulate).max(1)
    }

    /// Appends a sample; if it cannot be read, the next one that can. Returns its index.
    fn add_sample(
        &self,
        wanted: usize,
        epoch: u64,
        images: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) -> Result<usize, DataError> {
        let count = self.source.len();
        let mut last_error = None;
        for index in (0..count).map(|offset| (wanted + offset) % count) {
            match self.source.get(index) {
                Ok(sample) => {
                    let mut rng = rng(self.config.seed, Stream::Augment, epoch, index as u64);
                    self.config.normalize.apply(&self.transform.apply(&sample.image, &mut rng), images);
                    labels.extend(sample.label);
                    return Ok(index);
                }
                Err(error) => {
                    self.record_corrupt(index, &error)?;
                    last_error = Some(error);
                }
            }
        }
        Err(DataError::AllCorrupt(last_error.map_or_else(String::new, |error| error.to_string())))
    }

    fn record_corrupt(&self, index: usize, error: &DataError) -> Result<(), DataError> {
        let reason = match error {
            DataError::Decode { reason, .. } | DataError::Io { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let count = {
            let mut corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
            corrupt.insert(index, reason);
            corrupt.len()
        };
        let limit = self.config.max_corrupt;
        if count <= limit {
            return Ok(());
        }
        Err(DataError::TooManyCorrupt { found: self.corrupt_images(), limit })
    }

    fn corrupt_images(&self) -> Vec<(String, String)> {
        let corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        corrupt.iter().map(|(index, reason)| (self.source.name(*index), reason.clone())).collect()
    }
}

/// The order of the samples in an epoch: a random permutation of 0..`count`.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut rng = rng(seed, Stream::Order, epoch, 0);
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sample;
    use crate::transform::{RandomResizedCrop, TrainTransform};
    use burn_dataset::Dataset;
    use image::{Rgb, RgbImage};
    use std::path::PathBuf;

    /// Images of one colour that tells their index; some cannot be read.
    struct Numbered {
        count: usize,
        broken: Vec<usize>,
    }

    impl Dataset<Sample, DataError> for Numbered {
        fn get(&self, index: usize) -> Result<Sample, DataError> {
            if self.broken.contains(&index) {
                return Err(DataError::Decode { path: PathBuf::from("x"), reason: "broken".into() });
            }
            let image = RgbImage::from_fn(12, 9, |x, y| Rgb([index as u8, x as u8, y as u8]));
            Ok(Sample { image, label: Some(index as u32 % 3) })
        }

        fn len(&self) -> usize {
            self.count
        }
    }

    impl ImageSource for Numbered {
        fn classes(&self) -> &[String] {
            &[]
        }

        fn name(&self, index: usize) -> String {
            format!("image {index}")
        }
    }

    fn loader(broken: &[usize], workers: usize, max_corrupt: usize) -> Loader {
        let crop = RandomResizedCrop { size: [4, 6], scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
        let config = LoaderConfig {
            seed: 5,
            batch_size: 3,
            accumulate: 2,
            workers,
            max_corrupt,
            normalize: Normalize { mean: vec![0.5; 3], std: vec![0.5; 3] },
        };
        let source = Arc::new(Numbered { count: 22, broken: broken.to_vec() });
        Loader::new(source, Arc::new(TrainTransform { crop, hflip: true }), config).unwrap()
    }

    const START: Position = Position { epoch: 0, batch: 0 };

    fn take(loader: &Loader, from: Position, count: usize) -> Vec<Batch> {
        loader.batches(from).take(count).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers() {
        let expected = take(&loader(&[4], 0, 1), START, 15);
        assert_eq!(expected[0].shape, [3, 3, 4, 6]);
        assert_eq!(expected[0].images.len(), 3 * 3 * 4 * 6);
        for workers in [1, 3] {
            assert_eq!(take(&loader(&[4], workers, 1), START, 15), expected, "{workers} workers");
        }
    }

    #[test]
    fn batches_from_a_position_equal_those_after_skipping() {
        let loader = loader(&[], 2, 0);
        // 22 images make 7 batches, of which 6 fill updates of 2.
        assert_eq!(loader.batches_per_epoch(), 7);
        let all = take(&loader, START, 15);
        assert_eq!(all[5].epoch, 0);
        assert_eq!(all[6].epoch, 1);
        assert_eq!(take(&loader, Position { epoch: 0, batch: 4 }, 11), all[4..]);
        assert_eq!(take(&loader, Position { epoch: 2, batch: 1 }, 2), all[13..]);
    }

    #[test]
    fn an_epoch_sees_no_image_twice_and_orders_differ() {
        let batches = take(&loader(&[], 0, 0), START, 12);
        for epoch in batches.chunks(6) {
            let mut seen: Vec<_> = epoch.iter().flat_map(|batch| batch.indices.clone()).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 18);
        }
        assert_ne!(batches[0].indices, batches[6].indices);
        let mut sorted = order(1, 2, 100);
        assert_ne!(sorted, order(1, 3, 100));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn unreadable_images_are_replaced_and_counted_up_to_the_limit() {
        let tolerant = loader(&[3, 4], 2, 2);
        for batch in take(&tolerant, START, 12) {
            assert_eq!(batch.labels.len(), 3);
            assert!(!batch.indices.contains(&3) && !batch.indices.contains(&4));
        }
        let found = tolerant.corrupt();
        assert_eq!(found, [("image 3".into(), "broken".into()), ("image 4".into(), "broken".into())]);

        let strict = loader(&[3, 4], 0, 1);
        let error = strict.batches(START).take(12).find_map(Result::err).unwrap().to_string();
        assert!(error.contains("data.max_corrupt = 1") && error.contains("image 3 (broken)"), "{error}");
    }

    #[test]
    fn a_source_without_readable_images_is_an_error() {
        let all: Vec<_> = (0..22).collect();
        let error = loader(&all, 0, 100).batches(START).next().unwrap().unwrap_err();
        assert!(matches!(error, DataError::AllCorrupt(_)), "{error}");
    }

    #[test]
    fn a_batch_larger_than_the_data_is_refused() {
        let source = Arc::new(Numbered { count: 2, broken: Vec::new() });
        let Shared { transform, config, .. } = &*loader(&[], 0, 0).0;
        let error = Loader::new(source, Arc::clone(transform), config.clone()).err().unwrap().to_string();
        assert!(error.contains("takes 3 images") && error.contains("have 2"), "{error}");
    }
}
