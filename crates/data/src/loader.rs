//! Batches: shuffled, augmented, normalised, made ahead by worker threads.
//!
//! What a batch holds depends on (seed, epoch, batch) alone, so a run can go on from any batch,
//! with any number of workers, and see the same numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::rng::{Stream, rng};
use crate::shard::Shard;
use crate::source::{ImageSource, Target};
use crate::transform::{Normalize, RandomErasing, Transform};

/// Images of one forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Normalised, row-major in `shape`; empty where the device normalises.
    pub images: Vec<f32>,
    /// Intensities in the same order, where the device normalises; else empty.
    pub raw: Vec<u8>,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// A class index an image; empty for images without one.
    pub labels: Vec<u32>,
    /// The numbers of every image, row by row; empty for images without them.
    pub values: Vec<f32>,
    /// Index of every image in the source.
    pub indices: Vec<u64>,
    /// The pass over the data that the batch belongs to.
    pub epoch: u64,
}

/// The next batch to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Images of a batch of one process; those left over at the end of an epoch are dropped.
    pub batch_size: usize,
    /// Batches of an update; those left over at the end of an epoch are dropped.
    pub accumulate: usize,
    /// Threads; 0 makes every batch when it is asked for.
    pub workers: usize,
    /// Unreadable images that are skipped before it is an error.
    pub max_corrupt: usize,
    /// Pixels → numbers.
    pub normalize: Normalize,
    /// Leaves that to the device, which gets a quarter of the bytes; `erase` then does not apply.
    pub raw: bool,
    /// What is done to the numbers of an image afterwards, in training.
    pub erase: Option<RandomErasing>,
    /// The part of each batch (in training) or of the batches (in evaluation) that is made here.
    pub shard: Shard,
}

/// Makes batches of a source.
#[derive(Clone)]
pub struct Loader(Arc<Shared>);

struct Shared {
    source: Arc<dyn ImageSource>,
    transform: Arc<dyn Transform>,
    config: LoaderConfig,
    passes: Passes,
    /// Unreadable images in delivered batches, by index, with the reason.
    corrupt: Mutex<BTreeMap<usize, String>>,
}

/// How a loader goes through its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// Again and again, in a new order each time, whole updates only.
    Shuffled,
    /// Once, in the source's order, every image.
    Sequential,
}

