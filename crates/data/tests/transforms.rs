//! Resizing, cropping, normalisation and decoding against Pillow, torchvision and timm.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;

use data::transform::{CropBox, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Normalize, crop, resize};
use data::{DataConfig, DecodeOptions, EvalConfig, decode_file};
use image::{RgbImage, imageops};
use safetensors::SafeTensors;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn picture(name: &str) -> RgbImage {
    decode_file(&golden(&format!("{name}.png")), DecodeOptions::default()).unwrap().into_rgb()
}

fn geometry() -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden("transforms.json")).unwrap()).unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Every n-th pixel of every n-th row, which is what large goldens store.
fn thinned(image: &RgbImage, every: u32) -> RgbImage {
    let (width, height) = (image.width().div_ceil(every), image.height().div_ceil(every));
    RgbImage::from_fn(width, height, |x, y| *image.get_pixel(x * every, y * every))
}

/// Within one level: the resizer rounds its coefficients to 16 bits, Pillow to 22.
fn assert_equal(found: &RgbImage, expected: &RgbImage, what: &str) {
    assert_eq!(found.dimensions(), expected.dimensions(), "{what}");
    let differences = || found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let (largest, count) = (differences().max(), differences().filter(|d| *d > 0).count());
    assert!(largest <= Some(1), "{what}: {largest:?} levels from Pillow");
    assert!(count * 100 <= found.as_raw().len(), "{what}: {count} values differ from Pillow");
}

fn evaluated(source: &str, size: usize) -> RgbImage {
    EvalTransform::official([size, size]).prepare(&picture(source))
}

#[test]
fn evaluation_transform_equals_the_official_one() {
    let geometry = geometry();
    let cases = geometry["eval"].as_object().unwrap();
    assert_eq!(cases.len(), 6);
    for (name, case) in cases {
        let found = evaluated(case["source"].as_str().unwrap(), number(&case["input_size"]));
        assert_equal(&thinned(&found, number(&case["every"]) as u32), &picture(name), name);
    }
}

/// Made by scripts/interop/eval_goldens.py; no value may differ.
#[test]
fn every_setting_of_evaluation_gives_the_pixels_of_timm_and_transformers() {
    let text = std::fs::read_to_string(golden("eval/settings.json")).unwrap();
    let settings: Value = serde_json::from_str(&text).unwrap();
    let settings = settings.as_object().unwrap();
    assert_eq!(settings.len(), 16);
    for (name, setting) in settings {
        let eval: EvalConfig = serde_json::from_value(setting["eval"].clone()).unwrap();
        let image = picture(setting["source"].as_str().unwrap());
        let found = eval.transform(&DataConfig::default()).prepare(&image);
        let expected = picture(&format!("eval/{name}"));
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let different = found.as_raw().iter().zip(expected.as_raw()).filter(|(a, b)| a != b).count();
        assert_eq!(different, 0, "{name}: {different} of {} values differ", expected.as_raw().len());
    }
}

#[test]
fn resized_crops_equal_torchvision() {
    let geometry = geometry();
    let cases = geometry["random_resized_crop"].as_object().unwrap();
    assert_eq!(cases.len(), 8);
    for (name, case) in cases {
        let at = |key: &str| number(&case[key]) as u32;
        let area = CropBox { left: at("left"), top: at("top"), width: at("width"), height: at("height") };
        let side = number(&case["size"]);
        let mut found = resize(&crop(&picture("source"), area), [side, side]);
        if case["flip"].as_bool().unwrap() {
            imageops::flip_horizontal_in_place(&mut found);
        }
        assert_equal(&found, &picture(name), name);
    }
}

#[test]
fn normalised_numbers_equal_torchvision() {
    let bytes = std::fs::read(golden("floats.safetensors")).unwrap();
    let floats = SafeTensors::deserialize(&bytes).unwrap();
    let normalize = Normalize { mean: IMAGENET_MEAN.to_vec(), std: IMAGENET_STD.to_vec() };
    let mut found = Vec::new();
    // Pillow's own pixels, so that the resizer's last level does not hide an error here.
    normalize.apply(&picture("eval_64_source").into(), &mut found).unwrap();
    let expected = floats.tensor("eval_64_source").unwrap();
    let (expected, _) = expected.data().as_chunks();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - f32::from_le_bytes(*expected)).abs() < 1e-6, "{found}");
    }
}

/// The decoder interpolates chroma beyond the last row and column, where libjpeg stops; everywhere
/// else the two agree within rounding.
#[test]
fn jpeg_decoding_is_close_to_libjpeg() {
    let (found, expected) = (
        decode_file(&golden("source.jpg"), DecodeOptions::default()).unwrap().into_rgb(),
        picture("source_jpg_decoded"),
    );
    assert_eq!(found.dimensions(), expected.dimensions());
    let (width, height) = found.dimensions();
    let largest = |border: bool| {
        let pixels = found.enumerate_pixels().zip(expected.pixels());
        pixels
            .filter(|((x, y, _), _)| (*x == width - 1 || *y == height - 1) == border)
            .flat_map(|((.., a), b)| [0, 1, 2].map(|channel| a.0[channel].abs_diff(b.0[channel])))
            .max()
    };
    // 4 and 28 when this was written.
    assert!(largest(false) <= Some(4), "{:?}", largest(false));
    assert!(largest(true) <= Some(32), "{:?}", largest(true));
}
