//! `--precision int8`: what it changes, and where it is refused.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{Bench, failure, json};
use crate::finetune::{bench, finetune};

/// A classifier of the bundled pictures, in a few seconds.
const SAMPLE: &str = r#"
[model]
depths = [2, 2]
hidden_sizes = [32, 64]
patch_size = 2

[data]
image_size = 32

[augment]
crop_scale = [0.6, 1.0]

[optim]
lr = 4e-3
warmup_epochs = 1

[train]
batch_size = 50
epochs = 10
"#;

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} of {report}"))
}

#[test]
fn a_trained_classifier_is_as_accurate_in_8_bits() {
    let (bench, sample) = (Bench::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/sample"));
    let data = sample.to_str().unwrap();
    fs::write(bench.path("sample.toml"), SAMPLE).unwrap();
    bench.succeed(&[
        "finetune",
        "--config",
        "sample.toml",
        "--data",
        data,
        "--init",
        "none",
        "--run-dir",
        "run",
    ]);
    let eval = |split, precision| {
        let args =
            ["eval", "--checkpoint", "run", "--data", data, "--split", split, "--precision", precision];
        json(&bench.succeed(&[&args[..], &["--json"]].concat()))
    };
    for split in ["val", "train"] {
        let (exact, rounded) = (eval(split, "f32"), eval(split, "int8"));
        assert_eq!((&exact["precision"], &rounded["precision"]), (&"f32".into(), &"int8".into()));
        assert!(exact.get("f32").is_none() && exact.get("agreement").is_none());
        assert!(number(&exact, "top1") > 0.25, "{exact}");
        // Judged beside the other network, the one in f32 finds what it finds alone.
        for key in ["top1", "top5", "loss"] {
            assert_eq!(rounded["f32"][key], exact[key], "{key}");
        }
        assert_ne!(rounded["loss"], exact["loss"]);
        assert!((number(&rounded, "top1") - number(&exact, "top1")).abs() <= 0.005, "{rounded}");
        assert!((0.97..=1.0).contains(&number(&rounded, "agreement")), "{rounded}");
    }
    let told = bench.succeed(&["eval", "--checkpoint", "run", "--data", data, "--precision", "int8"]);
    for line in ["%, in 8 bits", "in f32       top-1 ", "% of the images get the same class from both"] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn predictions_features_and_probes_can_be_had_in_8_bits() {
    let bench = bench();
    bench.succeed(&finetune("run", &[]));
    let predict = |more: &[&'static str]| {
        let args = ["predict", "--checkpoint", "run", "data", "--json", "--logits"];
        bench.succeed(&[&args[..], more].concat())
    };
    assert_eq!(predict(&[]), predict(&["--precision", "f32"]));
    let (exact, rounded) = (predict(&[]), predict(&["--precision", "int8"]));
    assert_eq!(rounded.lines().count(), 26);
    assert_ne!(exact, rounded);
    for (exact, rounded) in exact.lines().map(json).zip(rounded.lines().map(json)) {
        let logits = |row: &Value| row["logits"].as_array().unwrap().clone();
        for (a, b) in logits(&exact).iter().zip(&logits(&rounded)) {
            assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 0.2, "{exact} {rounded}");
        }
    }
    let embed = |out: &str, precision| {
        let args = ["embed", "--checkpoint", "run", "--data", "data", "--out", out, "--precision", precision];
        bench.succeed(&args);
        let file = fs::read(bench.path(out)).unwrap();
        let features = SafeTensors::deserialize(&file).unwrap().tensor("features").unwrap().data().to_vec();
        features.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
    };
    let (exact, rounded) = (embed("f32.safetensors", "f32"), embed("int8.safetensors", "int8"));
    assert_ne!(exact, rounded);
    let error = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).sum::<f32>() / exact.len() as f32;
    assert!(error < 0.1, "{error}");
}

#[test]
fn what_8_bits_cannot_do_is_said() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=1"]));
    let eval = ["eval", "--checkpoint", "run", "--precision", "int8"];
    let predict = ["predict", "--checkpoint", "run", "data/class0/00.png", "--precision", "int8"];
    let error = bench.fail(&[&predict[..], &["--heatmap", "why.png"]].concat());
    assert!(error.contains("--heatmap") && error.contains("leave --precision int8 out"), "{error}");
    assert!(!bench.path("why.png").exists());

    // What a network is, the recipe of its checkpoint says.
    let config = bench.path("run/checkpoints/best/config.toml");
    let stored = fs::read_to_string(&config).unwrap();
    let with = |kernels: &str| {
        let fused = "kernels = \"fused\"\n";
        assert!(stored.contains(fused), "{stored}");
        fs::write(&config, stored.replace(fused, kernels)).unwrap();
        let embed =
            ["embed", "--checkpoint", "run", "--data", "data", "--out", "f.npy", "--precision", "int8"];
        let errors = [&eval[..], &predict, &embed].map(|args| failure(&bench.run(args), args));
        assert!(errors.iter().all(|error| error.contains("--precision int8 takes")), "{errors:?}");
        errors.into_iter().next().unwrap()
    };
    let error = with("kernels = \"reference\"\n");
    assert!(error.contains("set model.kernels = \"fused\" in the checkpoint's config.toml"), "{error}");
    let error = with("kernels = \"fused\"\nhidden_act = \"relu\"\n");
    assert!(error.contains("model.hidden_act") && error.contains("leave --precision out"), "{error}");
}
