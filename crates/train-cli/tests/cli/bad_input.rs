//! Bad input: one clear message, exit code 1, nothing half-written.

use std::fs;
use std::process::Command;

use crate::common::{Bench, checkpoints, failure, pretrain_args};

fn pretrain_fails(bench: &Bench, more: &[&str]) -> String {
    let message = bench.fail(&pretrain_args("run", more));
    assert!(!bench.path("run").exists(), "a run directory was left behind: {message}");
    message
}

#[test]
fn data_that_cannot_be_used() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty")).unwrap();
    fs::create_dir(bench.path("texts")).unwrap();
    fs::write(bench.path("texts/a.txt"), "hello").unwrap();
    for (data, expected) in [
        ("nowhere", "does not exist"),
        ("empty", "is empty"),
        ("texts", "1 files but no image"),
        ("tiny.toml", "not a folder"),
    ] {
        let message = pretrain_fails(&bench, &["--data", data]);
        assert!(message.contains(expected) && message.contains(data), "{message}");
    }
}

#[test]
fn settings_that_cannot_be_used() {
    let bench = Bench::new();
    for (set, expected) in [
        ("train.batch_sise=4", "did you mean `batch_size`"),
        ("train.epochs=many", "invalid type"),
        ("train.batch_size=0", "train.batch_size must be at least 1"),
        ("train.batch_size=64", "lower train.batch_size"),
        ("train.accumulate=9", "lower one of them"),
        ("data.image_size=20", "do not divide into patches"),
        ("fcmae.patch_size=6", "not a multiple of the encoder's total stride 4"),
        ("fcmae.mask_ratio=0.99", "at least one must be visible"),
        ("fcmae.mask_ratio=0.0", "6 of 6 patches"),
        ("fcmae.grn_stats=all", "unknown variant"),
        ("model.num_channels=5", "data.mean has 3 numbers for model.num_channels = 5"),
        ("model.hidden_act=gelo", "did you mean `gelu`"),
        ("data.std=[1.0]", "data.std has 1 numbers"),
        ("optim.betas=[0.9, 1.5]", "optim.betas"),
        ("data.crop_scale=[0.9, 0.2]", "data.crop_scale"),
    ] {
        let message = pretrain_fails(&bench, &["--set", set]);
        assert!(message.contains(expected), "{set}: {message}");
    }
    let message = pretrain_fails(&bench, &["--device", "cpu", "--set", "train.tf32=true"]);
    assert!(message.contains("train.tf32 = true takes an NVIDIA GPU (--device cuda:0)"), "{message}");
    fs::write(bench.path("broken.toml"), "[train]\nbatch_size = \n").unwrap();
    let message = bench.fail(&["pretrain", "--config", "broken.toml"]);
    assert!(message.contains("broken.toml") && message.contains("line 2"), "{message}");
    let message = bench.fail(&["pretrain", "--config", "missing.toml"]);
    assert!(message.contains("missing.toml"), "{message}");
}

#[test]
fn one_corrupt_image_is_skipped_counted_and_named() {
    let bench = Bench::new();
    let whole = fs::read(bench.path("data/class0/04.png")).unwrap();
    fs::write(bench.path("data/class0/04.png"), &whole[..whole.len() / 2]).unwrap();
    let output = bench.pretrain("run", &["--set", "train.max_steps=12"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(stdout.contains("skipped 1 unreadable image") && stdout.contains("04.png"), "{stdout}");

    let args = pretrain_args("strict", &["--set", "data.max_corrupt=0", "--set", "train.max_steps=12"]);
    let message = bench.fail(&args);
    assert!(message.contains("data.max_corrupt = 0") && message.contains("04.png"), "{message}");
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &["--set", "train.max_steps=2"]).status.success());
    let before = checkpoints(&bench.path("run"));
    let message = bench.fail(&pretrain_args("run", &[]));
    assert!(message.contains("--resume auto"), "{message}");
    assert_eq!(before, checkpoints(&bench.path("run")));
    let message = bench.fail(&pretrain_args("run", &["--resume", "auto", "--set", "seed=4"]));
    assert!(message.contains("seed was 3") && message.contains("is 4 now"), "{message}");
}

