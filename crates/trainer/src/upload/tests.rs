//! Images as the device makes them, against those that the data crate makes.

use super::*;
use data::Targets;
use data::rng::{Stream, rng};
use data::transform::RandomErasing;

fn normalize(channels: usize) -> Normalize {
    let all = Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    Normalize { mean: all.mean[..channels].to_vec(), std: all.std[..channels].to_vec() }
}

/// Raw images, some of which lose boxes.
fn raw(shape @ [count, channels, height, width]: [usize; 4], erasing: f64) -> Batch {
    let intensities = (0..shape.iter().product::<usize>()).map(|i| (i * 37 + i / 11) as u8).collect();
    let erase = RandomErasing { probability: erasing };
    let erased = (0..count).filter_map(|image| {
        let mut draws = rng(3, Stream::Augment, 0, image as u64);
        Some((image, erase.draw(channels, [height, width], &mut draws)?))
    });
    Batch {
        pixels: Pixels::U8(intensities),
        shape,
        erased: erased.collect(),
        targets: Targets::None,
        indices: (0..count as u64).collect(),
        draws: (0..count as u64).collect(),
        epoch: 0,
    }
}

/// What the host would have made of them.
fn expected(batch: &Batch, mix: Mix) -> Vec<f32> {
    let ([_, channels, height, width], Pixels::U8(intensities)) = (batch.shape, &batch.pixels) else {
        panic!("raw images")
    };
    let Normalize { mean, std } = normalize(channels);
    let values = intensities.iter().enumerate().map(|(i, v)| {
        let channel = i / (height * width) % channels;
        (f32::from(*v) / 255.0 - mean[channel]) / std[channel]
    });
    let (mut values, len): (Vec<f32>, _) = (values.collect(), channels * height * width);
    for (image, erased) in &batch.erased {
        erased.apply(&mut values[image * len..(image + 1) * len], [height, width]);
    }
    mix.apply(&mut values, batch.shape);
    values
}

fn made(images: &Images, batch: Batch, mix: Mix) -> Vec<f32> {
    let (mut arena, shape) = (Arena::new(&images.device), batch.shape);
    // Something else that goes along.
    let other = arena.floats(vec![0.5; 3]);
    let at = images.put(batch, mix, &mut arena);
    let mut uploaded = arena.upload();
    let found = images.arrived(at, &mut uploaded);
    assert_eq!(found.dims(), shape);
    assert_eq!(uploaded.floats(other, [3]).into_data().try_into_vec::<f32>().unwrap(), [0.5; 3]);
    found.into_data().try_into_vec().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-6, "{what}: {a} {b}");
    }
}

#[test]
fn every_device_normalises_erases_and_mixes_as_the_host_does() {
    let mixes = |height: usize, width: usize| {
        [
            Mix::None,
            Mix::Mixup(0.3),
            Mix::Mixup(0.81),
            Mix::Mixup(1.0),
            Mix::Cutmix([1, height - 2, 2, width]),
            Mix::Cutmix([0, height, 0, width]),
            Mix::Cutmix([3, 3, 2, 4]),
        ]
    };
    for device in host::processors() {
        for shape @ [_, channels, height, width] in [[4, 3, 9, 7], [5, 3, 8, 12], [1, 3, 6, 6], [3, 1, 7, 10]]
        {
            let images = Images::new(normalize(channels), &device.clone().autodiff());
            for (erasing, mix) in
                mixes(height, width).into_iter().flat_map(|m| [(0.0, m), (1.0, m), (0.5, m)])
            {
                let batch = raw(shape, erasing);
                assert_eq!(batch.erased.is_empty(), erasing == 0.0);
                let (expected, what) =
                    (expected(&batch, mix), format!("{shape:?} {mix:?}, erasing {erasing}"));
                assert_close(&made(&images, batch, mix), &expected, &what);
            }
        }
    }
}

#[test]
fn images_that_the_host_has_normalised_are_only_mixed() {
    for device in host::processors() {
        let (images, batch) = (Images::new(normalize(3), &device), raw([3, 3, 5, 4], 0.0));
        let mut values = expected(&batch, Mix::None);
        let batch = Batch { pixels: Pixels::F32(values.clone()), ..batch };
        Mix::Mixup(0.25).apply(&mut values, batch.shape);
        assert_eq!(made(&images, batch, Mix::Mixup(0.25)), values);
    }
}

#[cfg(feature = "tch")]
mod staged {
    use super::*;
    use data::{AugmentConfig, DataConfig, ImageSize, Labels, Shard, TrainingBatches};

    /// A loader that writes to memory of the device's gives the images that another gives.
    #[test]
    fn batches_in_memory_of_the_devices_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..6_u8 {
            let image = image::RgbImage::from_fn(20, 16, |x, y| image::Rgb([40 * i, x as u8, 3 * y as u8]));
            image.save(dir.path().join(format!("{i}.png"))).unwrap();
        }
        let data = DataConfig {
            path: Some(dir.path().to_owned()),
            image_size: ImageSize::Square(8),
            ..DataConfig::default()
        };
        let augment = AugmentConfig { random_erasing: 0.5, ..AugmentConfig::default() };
        let device = host::processors()[1].clone().autodiff();
        let batches = |raw| TrainingBatches {
            data: &data,
            augment: &augment,
            seed: 2,
            batch_size: 3,
            accumulate: 1,
            channels: 3,
            raw,
            shard: Shard::default(),
        };
        let source = data.open(Labels::Ignored).unwrap();
        let plain = batches(false).loader(&source).unwrap();
        let staged = batches(true).loader(&source).unwrap().in_memory_of(memory_pool(&device).unwrap());
        let images = Images::new(data.normalize(3).unwrap(), &device);
        for (plain, staged) in plain.batches(0, 0).zip(staged.batches(0, 0)).take(6) {
            let (plain, staged) = (plain.unwrap(), staged.unwrap());
            assert!(matches!(staged.pixels, Pixels::Staged(_)));
            let Pixels::F32(mut expected) = plain.pixels else { panic!("not normalised") };
            Mix::Mixup(0.4).apply(&mut expected, plain.shape);
            assert_close(&made(&images, staged, Mix::Mixup(0.4)), &expected, "staged");
        }
    }
}
