//! `bench`: what it measures, and what it refuses to measure.

use std::fs;

use serde_json::Value;

use crate::common::{Bench, json};

/// A fine-tuning of three classes that drops paths and trains the head alone.
const CLASSES: &str = r#"
[model]
depths = [1, 2]
hidden_sizes = [8, 16]
patch_size = 2
drop_path_rate = 0.3

[finetune]
classes = ["a", "b", "c"]
layer_decay = 0.8

[data]
path = "data"
image_size = [64, 64]
"#;

const SHORT: [&str; 5] = ["--batch-size", "4", "--steps", "1", "--json"];

fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("classes.toml"), CLASSES).unwrap();
    bench
}

fn measured(bench: &Bench, args: &[&str]) -> Value {
    json(&bench.succeed(&[&["bench"], args, &SHORT].concat()))
}

#[test]
fn every_kind_takes_configurations_of_both_kinds() {
    let bench = bench();
    for (config, size) in [("tiny.toml", [16, 24]), ("classes.toml", [64, 64])] {
        for kind in ["pretrain", "finetune", "infer"] {
            let found = measured(&bench, &[kind, "--config", config]);
            assert!(found["img_per_s"].as_f64().unwrap() > 0.0, "{kind} {config}");
            assert_eq!(found["image_size"], serde_json::json!(size), "{kind} {config}");
            assert_eq!(found["execution"].is_null(), kind != "pretrain", "{kind} {config}");
        }
        let found = measured(&bench, &["data", "--config", config]);
        assert_eq!(found["images"], 26, "{config}");
    }
}

#[test]
fn what_is_measured_follows_the_configuration() {
    let bench = bench();
    // Operations of the median step, whose time differs.
    let work = |args: &[&str]| {
        let found = measured(&bench, args);
        found["gflops"].as_f64().unwrap() * found["step_s"][0].as_f64().unwrap()
    };
    let named = work(&["infer", "--config", "classes.toml"]);
    let thousand = work(&["infer", "--config", "classes.toml", "--set", "finetune.classes=[]"]);
    // 997 outputs more of 16 channels, for four images, two operations each.
    assert!((1e9 * (thousand - named) / (997.0 * 16.0 * 4.0 * 2.0) - 1.0).abs() < 1e-6, "{named} {thousand}");
    let whole = work(&["finetune", "--config", "classes.toml"]);
    let head = work(&["finetune", "--config", "classes.toml", "--set", "finetune.freeze=encoder"]);
    assert!((whole / named - 3.0).abs() < 1e-6 && head < 1.01 * named, "{named} {whole} {head}");
}

#[test]
fn the_machine_and_the_numbers_are_named() {
    let bench = bench();
    let found =
        measured(&bench, &["infer", "--config", "classes.toml", "--precision", "int8", "--threads", "1"]);
    assert_eq!((&found["precision"], &found["threads"]), (&"int8".into(), &1.into()));
    assert!(found["cores"].as_u64().unwrap() > 0 && found["instructions"].is_array());
    let told = bench.succeed(&["bench", "infer", "--config", "classes.toml", "--steps", "1"]);
    assert!(told.lines().any(|line| line.starts_with("machine      ") && line.contains(" cores")), "{told}");
}

#[test]
fn predicting_is_measured_whole_and_in_its_parts() {
    let bench = bench();
    for precision in ["f32", "int8"] {
        let found = measured(&bench, &["predict", "--config", "classes.toml", "--precision", precision]);
        assert_eq!((&found["images"], &found["precision"]), (&26.into(), &precision.into()));
        for speed in ["img_per_s", "decoding_img_per_s", "computing_img_per_s"] {
            assert!(found[speed].as_f64().unwrap() > 0.0, "{speed}");
        }
    }
    let told = bench.succeed(&[
        "bench",
        "predict",
        "--config",
        "tiny.toml",
        "--data",
        "data/class0",
        "--steps",
        "1",
    ]);
    for line in ["images       13 of data/class0", "speed ", "decoding ", "computing "] {
        assert!(told.lines().any(|told| told.starts_with(line)), "{line}: {told}");
    }
    fs::write(bench.path("data/class0/broken.jpg"), b"no image").unwrap();
    let refused = bench.fail(&["bench", "predict", "--config", "tiny.toml", "--steps", "1"]);
    assert!(refused.contains("broken.jpg"), "{refused}");
}

#[test]
fn options_that_would_change_nothing_are_refused() {
    let bench = bench();
    for (args, said) in [
        (&["infer", "--data", "data"][..], "`bench predict`"),
        (&["infer", "--execution", "masked"], "`bench pretrain`"),
        (&["data", "--data", "data", "--execution", "masked"], "`bench pretrain`"),
        (&["predict", "--data", "data", "--ops"], "--ops"),
        (&["data", "--data", "data", "--precision", "f32"], "without one"),
        (&["pretrain", "--precision", "int8"], "trained in f32 or bf16"),
        (&["predict", "--data", "data", "--precision", "bf16"], "f32 or int8"),
        (&["infer", "--precision", "f32", "--set", "train.precision = f32"], "leave one of them out"),
        (&["infer", "--set", "model.execution=masked"], "bench pretrain"),
        (&["finetune", "--precision", "bf16", "--set", "model.kernels=reference"], "train.precision"),
        (&["infer", "--precision", "int8", "--set", "model.kernels=reference"], "model.kernels"),
        (&["predict"], "--data"),
        (&["finetune", "--set", "fcmae.mask_ratio=0.5"], "fcmae"),
    ] {
        let message = bench.fail(&[&["bench"], args].concat());
        assert!(message.contains(said), "{args:?}: {message}");
    }
}
