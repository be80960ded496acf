//! What other programs say of preprocessing is taken over, or refused by its name.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

use data::transform::{CropMode, Interpolation};
use data::{DataConfig, EvalConfig};
use interop::{Allow, Conventions, Format, ModelCard, Network, Preprocessing, export, open, read};
use serde_json::{Value, json};
use tempfile::TempDir;

const FILES: [(Format, &str); 2] =
    [(Format::Transformers, "preprocessor_config.json"), (Format::Timm, "config.json")];

fn network() -> Network {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/finetuned.pth");
    read(&path, &Allow::default()).unwrap().network
}

/// A directory of the other program whose file about images says something else.
fn directory((format, file): (Format, &str), change: impl FnOnce(&mut Value)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    export(&network(), format, &ModelCard::default(), dir.path()).unwrap();
    let path = dir.path().join(file);
    let mut said: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(if format == Format::Timm { &mut said["pretrained_cfg"] } else { &mut said });
    fs::write(path, said.to_string()).unwrap();
    dir
}

fn transformers(said: Value) -> TempDir {
    directory(FILES[0], |processor| *processor = said)
}

fn timm(keys: Value) -> TempDir {
    directory(FILES[1], |cfg| cfg.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone()))
}

fn found(dir: &TempDir) -> Preprocessing {
    read(dir.path(), &Allow::default()).unwrap().network.preprocessing.unwrap()
}

fn refused(dir: &TempDir) -> String {
    read(dir.path(), &Allow::default()).unwrap_err().to_string()
}

#[test]
fn transformers_crops_below_384_and_squashes_from_there_on() {
    let said = |side: usize| json!({ "size": { "shortest_edge": side }, "crop_pct": 0.9, "resample": 2 });
    let small = found(&transformers(said(383)));
    assert_eq!((small.size, small.crop_pct, small.crop_mode), ([383, 383], 0.9, CropMode::CenterTruncated));
    assert_eq!((small.image_size, small.interpolation), ([224, 224], Interpolation::Bilinear));
    let large = found(&transformers(said(384)));
    assert_eq!((large.size, large.crop_pct, large.crop_mode), ([384, 384], 1.0, CropMode::Squash));
}

#[test]
fn what_transformers_leaves_out_is_as_in_its_image_processor() {
    let all = found(&transformers(json!({})));
    assert_eq!(
        (all.size, all.crop_mode, all.interpolation),
        ([384, 384], CropMode::Squash, Interpolation::Bicubic)
    );
    assert_eq!((&all.mean, &all.std), (&vec![0.5; 3], &vec![0.5; 3]));
    let old = json!({ "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": null });
    let old = found(&transformers(old));
    assert_eq!((old.size, old.crop_pct, old.crop_mode), ([224, 224], 0.875, CropMode::CenterTruncated));
    let nested = transformers(json!({}));
    let said = json!({ "image_processor": { "size": { "shortest_edge": 160 } } }).to_string();
    fs::write(nested.path().join("processor_config.json"), said).unwrap();
    assert_eq!(found(&nested).size, [160, 160]);
}

#[test]
fn the_processor_of_vit_squashes_to_any_size() {
    let said = json!({ "image_processor_type": "ViTImageProcessor", "size": { "height": 96, "width": 160 } });
    let all = found(&transformers(said));
    assert_eq!((all.size, all.crop_pct, all.crop_mode), ([96, 160], 1.0, CropMode::Squash));
    assert_eq!(all.interpolation, Interpolation::Bilinear);
    let usual = found(&transformers(json!({ "image_processor_type": "ViTImageProcessorFast" })));
    assert_eq!(usual.size, [224, 224]);
}

