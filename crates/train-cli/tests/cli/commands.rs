//! What the commands print and write.

use std::fs;
use std::path::Path;

use crate::common::{Bench, json};
use serde_json::Value;

/// Every configuration is parsed, resolved and planned against the bundled sample.
#[test]
fn every_configuration_can_be_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bench = Bench::new();
    let mut planned = 0;
    for folder in ["configs", "configs/cifar10"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            // The sample has fewer images than the paper's batch.
            let text = fs::read_to_string(&path).unwrap();
            let (pretrains, holds_out) = (text.contains("[fcmae]"), text.contains("val_fraction = 0.1"));
            let data = root.join(if holds_out { "data/sample/train" } else { "data/sample" });
            let config = path.to_str().unwrap();
            let command = if pretrains { "pretrain" } else { "finetune" };
            let mut args = vec![command, "--config", config, "--data", data.to_str().unwrap()];
            args.extend([
                "--dry-run",
                "--json",
                "--set",
                "train.batch_size=4",
                "--set",
                "train.accumulate=2",
            ]);
            if pretrains {
                let plan = json(&bench.succeed(&args));
                assert_eq!(plan["train_images"], 1000, "{config}");
                assert!(plan["compact_macs"].as_u64() < plan["macs"].as_u64(), "{config}");
            } else {
                args.extend(["--init", "none"]);
                if !text.contains("[model]") {
                    // The network is that of a checkpoint.
                    args.extend(["--set", "model.size=atto"]);
                }
                let plan = json(&bench.succeed(&args));
                let count = |part: &str| plan[part].as_u64().unwrap();
                let counts = (count("train_images"), count("val_images"));
                match holds_out {
                    true => {
                        assert!(counts.0 + counts.1 == 1000 && (70..130).contains(&counts.1), "{counts:?}")
                    }
                    false => assert_eq!(counts, (1000, 250), "{config}"),
                }
                assert_eq!(plan["num_classes"], 10, "{config}");
            }
            planned += 1;
        }
    }
    assert!(planned >= 23, "{planned}");
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 2, "a dry run writes nothing");
}

#[test]
fn the_paper_learning_rate_and_size_of_atto() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = root.join("configs/fcmae_atto.toml");
    let info = json(&Bench::new().succeed(&["info", config.to_str().unwrap(), "--json"]));
    assert_eq!(info["visible_patches"], 19);
    assert_eq!(info["patches"], 49);
    assert_eq!(info["depths"], json("[2,2,6,2]"));
    assert_eq!(info["stages"][0]["tokens"], 56 * 56);
    assert_eq!(info["stages"][0]["visible_tokens"], 19 * 64);
}

#[test]
fn batches_may_be_larger_than_what_a_thread_makes_at_a_time() {
    let bench = Bench::new();
    let large = ["--set", "train.batch_size=20", "--set", "train.accumulate=1", "--set", "train.max_steps=1"];
    let output = bench.pretrain("run", &[&large[..], &["--set", "model.drop_path_rate=0.2"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_run_leaves_logs_pictures_and_a_checkpoint_that_can_be_looked_at() {
    let bench = Bench::new();
    let output = bench.pretrain("run", &["--set", "train.max_steps=6"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for expected in
        ["26 images, 2 classes", "4 × 2 accumulated = 8", "weight decay 0.05", "finished at step 6 of 6"]
    {
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
    assert!(!stdout.contains('\u{1b}') && !output.stderr.contains(&0x1b), "escape codes in a pipe");

    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let mut lines: Vec<Value> = log.lines().map(json).collect();
    assert!(lines.pop().unwrap().get("health").is_some(), "the end is looked at");
    assert_eq!(lines.len(), 6);
    for key in ["step", "epoch", "loss", "lr", "grad_norm", "img_per_s", "data_wait", "peak_rss_mib"] {
        assert!(lines[5][key].is_number(), "{key}");
    }
    assert_eq!(fs::read_dir(bench.path("run/tensorboard")).unwrap().count(), 1);
    let picture = image::open(bench.path("run/samples/step-00000006.png")).unwrap();
    assert!(picture.width() > 4 * 24 && picture.height() > 8 * 16);

    let checkpoint = "run/checkpoints/step-00000006";
    for file in ["model.safetensors", "optimizer.safetensors", "state.json", "config.toml"] {
        assert!(bench.path(checkpoint).join(file).is_file(), "{file}");
    }
    let info = json(&bench.succeed(&["info", checkpoint, "--json", "--tensors"]));
    assert_eq!(info["hidden_sizes"], json("[8,16]"));
    assert!(info["tensors"].as_array().unwrap().iter().any(|t| t[0] == "decoder.0.grn.gamma"));

    let images = ["data/class0/00.png", "data/class1/01.png"];
    let args = [
        "reconstruct",
        "--checkpoint",
        "run",
        "--out",
        "grid.png",
        "--mask-ratio",
        "0.5",
        images[0],
        images[1],
    ];
    let stdout = bench.succeed(&args);
    assert!(stdout.contains("mean and variance of the true patches"), "{stdout}");
    let report = json(&fs::read_to_string(bench.path("grid.json")).unwrap());
    assert_eq!((&report["visible_patches"], &report["used_target_statistics"]), (&json("3"), &json("true")));
    assert_eq!(report["reconstructions"].as_array().unwrap().len(), 2);
    assert!(report["reconstructions"][0]["psnr_db"].as_f64().unwrap() > 0.0);
    let first = fs::read(bench.path("grid.png")).unwrap();
    bench.succeed(&args);
    assert_eq!(first, fs::read(bench.path("grid.png")).unwrap(), "the same seed gives the same picture");
}

#[test]
fn completions_name_the_commands() {
    let script = Bench::new().succeed(&["completions", "bash"]);
    assert!(script.contains("pretrain") && script.contains("reconstruct"));
}

#[test]
fn settings_are_found_by_trying_and_nothing_is_written_but_the_picture() {
    let bench = Bench::new();
    let before = std::fs::read_dir(bench.dir.path()).unwrap().count();
    let lr = ["tune", "lr", "--config", "tiny.toml", "--from", "1e-6", "--steps", "60", "--out", "rates.png"];
    let found = json(&bench.succeed(&[&lr[..], &["--json"]].concat()));
    let rate = found["lr"].as_f64().unwrap();
    assert!((1e-4..1.0).contains(&rate), "{found}");
    let blr = found["blr"].as_f64().unwrap();
    assert!((blr - rate * 256.0 / 8.0).abs() < 1e-12 * blr && found["effective_batch_size"] == 8, "{found}");
    assert!(image::open(bench.path("rates.png")).unwrap().width() > 0);
    assert_eq!(json(&bench.succeed(&[&lr[..], &["--json"]].concat())), found, "the same again");
    assert!(bench.succeed(&lr).contains("suggestion   a peak rate of "));
    let refused = bench.fail(&[&lr[..], &["--to", "1e-7"]].concat());
    assert!(refused.contains("--from has to be above 0 and below --to"), "{refused}");

    let found = json(&bench.succeed(&["tune", "batch", "--config", "tiny.toml", "--json"]));
    let sizes: Vec<_> = found["tried"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tried| tried["batch_size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [1, 2, 4, 8, 16]);
    assert!(found["largest"].as_u64().is_none_or(|largest| largest <= 26), "{found}");
    assert_eq!(std::fs::read_dir(bench.dir.path()).unwrap().count(), before + 1);
}
