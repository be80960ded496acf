//! Images of more channels or bits than pictures have, against what wrote them and against Pillow.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};

use data::rng::{Stream, rng};
use data::transform::{EvalTransform, Interpolation, Raster};
use data::{
    AnyImage, AugmentConfig, Bands, DataConfig, DecodeOptions, EvalConfig, Format, ImageSize, Labels, Pixels,
    Shard, Split, Targets, TrainingBatches, Workers, decode, decode_file, evaluation_loader,
};
use rand::RngExt;
use seeds::seeds;

const CHANNELS: usize = 5;
const HEIGHT: usize = 6;
const WIDTH: usize = 7;
const TYPES: [&str; 3] = ["uint8", "uint16", "float32"];

/// Made by scripts/bands.py.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/bands").join(name)
}

/// The numbers that the script writes, as those from 0 to 1.
fn written(name: &str, channels: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let places = (0..channels * height * width).map(|at| {
        let (channel, place) = (at / (height * width), at % (height * width));
        [channel, place / width, place % width]
    });
    let modulo = |[c, y, x]: [usize; 3], [a, b, d]: [usize; 3], levels: usize| {
        ((a * c + b * y + d * x) % levels) as f32 / (levels - 1) as f32
    };
    let value = |place: [usize; 3]| match name {
        "uint8" => modulo(place, [37, 11, 5], 256),
        "uint16" => modulo(place, [4099, 977, 9331], 65536),
        _ => place[0] as f32 - 0.25 * place[1] as f32 + place[2] as f32 / 8.0,
    };
    places.map(value).collect()
}

fn options(channels: usize) -> DecodeOptions {
    DecodeOptions { channels, ..DecodeOptions::default() }
}

fn bands(name: &str, channels: usize) -> Bands {
    match decode_file(&golden(name), options(channels)).unwrap() {
        AnyImage::Bands(bands) => bands,
        AnyImage::Rgb(_) => panic!("{name} is a picture"),
    }
}