#[test]
fn rescaling_and_normalisation_are_folded_into_mean_and_deviation() {
    let close = |found: &[f32], expected: [f32; 3]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
    };
    let plain = found(&transformers(json!({ "do_normalize": false, "image_mean": [0.4, 0.4, 0.4] })));
    assert_eq!((plain.mean, plain.std), (vec![0.0; 3], vec![1.0; 3]));
    let bytes = json!({
        "do_rescale": false, "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]
    });
    let bytes = found(&transformers(bytes));
    close(&bytes.mean, [0.485, 0.456, 0.406]);
    close(&bytes.std, [0.229, 0.224, 0.225]);
    let raw = found(&transformers(json!({ "do_rescale": false, "do_normalize": false })));
    assert_eq!((raw.mean, raw.std), (vec![0.0; 3], vec![1.0 / 255.0; 3]));
    let doubled = json!({ "rescale_factor": 2.0 / 255.0, "image_mean": 1.0, "image_std": 1.0 });
    let doubled = found(&transformers(doubled));
    close(&doubled.mean, [0.5; 3]);
    close(&doubled.std, [0.5; 3]);
}

#[test]
fn what_transformers_would_do_otherwise_is_refused_by_name() {
    for (said, parts) in [
        (
            json!({ "image_processor_type": "ViTImageProcessor", "size": { "shortest_edge": 224 } }),
            ["size", "height and width"],
        ),
        (
            json!({ "image_processor_type": "BitImageProcessor" }),
            ["image_processor_type", "BitImageProcessor"],
        ),
        (json!({ "feature_extractor_type": "CLIPFeatureExtractor" }), ["feature_extractor_type", "CLIPF"]),
        (json!({ "do_resize": false }), ["do_resize", "false"]),
        (json!({ "do_center_crop": true }), ["do_center_crop", "true"]),
        (json!({ "do_pad": true }), ["do_pad", "true"]),
        (json!({ "resample": 7 }), ["resample", "7"]),
        (json!({ "resample": "cubic" }), ["resample", "cubic"]),
        (json!({ "size": { "height": 224, "width": 224 } }), ["size", "height"]),
        (json!({ "size": { "shortest_edge": 224 }, "crop_pct": 87.5 }), ["crop_pct", "87.5"]),
        (json!({ "rescale_factor": -1.0 }), ["rescale_factor", "-1"]),
        (json!({ "image_mean": [123.675, 116.28, 103.53] }), ["image_mean", "[0.485, 0.456, 0.406]"]),
        (json!({ "image_std": [58.395, 57.12, 57.375] }), ["image_std", "[0.229, 0.224, 0.225]"]),
        (json!({ "image_mean": [-0.1, 0.1, 0.1] }), ["image_mean", "-0.1"]),
    ] {
        let error = refused(&transformers(said));
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
        assert!(error.contains("preprocessor_config.json"), "{error}");
    }
}

#[test]
fn timm_is_evaluated_as_its_validation_does() {
    let keys = json!({
        "input_size": [3, 224, 224], "test_input_size": [3, 288, 256], "crop_pct": 0.875, "test_crop_pct": 0.95,
        "interpolation": "hamming", "crop_mode": "border", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    });
    let expected = Preprocessing {
        image_size: [224, 224],
        size: [288, 256],
        crop_pct: 0.95,
        crop_mode: CropMode::Border,
        interpolation: Interpolation::Hamming,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
        range: None,
    };
    assert_eq!(found(&timm(keys)), expected);
    let nothing = json!({
        "input_size": null, "interpolation": "", "crop_mode": null, "crop_pct": 0.0, "mean": null, "std": null
    });
    let defaults = found(&timm(nothing));
    assert_eq!(defaults, Preprocessing::official([224, 224]));
}