impl Loader {
    /// A loader for training: shuffled, endless, whole batches only.
    ///
    /// # Errors
    /// Fewer images than a batch takes; a batch of 0; means and deviations that fit no image.
    pub fn new(
        source: Arc<dyn ImageSource>,
        transform: Arc<dyn Transform>,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        let (batch, images) = (config.batch_size * config.shard.world_size, source.len());
        if batch > images {
            return Err(DataError::BatchTooLarge { batch, images });
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
        Ok(Self(Arc::new(Shared { source, transform, config, passes, corrupt: Mutex::default() })))
    }

    /// Batches that this process makes in one pass over the source: whole ones in training, all in
    /// evaluation.
    pub fn batches_per_epoch(&self) -> u64 {
        self.0.batches_per_epoch() as u64
    }

    /// Batches that rank 0 makes in evaluation: no other process makes more, and each at most one
    /// less.
    pub fn rounds(&self) -> u64 {
        let LoaderConfig { batch_size, shard, .. } = self.0.config;
        let batches = self.0.source.len().div_ceil(batch_size);
        Shard { rank: 0, ..shard }.share(batches) as u64
    }

    /// Unreadable images in the batches delivered so far: name and reason.
    pub fn corrupt(&self) -> Vec<(String, String)> {
        self.0.corrupt_images()
    }

    /// Batches from a position on: epoch after epoch without end in training, to the end of the
    /// pass in evaluation.
    pub fn batches(&self, from: Position) -> Batches {
        let per_epoch = self.0.delivered_per_epoch();
        let first = from.epoch * per_epoch + from.batch;
        let end = (self.0.passes == Passes::Sequential).then(|| self.batches_per_epoch());
        let maker = Maker::new(Arc::clone(&self.0));
        let workers = (0..self.0.config.workers as u64).map(|w| self.spawn(&maker, first + w, end));
        Batches { workers: workers.collect(), maker, next: first, first, end }
    }

    /// A worker for every `workers`-th batch from `number` on. It has one finished batch waiting
    /// and one in the making, which bounds the memory.
    fn spawn(&self, maker: &Maker, mut number: u64, end: Option<u64>) -> Worker {
        let (send, receive) = sync_channel(1);
        let mut maker = maker.clone();
        let step = self.0.config.workers as u64;
        let thread = thread::spawn(move || {
            while end.is_none_or(|end| number < end) {
                let Some(made) = maker.make(number) else { break };
                // Sending fails when nobody listens any more.
                if send.send(made).is_err() {
                    break;
                }
                number += step;
            }
        });
        Worker { receive: Some(receive), thread: Some(thread) }
    }
}

impl LoaderConfig {
    fn check(&self) -> Result<(), DataError> {
        let error = |setting, reason: String| Err(DataError::Setting { setting, reason });
        let Normalize { mean, std } = &self.normalize;
        if self.batch_size == 0 {
            return error("train.batch_size", "is 0; a batch takes at least one image".to_owned());
        }
        if self.accumulate == 0 {
            return error("train.accumulate", "is 0; an update takes at least one batch".to_owned());
        }
        if !matches!(mean.len(), 1 | 3) || mean.len() != std.len() {
            let reason = format!("has {} numbers and data.std {}; both need 1 or 3", mean.len(), std.len());
            return error("data.mean", reason);
        }
        if !std.iter().all(|std| *std > 0.0) {
            return error("data.std", format!("is {std:?}; deviations are positive"));
        }
        Ok(())
    }
}

/// A sequence of batches. Dropping it stops the workers.
pub struct Batches {
    workers: Vec<Worker>,
    maker: Maker,
    first: u64,
    next: u64,
    /// The number after the last batch, if there is a last one.
    end: Option<u64>,
}

struct Worker {
    receive: Option<Receiver<Made>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Batches {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.maker.stop.store(true, Relaxed);
        self.workers.iter_mut().for_each(|worker| worker.receive = None);
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        if self.end.is_some_and(|end| number >= end) {
            return None;
        }
        self.next += 1;
        let made = if self.workers.is_empty() {
            self.maker.make(number)?
        } else {
            let worker = (number - self.first) as usize % self.workers.len();
            match self.workers[worker].receive.as_ref()?.recv() {
                Ok(made) => made,
                Err(_) => return Some(Err(DataError::WorkerPanicked)),
            }
        };
        // Counted on delivery: workers run ahead, and how far must not decide when a run fails.
        Some(self.maker.shared.record_corrupt(made.unreadable).and(made.batch))
    }
}

/// A batch, and the images that could not be read for it.
struct Made {
    batch: Result<Batch, DataError>,
    unreadable: BTreeMap<usize, String>,
}

/// Makes batches by number, counted over all epochs.
#[derive(Clone)]
struct Maker {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    /// The order of the epoch worked on last.
    order: (u64, Vec<u32>),
}

impl Maker {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stop: Arc::default(), order: (0, Vec::new()) }
    }

    /// A batch; `None` once it is not wanted any more.
    fn make(&mut self, number: u64) -> Option<Made> {
        let per_epoch = self.shared.delivered_per_epoch();
        let (epoch, batch) = (number / per_epoch, (number % per_epoch) as usize);
        if self.order.0 != epoch || self.order.1.is_empty() {
            self.order = (epoch, self.shared.order(epoch));
        }
        let shared = &self.shared;
        let size = shared.config.batch_size;
        let start = shared.config.shard.start(batch, size);
        let wanted = &self.order.1[start..(start + size).min(self.order.1.len())];
        let [height, width] = shared.transform.size();
        let shape = [wanted.len(), shared.config.normalize.channels(), height, width];
        let count = shape.iter().product();
        let (images, raw) = match shared.config.raw {
            true => (Vec::new(), Vec::with_capacity(count)),
            false => (Vec::with_capacity(count), Vec::new()),
        };
        let (labels, values, indices) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Batch { images, raw, shape, labels, values, indices, epoch };
        let mut unreadable = BTreeMap::new();
        for &index in wanted {
            if self.stop.load(Relaxed) {
                return None;
            }
            if let Err(error) = shared.add_sample(index as usize, &mut batch, &mut unreadable) {
                return Some(Made { batch: Err(error), unreadable });
            }
        }
        Some(Made { batch: Ok(batch), unreadable })
    }
}