#[test]
fn every_way_to_store_bands_gives_the_same_numbers() {
    let mut seen = 0;
    for entry in fs::read_dir(golden("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(numbers) = TYPES.iter().find(|numbers| name.starts_with(*numbers)) else { continue };
        let found = bands(&name, CHANNELS);
        assert_eq!(found.dimensions(), (WIDTH as u32, HEIGHT as u32), "{name}");
        assert_eq!(found.values(), written(numbers, CHANNELS, [HEIGHT, WIDTH]), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 42);
}

#[test]
fn networks_for_pictures_keep_what_pictures_lose() {
    for numbers in ["uint16", "float32"] {
        let all = written(numbers, CHANNELS, [HEIGHT, WIDTH]);
        let plane = HEIGHT * WIDTH;
        for kind in ["rgb", "alpha"] {
            assert_eq!(
                bands(&format!("three_{numbers}_{kind}.tif"), 3).values(),
                &all[..3 * plane],
                "{kind}"
            );
        }
        let grey = format!("one_{numbers}.tif");
        assert_eq!(bands(&grey, 1).values(), &all[..plane]);
        assert_eq!(bands(&grey, 3).values(), all[..plane].repeat(3), "grey for a network of colours");
    }
    assert_eq!(bands("one_uint16.png", 1).values(), written("uint16", 1, [HEIGHT, WIDTH]));
    // Eight bits are a picture, and so is what a network of colours sees of the PNG.
    for name in ["three_uint8_rgb.tif", "three_uint8_alpha.tif", "one_uint8.tif", "one_uint16.png"] {
        assert!(matches!(decode_file(&golden(name), options(3)).unwrap(), AnyImage::Rgb(_)), "{name}");
    }
}

#[test]
fn other_channels_than_the_networks_are_refused_by_number() {
    for (name, wanted, said) in [
        ("uint16_chunky.tif", 3, "5 channels and the network takes 3"),
        ("uint8_rgb.tif", 4, "5 channels and the network takes 4"),
        ("uint16_planar.tif", 6, "5 channels and the network takes 6"),
        ("uint16_pages.tif", 3, "4 channels and the network takes 3"),
        ("uint16_pages.tif", 7, "5 channels and the network takes 7"),
        ("uint16_pages.tif", 1, "2 channels and the network takes 1"),
        ("one_uint16.tif", 2, "1 channels and the network takes 2"),
        ("one_uint16.png", 2, "3 channels and the network takes 2"),
        ("uint16_first.npy", 3, "the network takes 3 channels"),
    ] {
        let error = decode_file(&golden(name), options(wanted)).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_range_says_which_numbers_are_0_and_1() {
    let ranged = DecodeOptions { range: Some([1000.0, 11000.0]), ..options(CHANNELS) };
    let AnyImage::Bands(found) = decode_file(&golden("uint16_first.npy"), ranged).unwrap() else { panic!() };
    for (found, whole) in found.values().iter().zip(written("uint16", CHANNELS, [HEIGHT, WIDTH])) {
        assert!((found - (whole * 65535.0 - 1000.0) / 10000.0).abs() < 1e-5);
    }
}

#[test]
fn a_range_says_what_the_numbers_of_a_deep_png_are() {
    let path = golden("one_uint16.png");
    for channels in [1, 3] {
        let ranged = DecodeOptions { range: Some([0.0, 4095.0]), ..options(channels) };
        let AnyImage::Bands(found) = decode_file(&path, ranged).unwrap() else { panic!("a picture") };
        let whole = written("uint16", 1, [HEIGHT, WIDTH]).repeat(channels);
        for (found, whole) in found.values().iter().zip(&whole) {
            assert!((found - whole * 65535.0 / 4095.0).abs() < 1e-4, "{found} {whole}");
        }
        assert_eq!(found.values().len(), whole.len());
    }
}

#[test]
fn floats_that_are_no_intensities_ask_for_a_range() {
    let mut bytes = fs::read(golden("float32_first.npy")).unwrap();
    let length = bytes.len();
    bytes[length - 4..].copy_from_slice(&254f32.to_le_bytes());
    assert!(decode(&bytes, options(CHANNELS)).unwrap_err().contains("holds 254, and intensities"));
    let ranged = DecodeOptions { range: Some([0.0, 255.0]), ..options(CHANNELS) };
    assert!(decode(&bytes, ranged).is_ok());
}

#[test]
fn no_data_that_gdal_marks_is_refused() {
    let error = decode_file(&golden("one_no_data.tif"), options(1)).unwrap_err().to_string();
    assert!(error.contains("holds -9999, its mark of no data"), "{error}");
}

#[test]
fn what_has_no_data_is_refused() {
    let mut bytes = fs::read(golden("float32_first.npy")).unwrap();
    let length = bytes.len();
    bytes[length - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(decode(&bytes, options(CHANNELS)).unwrap_err().contains("holds NaN"));
}

/// Float arithmetic: Pillow's is of double precision.
#[test]
fn resizing_is_that_of_pillow() {
    let source = bands("source.npy", 2);
    for (name, interpolation) in [
        ("nearest", Interpolation::Nearest),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
        ("lanczos", Interpolation::Lanczos),
        ("box", Interpolation::Box),
        ("hamming", Interpolation::Hamming),
    ] {
        for [height, width] in [[5, 6], [17, 4], [20, 30]] {
            let expected = bands(&format!("resized_{name}_{height}x{width}.npy"), 2);
            let found = source.resample([height, width], interpolation);
            assert_eq!(found.dimensions(), expected.dimensions());
            let differences = found.values().iter().zip(expected.values()).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f32::max);
            assert!(largest < 2e-5, "{name} {height}×{width}: {largest}");
        }
    }
    let (fast, exact) = (source.resize([5, 6]), source.resample([5, 6], Interpolation::Bicubic));
    for (fast, exact) in fast.values().iter().zip(exact.values()) {
        assert!((fast - exact).abs() < 2e-5, "{fast} {exact}");
    }
}

#[test]
fn evaluation_cuts_the_middle_and_borders_have_the_mean() {
    let source = bands("source.npy", 2);
    let transform = EvalTransform {
        crop_mode: data::transform::CropMode::Border,
        crop_pct: 1.0,
        border: vec![0.25, 0.75],
        ..EvalTransform::official([13, 13])
    };
    let found = transform.prepare(&source);
    // 11 rows of 13: one is missing above, one below.
    assert_eq!((found.values()[..13].to_vec(), found.values()[169 * 2 - 1]), (vec![0.25; 13], 0.75));
    assert_eq!(found.values()[13..26], source.values()[..13]);
    let whole = EvalTransform::official([32, 32]).prepare(&source);
    assert_eq!(whole, source.resample([32, 32], Interpolation::Bicubic));
}

/// Ten images of five channels, in two classes, as arrays and TIFFs.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (index, name) in ["first.npy", "planar.tif", "rgb.tif", "pages.tif", "last.npy"].iter().enumerate() {
        for (class, numbers) in [("a", "uint16"), ("b", "float32")] {
            let ending = name.rsplit_once('.').unwrap().1;
            fs::create_dir_all(dir.path().join(class)).unwrap();
            let to = dir.path().join(class).join(format!("{index}.{ending}"));
            fs::copy(golden(&format!("{numbers}_{name}")), to).unwrap();
        }
    }
    dir
}

fn config(dir: &Path, workers: usize) -> DataConfig {
    DataConfig {
        path: Some(dir.to_owned()),
        image_size: ImageSize::Rectangle([HEIGHT, WIDTH]),
        mean: vec![0.1, 0.2, 0.3, 0.4, 0.5],
        std: vec![0.5, 0.25, 1.0, 0.125, 0.5],
        max_corrupt: 0,
        workers: Workers::Number(workers),
        ..DataConfig::default()
    }
}

fn training<'a>(data: &'a DataConfig, augment: &'a AugmentConfig) -> TrainingBatches<'a> {
    TrainingBatches {
        data,
        augment,
        seed: 3,
        batch_size: 4,
        accumulate: 1,
        channels: CHANNELS,
        // As for a device that normalises: what it cannot is done before.
        raw: true,
        shard: Shard::default(),
    }
}

#[test]
fn evaluation_normalises_every_band_by_its_own_mean() {
    let dir = folder();
    let data = config(dir.path(), 0);
    let source = data.open(Labels::Required).unwrap();
    let eval = EvalConfig { crop_mode: Some(data::transform::CropMode::Squash), ..EvalConfig::default() };
    let loader = evaluation_loader(&source, &data, &eval, CHANNELS, 10, Shard::default()).unwrap();
    let batch = loader.batches(0, 0).next().unwrap().unwrap();
    assert_eq!(batch.shape, [10, CHANNELS, HEIGHT, WIDTH]);
    assert_eq!(batch.targets, Targets::Classes([[0; 5], [1; 5]].concat()));
    let Pixels::F32(values) = batch.pixels else { panic!("not normalised") };
    for (numbers, images) in ["uint16", "float32"].iter().zip(values.chunks_exact(values.len() / 2)) {
        let of_channel = written(numbers, CHANNELS, [HEIGHT, WIDTH]);
        let expected = of_channel.chunks_exact(HEIGHT * WIDTH).zip(data.mean.iter().zip(&data.std));
        let expected: Vec<_> =
            expected.flat_map(|(plane, (mean, std))| plane.iter().map(move |v| (v - mean) / std)).collect();
        assert_eq!(images, expected.repeat(5));
    }
}

#[test]
fn training_batches_are_the_same_for_any_number_of_workers() {
    let dir = folder();
    let augment = AugmentConfig::default();
    let batches = |workers| {
        let data = config(dir.path(), workers);
        let source = data.open(Labels::Required).unwrap();
        let loader = training(&data, &augment).loader(&source).unwrap();
        loader.batches(0, 0).take(6).collect::<Result<Vec<_>, _>>().unwrap()
    };
    let expected = batches(0);
    assert!(matches!(&expected[0].pixels, Pixels::F32(values) if values.len() == 4 * 5 * 42));
    for workers in [1, 2, 4, 16] {
        assert_eq!(batches(workers), expected, "{workers}");
    }
}

#[test]
fn colours_of_bands_are_not_changed_without_a_word() {
    let dir = folder();
    let data = config(dir.path(), 0);
    let source = data.open(Labels::Required).unwrap();
    for augment in [
        AugmentConfig { color_jitter: 0.4, ..AugmentConfig::default() },
        AugmentConfig {
            rand_augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
            ..AugmentConfig::default()
        },
    ] {
        let error = training(&data, &augment).loader(&source).err().unwrap().to_string();
        assert!(error.contains("augment.rand_augment and augment.color_jitter change"), "{error}");
        // Of a network of colours only the image tells.
        let three = DataConfig { mean: vec![0.5; 3], std: vec![0.5; 3], ..data.clone() };
        let colours = tempfile::tempdir().unwrap();
        fs::copy(golden("three_uint16_rgb.tif"), colours.path().join("a.tif")).unwrap();
        let source = data::open(colours.path(), Format::Flat, Split::Train, Labels::Ignored).unwrap();
        let batches = TrainingBatches { channels: 3, batch_size: 1, ..training(&three, &augment) };
        let error = batches.loader(&source).unwrap().batches(0, 0).next().unwrap().unwrap_err().to_string();
        assert!(error.contains("augment.rand_augment and augment.color_jitter change"), "{error}");
    }
}

#[test]
fn means_of_other_channels_are_refused_with_the_command_that_finds_them() {
    let error = DataConfig::default().normalize(5).unwrap_err().to_string();
    assert!(error.contains("data.mean has 3 numbers for model.num_channels = 5"), "{error}");
    assert!(error.contains("train-cli data info"), "{error}");
}

#[test]
fn damaged_files_are_decoded_or_refused() {
    let (mut decoded, mut refused) = (0, 0);
    let mut paths: Vec<_> = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for seed in seeds(40) {
        for (index, path) in paths.iter().enumerate() {
            let bytes = fs::read(path).unwrap();
            let mut rng = rng(seed, Stream::Augment, 0, index as u64);
            let mut damaged = bytes.clone();
            damaged.truncate(rng.random_range(1..=2 * bytes.len()).min(bytes.len()));
            for _ in 0..rng.random_range(0..4) {
                // Headers and directories are where damage does harm.
                let end = if rng.random() { damaged.len() } else { damaged.len().min(256) };
                let at = rng.random_range(0..end);
                damaged[at] = rng.random();
            }
            let options = DecodeOptions { max_pixels: 1 << 20, ..options(CHANNELS) };
            match decode(&damaged, options) {
                Ok(_) => decoded += 1,
                Err(error) => {
                    assert!(!error.contains("panicked"), "{}: {error}", path.display());
                    refused += 1;
                }
            }
        }
    }
    assert!(decoded > 100 && refused > 1000, "{decoded} decoded, {refused} refused");
}
