//! Checkpoints of other programs, in and out.

use std::path::Path;

use crate::common::{Bench, json};

pub(crate) fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/goldens");
    folder.join(name).to_str().unwrap().to_owned()
}

const IMAGE: &str = "data/class0/00.png";

#[test]
fn every_format_of_a_classifier_predicts_the_same() {
    let bench = Bench::new();
    let predict = |checkpoint: &str| {
        bench.succeed(&["predict", "--checkpoint", checkpoint, "--json", "--logits", "--top-k", "10", IMAGE])
    };
    let expected = predict(&golden("finetuned.pth"));
    assert_eq!(json(&expected)["logits"].as_array().unwrap().len(), 10);
    assert_eq!(predict(&golden("timm_conv_mlp.safetensors")), expected);
    bench.succeed(&["import", &golden("finetuned.pth"), "--out", "ours"]);
    assert_eq!(predict("ours"), expected);
    for format in ["hf", "timm", "official"] {
        bench.succeed(&["export", "--checkpoint", "ours", "--format", format, "--out", format]);
        assert_eq!(predict(format), expected, "{format}");
    }
    // Another image size, another answer; the file alone has the size it says in config.json.
    let small = predict(&golden("hf"));
    assert_eq!(predict(&golden("hf/model.safetensors")), small);
    bench.succeed(&["import", &golden("hf"), "--out", "small"]);
    assert_eq!(predict("small"), small);
    let info = json(&bench.succeed(&["info", "--json", &golden("hf")]));
    assert_eq!((&info["layout"], &info["classes"][1]), (&"transformers".into(), &"LABEL_1".into()));
}

/// Every command that evaluates, on a checkpoint that says how.
#[test]
fn preprocessing_can_be_overridden() {
    let bench = Bench::new();
    image::RgbImage::from_fn(90, 61, |x, y| image::Rgb([(x * 2) as u8, (y * 4) as u8, (x * y) as u8]))
        .save(bench.path("wide.png"))
        .unwrap();
    let network = golden("hf");
    let predict = |set: &[&str]| {
        let args = ["predict", "--checkpoint", &network, "--json", "--logits", "wide.png"];
        json(&bench.succeed(&[&args[..], set].concat()))["logits"].clone()
    };
    let usual = predict(&[]);
    for entry in [
        "eval.crop_pct=0.6",
        "eval.crop_mode=squash",
        "eval.interpolation=nearest",
        "eval.size=96",
        "eval.mean=[0.1, 0.2, 0.3]",
        "eval.std=[0.5, 0.5, 0.5]",
    ] {
        assert_ne!(predict(&["--set", entry]), usual, "{entry}");
    }
    let embed = |set: &[&str], out: &str| {
        let args = ["embed", "--checkpoint", &network, "--data", "data", "--out", out];
        bench.succeed(&[&args[..], set].concat());
        std::fs::read(bench.path(out)).unwrap()
    };
    let cropped = ["--set", "eval.crop_pct=0.6"];
    assert_ne!(embed(&[], "a.npy"), embed(&cropped, "b.npy"));
    let pretrained = golden("pretrain_sparse.pth");
    let reconstruct = |set: &[&str]| {
        let args = ["reconstruct", "--checkpoint", &pretrained, "--out", "grid.png", "wide.png"];
        bench.succeed(&[&args[..], set].concat())
    };
    assert_ne!(reconstruct(&[]), reconstruct(&cropped));
    assert!(reconstruct(&["--set", "eval.size=96"]).contains("of 9 patches"));
    for (entry, part) in [
        ("eval.crop_pct=60", "eval.crop_pct"),
        ("eval.crop=0.6", "did you mean"),
        ("eval.mean=[124, 116, 104]", "[0.4863, 0.4549, 0.4078]"),
        ("data.image_size=96", "data"),
        ("eval.size=8", "8×8 pixels are less than the network's stride of 32"),
    ] {
        let error = bench.fail(&["predict", "--checkpoint", &network, "--set", entry, "wide.png"]);
        assert!(error.contains(part), "{entry}: {error}");
    }
    bench.succeed(&[
        "export",
        "--checkpoint",
        &network,
        "--format",
        "timm",
        "--out",
        "t",
        "--set",
        "eval.crop_mode=border",
    ]);
    let config = std::fs::read_to_string(bench.path("t/config.json")).unwrap();
    assert!(config.contains("\"crop_mode\": \"border\""), "{config}");
    let error = bench.fail(&["export", "--checkpoint", "t", "--format", "hf", "--out", "h"]);
    assert!(error.contains("eval.crop_mode = border"), "{error}");
}

#[test]
fn a_pretraining_checkpoint_starts_everything() {
    let bench = Bench::new();
    let pretrained = golden("pretrain_sparse.pth");
    bench.succeed(&["import", &pretrained, "--out", "ours"]);
    for checkpoint in [&pretrained, "ours"] {
        bench.succeed(&["info", checkpoint]);
        bench.succeed(&["reconstruct", "--checkpoint", checkpoint, "--out", "grid.png", IMAGE]);
        bench.succeed(&["embed", "--checkpoint", checkpoint, "--data", "data", "--out", "f.safetensors"]);
        let error = bench.fail(&["predict", "--checkpoint", checkpoint, IMAGE]);
        assert!(error.contains("pretraining checkpoint"), "{error}");
    }
    let network = [
        "--config",
        "tiny.toml",
        "--set",
        "model.depths=[1,1,2,1]",
        "--set",
        "model.hidden_sizes=[8,16,32,64]",
        "--set",
        "model.patch_size=4",
        "--set",
        "data.image_size=64",
        "--set",
        "train.max_steps=1",
        "--set",
        "fcmae.patch_size=32",
        "--init",
        &pretrained,
    ];
    let told = bench
        .succeed(&[&["pretrain", "--run-dir", "p", "--set", "fcmae.decoder_dim=4"], &network[..]].concat());
    assert!(!told.contains("no decoder"), "{told}");
    bench.succeed(&["export", "--checkpoint", "ours", "--format", "hf", "--out", "encoder"]);
    let error = bench.fail(&["reconstruct", "--checkpoint", "encoder", "--out", "grid.png", IMAGE]);
    assert!(error.contains("has no decoder"), "{error}");
    bench.succeed(&["embed", "--checkpoint", "encoder", "--data", "data", "--out", "e.safetensors"]);
}

#[test]
fn differences_are_refused_until_they_are_allowed() {
    let bench = Bench::new();
    let classifier = golden("finetuned.pth");
    let shallow = [
        "pretrain",
        "--config",
        "tiny.toml",
        "--run-dir",
        "p",
        "--set",
        "model.depths=[1,1,1,1]",
        "--set",
        "model.hidden_sizes=[8,16,32,64]",
        "--set",
        "model.patch_size=4",
        "--set",
        "data.image_size=64",
        "--set",
        "fcmae.patch_size=32",
        "--set",
        "train.max_steps=1",
        "--init",
        &classifier,
    ];
    let error = bench.fail(&shallow);
    assert!(error.contains("not known to this model: `stages.2.1.dwconv.bias`"), "{error}");
    bench.succeed(&[&shallow[..], &["--allow-unused", "stages.2.1.*"]].concat());
    assert!(bench.fail(&["import", "tiny.toml", "--out", "x"]).contains("tiny.toml"));
    assert!(bench.fail(&["import", &classifier, "--out", "data"]).contains("not empty"));
}
