//! The loader as a whole: what its batches hold, whoever makes them.

use super::*;
use crate::any_image::AnyImage;
use crate::decode::DecodeOptions;
use crate::picture::Picture;
use crate::shard::Shard;
use crate::source::{Sample, Stored, decoded};
use crate::transform::Normalize;
use crate::transform::{RandomErasing, RandomResizedCrop, TrainTransform};
use burn_dataset::Dataset;
use image::{Rgb, RgbImage};
use std::path::PathBuf;
use std::sync::Mutex;

/// Images of one colour that tells their index; some cannot be read.
struct Numbered {
    count: usize,
    broken: Vec<usize>,
}

impl Dataset<Sample, DataError> for Numbered {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
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

    fn bytes(&self, _: usize) -> u64 {
        324
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        if self.broken.contains(&index) {
            return Err(DataError::Decode { path: PathBuf::from("x"), reason: "broken".into() });
        }
        let image = RgbImage::from_fn(12, 9, |x, y| Rgb([index as u8, x as u8, y as u8]));
        Ok(Stored::Decoded(image.into()))
    }
}

fn loader(broken: &[usize], workers: usize, max_corrupt: usize) -> Loader {
    let crop = RandomResizedCrop { size: [4, 6], scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
    let config = LoaderConfig {
        seed: 5,
        sampling: Sampling::Uniform,
        shuffle: Shuffle::Images,
        batch_size: 3,
        accumulate: 2,
        workers,
        prefetch: None,
        max_corrupt,
        decode: DecodeOptions::default(),
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
        let Pixels::U8(intensities) = raw.pixels else { panic!("normalised") };
        let normalized = intensities.iter().map(|v| (f32::from(*v) / 255.0 - 0.5) / 0.5).collect();
        assert_eq!(Pixels::F32(normalized), normal.pixels);
        assert_eq!((raw.shape, raw.indices), (normal.shape, normal.indices));
    }
}

const START: (u64, u64) = (0, 0);

fn values(batch: &Batch) -> &[f32] {
    let Pixels::F32(values) = &batch.pixels else { panic!("not normalised") };
    values
}

fn classes(batch: &Batch) -> &[u32] {
    let Targets::Classes(classes) = &batch.targets else { panic!("no classes") };
    classes
}

fn take(loader: &Loader, from: (u64, u64), count: usize) -> Vec<Batch> {
    loader.batches(from.0, from.1).take(count).collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let expected = take(&loader(&[4], 0, 1), START, 15);
    assert_eq!(expected[0].shape, [3, 3, 4, 6]);
    assert_eq!(values(&expected[0]).len(), 3 * 3 * 4 * 6);
    for workers in [1, 3, 16] {
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
    assert_eq!(take(&loader, (0, 4), 11), all[4..]);
    assert_eq!(take(&loader, (2, 1), 2), all[13..]);
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
}

#[test]
fn unreadable_images_are_replaced_and_counted_up_to_the_limit() {
    let tolerant = loader(&[3, 4], 2, 2);
    for batch in take(&tolerant, START, 12) {
        assert_eq!(classes(&batch).len(), 3);
        assert!(!batch.indices.contains(&3) && !batch.indices.contains(&4));
    }
    let found = tolerant.corrupt();
    assert_eq!(found, [("image 3".into(), "broken".into()), ("image 4".into(), "broken".into())]);

    let strict = loader(&[3, 4], 0, 1);
    let error = strict.batches(0, 0).take(12).find_map(Result::err).unwrap().to_string();
    assert!(error.contains("data.max_corrupt = 1") && error.contains("image 3 (broken)"), "{error}");
}

/// Files that go while a run reads them count as unreadable ones, and as many end it.
#[test]
fn images_that_vanish_are_left_out_up_to_the_limit() {
    use crate::{DataConfig, Labels};
    for (max_corrupt, ends) in [(2, false), (1, true)] {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..22u8 {
            let image = RgbImage::from_pixel(12, 9, Rgb([index; 3]));
            image.save(dir.path().join(format!("{index:02}.png"))).unwrap();
        }
        let data = DataConfig { path: Some(dir.path().to_owned()), ..DataConfig::default() };
        let source = data.open(Labels::Ignored).unwrap();
        let numbered = loader(&[], 0, max_corrupt);
        let loader =
            Loader::new(source, Arc::clone(&numbered.0.transform), numbered.0.config.clone()).unwrap();
        let mut batches = loader.batches(0, 0);
        batches.next().unwrap().unwrap();
        for name in ["03.png", "04.png"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        let error = batches.take(12).find_map(Result::err).map(|error| error.to_string());
        assert_eq!(error.is_some(), ends, "{error:?}");
        let names: Vec<_> = loader.corrupt().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].ends_with("03.png") && names[1].ends_with("04.png"), "{names:?}");
    }
}

#[test]
fn a_source_without_readable_images_is_an_error() {
    let all: Vec<_> = (0..22).collect();
    let error = loader(&all, 0, 100).batches(0, 0).next().unwrap().unwrap_err();
    assert!(matches!(error, DataError::AllCorrupt(_)), "{error}");
}

/// Which batch fails does not depend on how far workers run ahead.
#[test]
fn too_many_unreadable_images_fail_at_the_same_batch_with_any_workers() {
    let all: Vec<_> = (0..22).step_by(3).collect();
    let outcome = |workers| {
        let loader = loader(&all, workers, 4);
        let results = loader.batches(0, 0).take(12).map(|batch| batch.map_err(|e| e.to_string()));
        let failed = results.enumerate().find_map(|(i, batch)| Some((i, batch.err()?)));
        (failed.expect("8 unreadable images of 22 exceed the limit"), loader.corrupt())
    };
    let expected = outcome(0);
    assert!(expected.0.0 > 0, "the first batch fails already");
    for workers in [1, 3, 16] {
        assert_eq!(outcome(workers), expected, "{workers} workers");
    }
}

#[test]
fn evaluation_sees_every_image_once_in_order() {
    for (batch_size, batches) in [(3, 8), (11, 2), (100, 1)] {
        for workers in [0, 1, 3] {
            let Shared { source, transform, config, .. } = &*loader(&[], workers, 0).0;
            let config = LoaderConfig { batch_size, ..config.clone() };
            let evaluation = Loader::evaluation(Arc::clone(source), Arc::clone(transform), config).unwrap();
            assert_eq!(evaluation.batches_per_epoch(), batches);
            let found: Vec<_> = evaluation.batches(0, 0).collect::<Result<_, _>>().unwrap();
            assert_eq!(found.len() as u64, batches);
            let indices: Vec<_> = found.iter().flat_map(|batch| batch.indices.clone()).collect();
            assert_eq!(indices, (0..22).collect::<Vec<_>>());
            // Also where a batch is put together from pieces.
            let draws: Vec<_> = found.iter().flat_map(|batch| batch.draws.clone()).collect();
            assert_eq!(draws, indices);
            let values = found.iter().map(|batch| (values(batch).len(), batch.shape.iter().product()));
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
                take(slice, (0, 1), 7)
            })
            .collect();
        for (i, batch) in take(&whole, (0, 1), 7).iter().enumerate() {
            let [a, b] = [&slices[0][i], &slices[1][i]];
            assert_eq!([&a.indices[..], &b.indices].concat(), batch.indices);
            assert_eq!([values(a), values(b)].concat(), values(batch));
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
            loader.batches(0, 0).collect::<Result<Vec<_>, _>>().unwrap()
        };
        let ranks: Vec<_> = (0..world_size).map(|rank| evaluation(Shard { rank, world_size })).collect();
        for (number, batch) in evaluation(Shard::default()).iter().enumerate() {
            assert_eq!(ranks[number % world_size][number / world_size], *batch);
        }
        assert_eq!(ranks.iter().map(Vec::len).sum::<usize>(), 22usize.div_ceil(batch_size));
        let config =
            LoaderConfig { batch_size, shard: Shard { rank: world_size - 1, world_size }, ..config.clone() };
        let last = Loader::evaluation(Arc::clone(source), Arc::clone(transform), config).unwrap();
        assert_eq!(last.rounds(), ranks[0].len() as u64);
    }
}