impl Shared {
    fn batches_per_epoch(&self) -> usize {
        let LoaderConfig { batch_size, shard, .. } = self.config;
        match self.passes {
            Passes::Shuffled => self.source.len() / (batch_size * shard.world_size),
            Passes::Sequential => shard.share(self.source.len().div_ceil(batch_size)),
        }
    }

    /// Batches of an epoch that are delivered: in training those that fill an update.
    fn delivered_per_epoch(&self) -> u64 {
        let batches = match self.passes {
            Passes::Shuffled => self.batches_per_epoch() / self.config.accumulate * self.config.accumulate,
            Passes::Sequential => self.batches_per_epoch(),
        };
        // At least one, so that positions exist; the trainer refuses such a plan.
        batches.max(1) as u64
    }

    fn order(&self, epoch: u64) -> Vec<u32> {
        match self.passes {
            Passes::Shuffled => order(self.config.seed, epoch, self.source.len()),
            Passes::Sequential => (0..self.source.len() as u32).collect(),
        }
    }

    /// Appends a sample; if it cannot be read, the next one that can.
    fn add_sample(
        &self,
        wanted: usize,
        batch: &mut Batch,
        unreadable: &mut BTreeMap<usize, String>,
    ) -> Result<(), DataError> {
        let count = self.source.len();
        for index in (0..count).map(|offset| (wanted + offset) % count) {
            // One batch beyond the limit is enough to fail: do not try a million more files.
            if unreadable.len() > self.config.max_corrupt {
                break;
            }
            if unreadable.contains_key(&index) {
                continue;
            }
            match self.source.get(index) {
                Ok(sample) => {
                    let mut rng = rng(self.config.seed, Stream::Augment, batch.epoch, index as u64);
                    let image = self.transform.apply(&sample.image, &mut rng);
                    let start = batch.images.len();
                    match (self.config.raw, self.config.erase) {
                        (true, _) => self.config.normalize.append_raw(&image, &mut batch.raw),
                        (false, None) => self.config.normalize.apply(&image, &mut batch.images),
                        (false, Some(erase)) => {
                            self.config.normalize.apply(&image, &mut batch.images);
                            erase.apply(&mut batch.images[start..], self.transform.size(), &mut rng);
                        }
                    }
                    match sample.target {
                        Target::None => {}
                        Target::Class(class) => batch.labels.push(class),
                        Target::Values(values) => batch.values.extend(values),
                    }
                    batch.indices.push(index as u64);
                    return Ok(());
                }
                Err(error) => unreadable.insert(index, reason(error)),
            };
        }
        Err(DataError::AllCorrupt(unreadable.values().next_back().cloned().unwrap_or_default()))
    }

    fn record_corrupt(&self, unreadable: BTreeMap<usize, String>) -> Result<(), DataError> {
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

    fn corrupt_images(&self) -> Vec<(String, String)> {
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
            Ok(Sample { image, target: Target::Class(index as u32 % 3) })
        }

        fn len(&self) -> usize {
            self.count
        }
    }

    impl ImageSource for Numbered {
        fn classes(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            Some(index as u32)
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
            raw: false,
            erase: None,
            shard: Shard::default(),
        };
        let source = Arc::new(Numbered { count: 22, broken: broken.to_vec() });
        Loader::new(
            source,
            Arc::new(TrainTransform { crop, hflip: true, color_jitter: None, rand_augment: None }),
            config,
        )
        .unwrap()
    }