#[test]
fn run_directories_that_cannot_be_written() {
    let bench = Bench::new();
    let message = bench.fail(&pretrain_args("tiny.toml/run", &[]));
    assert!(message.contains("tiny.toml/run"), "{message}");
    let message = bench.fail(&pretrain_args("data", &["--resume", "auto"]));
    assert!(message.contains("not the directory of a run"), "{message}");
}

/// A file size limit stands in for a full disk: both make a write fail in the middle.
#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &["--set", "train.max_steps=4"]).status.success());
    let before = checkpoints(&bench.path("run"));
    let args = pretrain_args("run", &["--resume", "auto", "--set", "train.max_steps=40"]);
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} \"$@\"", env!("CARGO_BIN_EXE_train-cli"));
    let limited = Command::new("bash")
        .current_dir(bench.dir.path())
        .args(["-c", &script, "train-cli"])
        .args(&args)
        .output()
        .unwrap();
    let message = failure(&limited, &args);
    assert!(message.contains("cannot write the checkpoint of step"), "{message}");
    assert!(message.contains("step-00000004"), "{message}");
    assert_eq!(before, checkpoints(&bench.path("run")));
    assert!(bench.pretrain("run", &["--resume", "auto", "--set", "train.max_steps=8"]).status.success());
}

#[test]
fn checkpoints_that_cannot_be_used() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &["--set", "train.max_steps=2"]).status.success());
    let other = ["--init", "run", "--set", "model.hidden_sizes=[12, 16]"];
    let message = bench.fail(&pretrain_args("other", &other));
    assert!(message.contains("downsample_layers.0.0.weight"), "{message}");
    assert!(message.contains("expected [12, 3, 2, 2], found [8, 3, 2, 2]"), "{message}");
    assert!(!bench.path("other").exists(), "a run directory was left behind");

    let weights = bench.path("run/checkpoints/step-00000002/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 100]).unwrap();
    let image = "data/class0/00.png";
    for args in [
        pretrain_args("run", &["--resume", "auto"]),
        vec!["reconstruct", "--checkpoint", "run", "--out", "grid.png", image],
        vec!["info", "run"],
    ] {
        let message = bench.fail(&args);
        assert!(message.contains("model.safetensors") && message.contains("damaged"), "{message}");
    }
    assert!(!bench.path("grid.png").exists());
    for (checkpoint, expected) in [("nowhere", "does not exist"), ("data", "not the directory of a run")] {
        let message = bench.fail(&["reconstruct", "--checkpoint", checkpoint, "--out", "grid.png", image]);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_run_that_cannot_go_on_as_it_began_says_why() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &["--set", "train.max_steps=2"]).status.success());
    let message = pretrain_fails_elsewhere(&bench, &["--dry-run", "--resume", "nowhere"]);
    assert!(message.contains("nowhere does not exist"), "{message}");

    let state = bench.path("run/checkpoints/step-00000002/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"order\":2", "\"order\":1")).unwrap();
    let message = bench.fail(&pretrain_args("run", &["--resume", "auto"]));
    assert!(message.contains("takes in another order"), "{message}");

    let config = bench.path("run/checkpoints/step-00000002/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("image_size", "imagesize")).unwrap();
    let message = bench.fail(&["info", "run"]);
    assert!(message.contains("imagesize") && message.contains("did you mean `image_size`"), "{message}");
}

fn pretrain_fails_elsewhere(bench: &Bench, more: &[&str]) -> String {
    let message = bench.fail(&pretrain_args("elsewhere", more));
    assert!(!bench.path("elsewhere").exists(), "a run directory was left behind: {message}");
    message
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_update() {
    let bench = Bench::new();
    let message = bench.fail(&pretrain_args("run", &["--set", "optim.lr=1e30"]));
    assert!(message.contains("stopped before the update"), "{message}");
    assert!(message.contains("optim.clip_grad"), "{message}");
}

#[test]
fn the_dashboard_needs_a_terminal() {
    let bench = Bench::new();
    let message = bench.fail(&pretrain_args("run", &["--tui"]));
    assert!(message.contains("--tui draws on a terminal"), "{message}");
}