#[test]
fn what_timm_would_do_otherwise_is_refused_by_name() {
    for (keys, parts) in [
        (json!({ "interpolation": "random" }), ["interpolation", "random"]),
        (json!({ "crop_mode": "corner" }), ["crop_mode", "corner"]),
        (json!({ "crop_mode": "center_truncated" }), ["crop_mode", "center_truncated"]),
        (json!({ "crop_pct": 90.0 }), ["crop_pct", "90"]),
        (json!({ "test_input_size": [1, 288, 288] }), ["test_input_size", "1 channels"]),
        (json!({ "mean": [123.675, 116.28, 103.53] }), ["mean", "[0.485, 0.456, 0.406]"]),
        (json!({ "std": [0.2, 0.0, 0.2] }), ["std", "0.0"]),
    ] {
        let error = refused(&timm(keys));
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

#[test]
fn a_directory_of_an_earlier_timm_has_its_keys_at_the_top() {
    let dir = timm(json!({ "interpolation": "bilinear", "crop_mode": "squash", "crop_pct": 0.96 }));
    let path = dir.path().join("config.json");
    let mut said: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let cfg = said["pretrained_cfg"].take();
    let all = said.as_object_mut().unwrap();
    all.remove("pretrained_cfg");
    all.extend(cfg.as_object().unwrap().clone());
    fs::write(&path, said.to_string()).unwrap();
    let found = found(&dir);
    let expected = (Interpolation::Bilinear, CropMode::Squash, 0.96);
    assert_eq!((found.interpolation, found.crop_mode, found.crop_pct), expected);
}

#[test]
fn what_comes_in_goes_out_and_comes_in_again() {
    let conventions = Conventions { recipe: |_| Err("no run".into()) };
    for (format, dir) in [
        (
            Format::Transformers,
            transformers(json!({ "size": { "shortest_edge": 236 }, "crop_pct": 0.95, "resample": 1 })),
        ),
        (
            Format::Transformers,
            transformers(json!({ "size": { "shortest_edge": 400 }, "do_rescale": false })),
        ),
        (
            Format::Transformers,
            transformers(json!({
                "image_processor_type": "ViTImageProcessor", "size": { "height": 96, "width": 160 }
            })),
        ),
        (
            Format::Timm,
            timm(json!({ "test_input_size": [3, 288, 288], "crop_pct": 0.95, "crop_mode": "squash" })),
        ),
        (
            Format::Timm,
            timm(json!({ "interpolation": "box", "crop_mode": "border", "mean": [0.1, 0.2, 0.3] })),
        ),
    ] {
        let first = open(dir.path(), None, &Allow::default(), &conventions).unwrap();
        let again = tempfile::tempdir().unwrap();
        export(&first.network, format, &ModelCard::default(), again.path()).unwrap();
        let second = open(again.path(), None, &Allow::default(), &conventions).unwrap();
        assert_eq!(second.network.preprocessing, first.network.preprocessing);
        assert_eq!(second.recipe, first.recipe);
        // The sections say the same as the network.
        let data: DataConfig = second.recipe.section("data").unwrap().unwrap();
        let eval: EvalConfig = second.recipe.section("eval").unwrap().unwrap();
        assert_eq!(Preprocessing::of(&data, &eval), second.network.preprocessing());
    }
}

#[test]
fn what_transformers_cannot_do_is_not_exported() {
    let exported = |preprocessing: Preprocessing| {
        let dir = tempfile::tempdir().unwrap();
        let network = Network { preprocessing: Some(preprocessing), ..network() };
        export(&network, Format::Transformers, &ModelCard::default(), dir.path())
    };
    let of = |side: usize, crop_mode, crop_pct| Preprocessing {
        crop_mode,
        crop_pct,
        ..Preprocessing::official([side, side])
    };
    for (side, mode, share) in
        [(224, CropMode::Border, 1.0), (224, CropMode::Squash, 0.9), (384, CropMode::Center, 0.9)]
    {
        let error = exported(of(side, mode, share)).unwrap_err().to_string();
        assert!(error.contains("eval.crop_mode") && error.contains("transformers"), "{error}");
    }
    for (side, mode, differs) in [
        (384, CropMode::Squash, false),
        (224, CropMode::CenterTruncated, false),
        (224, CropMode::Center, true),
        (32, CropMode::Squash, false),
    ] {
        let preprocessing = of(side, mode, 1.0);
        assert_eq!(!preprocessing.differences(Format::Transformers).is_empty(), differs, "{side} {mode:?}");
        let ranged = Preprocessing { range: Some([0.0, 10000.0]), ..preprocessing.clone() };
        assert!(ranged.differences(Format::Onnx)[0].contains("from 0 to 10000 to 0 to 1"));
        let bands = Preprocessing { mean: vec![0.5; 5], ..preprocessing.clone() };
        assert!(bands.differences(Format::Onnx)[0].contains("images of 5 channels"));
        exported(preprocessing).unwrap();
    }
    // Not square: squashed by another processor, or not at all.
    let oblong = Preprocessing { size: [96, 160], ..of(32, CropMode::Center, 0.875) };
    assert!(exported(oblong).unwrap_err().to_string().contains("96×160"));
}
