//! Augmentations against timm and Pillow.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;

use data::mixup::{Mix, cut_box, soft_targets};
use data::transform::Operation;
use image::RgbImage;
use safetensors::SafeTensors;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn picture(name: &str) -> RgbImage {
    image::open(golden(name)).unwrap().into_rgb8()
}

#[test]
fn every_operation_equals_timms() {
    let table = json("randaugment/randaugment.json");
    let input = picture("randaugment/input.png");
    let names = table["ops"].as_array().unwrap();
    let fill: Vec<u8> = serde_json::from_value(table["fill"].clone()).unwrap();
    let cases = table["cases"].as_object().unwrap();
    assert!(cases.len() > 40, "{} cases", cases.len());
    for (name, case) in cases {
        let number = names.iter().position(|op| *op == case["op"]).unwrap();
        let magnitude = case["magnitude"].as_f64().unwrap();
        let fill = fill.clone().try_into().unwrap();
        let found = Operation::ALL[number].apply(&input, magnitude, case["sign"] == "neg", fill);
        let expected = picture(&format!("randaugment/{name}.png"));
        let differing = found.iter().zip(expected.iter()).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 0, "{name}: {differing} of {} values differ", expected.len());
    }
}

fn floats(dict: &SafeTensors, name: &str) -> Vec<f32> {
    let bytes = dict.tensor(name).unwrap().data().to_vec();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{what}");
}

#[test]
fn mixed_images_and_targets_equal_timms() {
    let bytes = std::fs::read(golden("mixup_cutmix.safetensors")).unwrap();
    let (dict, table) = (SafeTensors::deserialize(&bytes).unwrap(), json("mixup_cutmix.json"));
    let labels = dict.tensor("labels").unwrap();
    let labels: Vec<u32> =
        labels.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect();
    let shape = [4, 3, 12, 12];
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    for (kind, cases) in [("mixup", &table["mixup"]), ("cutmix", &table["cutmix"])] {
        for (name, case) in cases.as_object().unwrap() {
            let lambda = case["lam"].as_f64().unwrap();
            let mix = match kind {
                "mixup" => Mix::Mixup(lambda),
                _ => Mix::Cutmix(cut_box([12, 12], lambda, [number(&case["cy"]), number(&case["cx"])])),
            };
            let mut images = floats(&dict, "images");
            mix.apply(&mut images, shape);
            assert_close(&images, &floats(&dict, &format!("{name}.images")), name);
            let smoothing = case["smoothing"].as_f64().unwrap();
            let targets = soft_targets(&labels, 10, mix.lambda([12, 12]), smoothing);
            assert_close(&targets, &floats(&dict, &format!("{name}.targets")), name);
        }
    }
    for case in table["boxes"].as_array().unwrap() {
        let size = [number(&case["height"]), number(&case["width"])];
        let found = cut_box(size, case["lam"].as_f64().unwrap(), [number(&case["cy"]), number(&case["cx"])]);
        let expected: [usize; 4] = serde_json::from_value(case["box_y0_y1_x0_x1"].clone()).unwrap();
        assert_eq!(found, expected, "{case}");
        let share = Mix::Cutmix(found).lambda(size);
        assert!((share - case["corrected_lam"].as_f64().unwrap()).abs() < 1e-12);
    }
}