/// Batches of several pieces are those that are made in one, and no more images than promised are made
/// before they are asked for, however many batches an update takes.
#[test]
fn what_is_made_ahead_is_bounded_in_images() {
    struct Counted(Numbered, Mutex<usize>);

    impl Dataset<Sample, DataError> for Counted {
        fn get(&self, index: usize) -> Result<Sample, DataError> {
            decoded(self, index)
        }

        fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl ImageSource for Counted {
        fn classes(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            self.0.label(index)
        }

        fn name(&self, index: usize) -> String {
            self.0.name(index)
        }

        fn bytes(&self, index: usize) -> u64 {
            self.0.bytes(index)
        }

        fn read(&self, index: usize) -> Result<Stored, DataError> {
            *self.1.lock().unwrap() += 1;
            self.0.read(index)
        }
    }

    let Shared { transform, config, .. } = &*loader(&[], 0, 2).0;
    let mut expected: Option<Vec<Batch>> = None;
    for (workers, ahead) in [(0, 0), (1, 40), (2, 40), (16, 40), (50, 50)] {
        let source = Arc::new(Counted(Numbered { count: 250, broken: vec![3, 40] }, Mutex::default()));
        let config =
            LoaderConfig { batch_size: 40, accumulate: 6, workers, max_corrupt: 2, ..config.clone() };
        let loader = Loader::new(source.clone(), Arc::clone(transform), config).unwrap();
        assert_eq!(loader.images_ahead(), ahead, "{workers} workers");
        let mut batches = loader.batches(0, 0);
        let mut found = Vec::new();
        for number in 1..=6 {
            found.push(batches.next().unwrap().unwrap());
            // One read more for each of the unreadable ones.
            let made = *source.1.lock().unwrap();
            assert!(made <= number * 40 + ahead + 2, "{made} images for {number} batches");
        }
        assert_eq!(found[0].shape, [40, 3, 4, 6]);
        assert_eq!(found, *expected.get_or_insert(found.clone()), "{workers} workers");
    }
}

#[test]
fn an_image_that_is_shown_again_is_cut_and_mirrored_anew() {
    let Shared { source, transform, config, .. } = &*loader(&[], 2, 0).0;
    // Image 0 alone is of its class, so that it has half of the places of an epoch.
    let source: Arc<dyn ImageSource> = Arc::new(OneAgainstAll(Arc::clone(source)));
    let config = LoaderConfig { sampling: Sampling::Balanced, ..config.clone() };
    let balanced = Loader::new(Arc::clone(&source), Arc::clone(transform), config.clone()).unwrap();
    let epoch = take(&balanced, START, 6);
    let places = |wanted: fn(u64) -> bool| {
        let rows = epoch.iter().flat_map(|batch| {
            let images = values(batch).chunks(values(batch).len() / 3);
            batch.indices.iter().zip(&batch.draws).zip(images)
        });
        rows.filter(|((index, _), _)| wanted(**index)).collect::<Vec<_>>()
    };
    let repeated = places(|index| index == 0);
    assert!((7..=11).contains(&repeated.len()), "{}", repeated.len());
    for (i, a) in repeated.iter().enumerate() {
        assert!(repeated[..i].iter().all(|b| a.0.1 != b.0.1), "the same random numbers twice");
    }
    let mut pictures: Vec<_> = repeated.iter().map(|(_, image)| format!("{image:?}")).collect();
    pictures.sort();
    pictures.dedup();
    assert!(pictures.len() > 5, "{}", pictures.len());
    // The first time that an image is shown is as it would be in a uniform epoch.
    assert!(places(|index| index > 0).iter().all(|((index, draw), _)| index == draw));
    // Slices of processes, and any position, are those of the whole.
    assert_eq!(take(&balanced, (0, 4), 4), take(&balanced, START, 8)[4..]);
    let slice = |rank| {
        let shard = Shard { rank, world_size: 2 };
        let config = LoaderConfig { shard, accumulate: 1, ..config.clone() };
        take(&Loader::new(Arc::clone(&source), Arc::clone(transform), config).unwrap(), START, 2)
    };
    let found: Vec<_> = slice(0).into_iter().zip(slice(1)).flat_map(|(a, b)| [a, b]).collect();
    assert_eq!(found, epoch[..4]);
}

/// Image 0 is of one class and all others of another.
struct OneAgainstAll(Arc<dyn ImageSource>);

impl Dataset<Sample, DataError> for OneAgainstAll {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl ImageSource for OneAgainstAll {
    fn classes(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(u32::from(index > 0))
    }

    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }

    fn bytes(&self, index: usize) -> u64 {
        self.0.bytes(index)
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        self.0.read(index)
    }
}

#[test]
fn a_worker_that_dies_is_an_error_and_not_the_end() {
    struct Dies;
    impl Transform for Dies {
        fn size(&self) -> [usize; 2] {
            [4, 6]
        }

        fn apply(&self, _: &Picture<'_>, _: &mut rand_chacha::ChaCha8Rng) -> Result<AnyImage, String> {
            panic!("a bug in a transform")
        }
    }
    let Shared { source, config, .. } = &*loader(&[], 2, 0).0;
    let dying = Loader::new(Arc::clone(source), Arc::new(Dies), config.clone()).unwrap();
    assert!(matches!(dying.batches(0, 0).next(), Some(Err(DataError::WorkerPanicked))));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let Shared { source, transform, config, .. } = &*loader(&[], 0, 0).0;
    let refused =
        |config| Loader::new(Arc::clone(source), Arc::clone(transform), config).err().unwrap().to_string();
    let normalize = |mean: usize, std: &[f32]| LoaderConfig {
        normalize: Normalize { mean: vec![0.5; mean], std: std.to_vec() },
        ..config.clone()
    };
    assert!(refused(LoaderConfig { batch_size: 0, ..config.clone() }).contains("train.batch_size is 0"));
    assert!(refused(LoaderConfig { accumulate: 0, ..config.clone() }).contains("train.accumulate is 0"));
    assert!(refused(normalize(0, &[])).contains("data.mean has 0 numbers"));
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

/// Ordinary memory, and how many batches it was asked for.
#[derive(Default)]
struct Counting(Mutex<usize>);

#[derive(Debug)]
struct Slots(Vec<Mutex<Vec<u8>>>);

impl MemoryPool for Counting {
    fn batch(&self, images: usize, bytes: usize) -> Arc<dyn BatchMemory> {
        *self.0.lock().unwrap() += 1;
        Arc::new(Slots((0..images).map(|_| Mutex::new(vec![0; bytes])).collect()))
    }
}

impl BatchMemory for Slots {
    fn write(&self, image: usize, write: &mut dyn FnMut(&mut [u8])) {
        write(&mut self.0[image].lock().unwrap());
    }
}

fn raw_loader(workers: usize, erase: Option<RandomErasing>) -> Loader {
    let Shared { source, transform, config, .. } = &*loader(&[4], workers, 1).0;
    let config = LoaderConfig { raw: true, erase, ..config.clone() };
    Loader::new(Arc::clone(source), Arc::clone(transform), config).unwrap()
}

#[test]
fn threads_put_raw_batches_together_in_memory_of_the_devices() {
    for workers in [0, 1, 3, 16] {
        let (plain, pool) = (raw_loader(workers, None), Arc::new(Counting::default()));
        let staged = plain.clone().in_memory_of(pool.clone());
        assert_eq!(staged.images_ahead() % 3, 0);
        // Two passes at the same time have memory of their own.
        let (mut first, mut second) = (staged.batches(0, 0), staged.batches(0, 0));
        for expected in take(&plain, START, 9) {
            let Pixels::U8(expected) = expected.pixels else { panic!("normalised") };
            for batches in [&mut first, &mut second] {
                let batch = batches.next().unwrap().unwrap();
                assert_eq!(batch.shape, [3, 3, 4, 6]);
                let Pixels::Staged(staged) = batch.pixels else { panic!("elsewhere") };
                let memory = staged.memory().downcast::<Slots>().unwrap();
                let found: Vec<u8> = memory.0.iter().flat_map(|slot| slot.lock().unwrap().clone()).collect();
                assert_eq!(found, expected, "{workers} workers");
            }
        }
        drop((first, second));
        let ahead = plain.images_ahead().div_ceil(3) + 1;
        assert!((18..=2 * (9 + ahead)).contains(&*pool.0.lock().unwrap()), "{workers} workers");
    }
    let normalized = loader(&[], 1, 0).in_memory_of(Arc::new(Counting::default()));
    assert!(matches!(take(&normalized, START, 1)[0].pixels, Pixels::F32(_)), "no bytes to be written");
}

#[test]
fn what_is_erased_of_raw_images_is_what_the_host_erases() {
    let erase = Some(RandomErasing { probability: 0.6 });
    let Shared { source, transform, config, .. } = &*loader(&[4], 0, 1).0;
    let config = LoaderConfig { erase, ..config.clone() };
    let host = Loader::new(Arc::clone(source), Arc::clone(transform), config).unwrap();
    let mut boxes = 0;
    for (raw, host) in take(&raw_loader(3, erase), START, 6).into_iter().zip(take(&host, START, 6)) {
        let Pixels::U8(intensities) = &raw.pixels else { panic!("normalised") };
        let mut found: Vec<f32> = intensities.iter().map(|v| (f32::from(*v) / 255.0 - 0.5) / 0.5).collect();
        for (image, erased) in &raw.erased {
            erased.apply(&mut found[image * 72..(image + 1) * 72], [4, 6]);
        }
        assert_eq!(found, values(&host));
        assert!(host.erased.is_empty());
        boxes += raw.erased.len();
    }
    assert!((3..18).contains(&boxes), "{boxes} of 18 images");
}