    #[test]
    fn raw_batches_are_the_same_before_normalisation() {
        let Shared { source, transform, config, .. } = &*loader(&[], 0, 0).0;
        let config = LoaderConfig { raw: true, ..config.clone() };
        let raw = Loader::new(Arc::clone(source), Arc::clone(transform), config).unwrap();
        for (raw, normal) in take(&raw, START, 4).into_iter().zip(take(&loader(&[], 0, 0), START, 4)) {
            assert!(raw.images.is_empty() && normal.raw.is_empty());
            let normalized: Vec<f32> = raw.raw.iter().map(|v| (f32::from(*v) / 255.0 - 0.5) / 0.5).collect();
            assert_eq!(normalized, normal.images);
            assert_eq!((raw.shape, raw.indices), (normal.shape, normal.indices));
        }
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

    /// Which batch fails does not depend on how far workers run ahead.
    #[test]
    fn too_many_unreadable_images_fail_at_the_same_batch_with_any_workers() {
        let all: Vec<_> = (0..22).step_by(3).collect();
        let outcome = |workers| {
            let loader = loader(&all, workers, 4);
            let results = loader.batches(START).take(12).map(|batch| batch.map_err(|e| e.to_string()));
            let failed = results.enumerate().find_map(|(i, batch)| Some((i, batch.err()?)));
            (failed.expect("8 unreadable images of 22 exceed the limit"), loader.corrupt())
        };
        let expected = outcome(0);
        assert!(expected.0.0 > 0, "the first batch fails already");
        for workers in [1, 3] {
            assert_eq!(outcome(workers), expected, "{workers} workers");
        }
    }

    #[test]
    fn evaluation_sees_every_image_once_in_order() {
        for (batch_size, batches) in [(3, 8), (11, 2), (100, 1)] {
            for workers in [0, 1, 3] {
                let Shared { source, transform, config, .. } = &*loader(&[], workers, 0).0;
                let config = LoaderConfig { batch_size, ..config.clone() };
                let evaluation =
                    Loader::evaluation(Arc::clone(source), Arc::clone(transform), config).unwrap();
                assert_eq!(evaluation.batches_per_epoch(), batches);
                let found: Vec<_> = evaluation.batches(START).collect::<Result<_, _>>().unwrap();
                assert_eq!(found.len() as u64, batches);
                let indices: Vec<_> = found.iter().flat_map(|batch| batch.indices.clone()).collect();
                assert_eq!(indices, (0..22).collect::<Vec<_>>());
                let values = found.iter().map(|batch| (batch.images.len(), batch.shape.iter().product()));
                assert!(values.into_iter().all(|(found, expected): (_, usize)| found == expected));
            }
        }
    }

    /// The same data with other batches, for one of several processes.
    fn sharded(batch_size: usize, accumulate: usize, shard: Shard) -> Loader {
        let Shared { source, transform, config, .. } = &*loader(&[4], 2, 1).0;
        let config = LoaderConfig { batch_size, accumulate, shard, ..config.clone() };
        Loader::new(Arc::clone(source), Arc::clone(transform), config).unwrap()
    }

    #[test]
    fn slices_of_all_processes_are_the_batches_of_one() {
        for accumulate in [1, 2] {
            let whole = sharded(6, accumulate, Shard::default());
            let slices: Vec<_> = [0, 1]
                .map(|rank| sharded(3, accumulate, Shard { rank, world_size: 2 }))
                .iter()
                .map(|slice| {
                    assert_eq!(slice.batches_per_epoch(), whole.batches_per_epoch());
                    take(slice, Position { epoch: 0, batch: 1 }, 7)
                })
                .collect();
            for (i, batch) in take(&whole, Position { epoch: 0, batch: 1 }, 7).iter().enumerate() {
                let [a, b] = [&slices[0][i], &slices[1][i]];
                assert_eq!([&a.indices[..], &b.indices].concat(), batch.indices);
                assert_eq!([&a.images[..], &b.images].concat(), batch.images);
                assert_eq!((a.epoch, b.epoch), (batch.epoch, batch.epoch));
            }
        }
    }

    #[test]
    fn evaluation_batches_are_dealt_out() {
        let Shared { source, transform, config, .. } = &*loader(&[], 2, 0).0;
        for (batch_size, world_size) in [(3, 2), (3, 3), (22, 3), (8, 4)] {
            let evaluation = |shard| {
                let config = LoaderConfig { batch_size, shard, ..config.clone() };
                let loader = Loader::evaluation(Arc::clone(source), Arc::clone(transform), config).unwrap();
                loader.batches(START).collect::<Result<Vec<_>, _>>().unwrap()
            };
            let ranks: Vec<_> = (0..world_size).map(|rank| evaluation(Shard { rank, world_size })).collect();
            for (number, batch) in evaluation(Shard::default()).iter().enumerate() {
                assert_eq!(ranks[number % world_size][number / world_size], *batch);
            }
            assert_eq!(ranks.iter().map(Vec::len).sum::<usize>(), 22usize.div_ceil(batch_size));
            let config = LoaderConfig {
                batch_size,
                shard: Shard { rank: world_size - 1, world_size },
                ..config.clone()
            };
            let last = Loader::evaluation(Arc::clone(source), Arc::clone(transform), config).unwrap();
            assert_eq!(last.rounds(), ranks[0].len() as u64);
        }
    }

    #[test]
    fn a_maker_that_was_told_to_stop_makes_nothing() {
        let mut maker = Maker::new(Arc::clone(&loader(&[], 0, 0).0));
        assert!(maker.make(0).is_some());
        maker.stop.store(true, Relaxed);
        assert!(maker.make(0).is_none());
    }

    #[test]
    fn a_worker_that_dies_is_an_error_and_not_the_end() {
        struct Dies;
        impl Transform for Dies {
            fn size(&self) -> [usize; 2] {
                [4, 6]
            }

            fn apply(&self, _: &RgbImage, _: &mut rand_chacha::ChaCha8Rng) -> RgbImage {
                panic!("a bug in a transform")
            }
        }
        let Shared { source, config, .. } = &*loader(&[], 2, 0).0;
        let dying = Loader::new(Arc::clone(source), Arc::new(Dies), config.clone()).unwrap();
        assert!(matches!(dying.batches(START).next(), Some(Err(DataError::WorkerPanicked))));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let Shared { source, transform, config, .. } = &*loader(&[], 0, 0).0;
        let refused = |config| {
            Loader::new(Arc::clone(source), Arc::clone(transform), config).err().unwrap().to_string()
        };
        let normalize = |mean: usize, std: &[f32]| LoaderConfig {
            normalize: Normalize { mean: vec![0.5; mean], std: std.to_vec() },
            ..config.clone()
        };
        assert!(refused(LoaderConfig { batch_size: 0, ..config.clone() }).contains("train.batch_size is 0"));
        assert!(refused(LoaderConfig { accumulate: 0, ..config.clone() }).contains("train.accumulate is 0"));
        assert!(refused(normalize(4, &[1.0; 4])).contains("data.mean has 4 numbers"));
        assert!(refused(normalize(3, &[1.0])).contains("data.std 1"));
        assert!(refused(normalize(1, &[0.0])).contains("data.std is [0.0]"));
    }

    #[test]
    fn a_batch_larger_than_the_data_is_refused() {
        let source = Arc::new(Numbered { count: 2, broken: Vec::new() });
        let Shared { transform, config, .. } = &*loader(&[], 0, 0).0;
        let error = Loader::new(source, Arc::clone(transform), config.clone()).err().unwrap().to_string();
        assert!(error.contains("takes 3 images") && error.contains("have 2"), "{error}");
    }
}
