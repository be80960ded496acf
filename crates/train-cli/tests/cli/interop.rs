//! Checkpoints of other programs, in and out.

use std::path::Path;

use crate::common::{Bench, json};

fn golden(name: &str) -> String {
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
