//! Model cards: what is known of a network, and nothing else.

use std::fs;

use crate::common::{Bench, json};

fn golden(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/goldens");
    folder.join(name).to_str().unwrap().to_owned()
}

/// The card of an export.
fn card(bench: &Bench, checkpoint: &str, format: &str, more: &[&str]) -> String {
    let out = format!("{format}-{}", checkpoint.replace('/', "-"));
    let args = ["export", "--checkpoint", checkpoint, "--format", format, "--out", &out];
    let told = bench.succeed(&[&args[..], more].concat());
    assert!(told.contains(&format!("{out}/README.md")), "{told}");
    fs::read_to_string(bench.path(&out).join("README.md")).unwrap()
}

#[test]
fn the_card_of_a_run_has_its_accuracy_its_recipe_and_its_curves() {
    let bench = Bench::new();
    let network = "[model]\ndepths = [1, 1]\nhidden_sizes = [8, 16]\npatch_size = 2\n";
    // Six classes: among five, every image would be right.
    for index in 0..26 {
        let kind = bench.path(&format!("data/kind{}", index % 6));
        fs::create_dir_all(&kind).unwrap();
        let name = format!("{index:02}.png");
        fs::rename(bench.path(&format!("data/class{}", index % 2)).join(&name), kind.join(&name)).unwrap();
    }
    for class in ["data/class0", "data/class1"] {
        fs::remove_dir(bench.path(class)).unwrap();
    }
    let data = bench.path("data");
    let rest = format!(
        "[finetune]\nema_decay = 0.5\n[data]\npath = {data:?}\nval_fraction = 0.3\nimage_size = 16\n\
         [optim]\nlr = 1e-2\nwarmup_epochs = 0\n[train]\nbatch_size = 4\nepochs = 3\n"
    );
    fs::write(bench.path("classes.toml"), format!("{network}{rest}")).unwrap();
    let square = ["--epochs", "1", "--set", "data.image_size=16"];
    bench.succeed(&[&["pretrain", "--config", "tiny.toml", "--run-dir", "pretrained"], &square[..]].concat());
    bench.succeed(&["finetune", "--config", "classes.toml", "--run-dir", "run", "--init", "pretrained"]);
    let report = json(&bench.succeed(&["eval", "--checkpoint", "run", "--json"]));
    let best = json(&fs::read_to_string(bench.path("run/results.json")).unwrap())["best"].clone();
    let percent = |key: &str| format!("{:.2} %", 100.0 * report[key].as_f64().unwrap());
    let ema = if best["ema"] == true { ", by the moving average of the weights" } else { "" };
    let accuracy = format!(
        "Top-1 accuracy {}, top-5 {} on the {} images of `data` that were held out (part `val`), after {} \
         updates{ema}.",
        percent("top1"),
        percent("top5"),
        report["images"],
        best["step"]
    );
    for format in ["hf", "official", "onnx"] {
        let card = card(&bench, "run", format, &[]);
        for part in [&accuracy, "epochs = 3", "(curves.png)", "split: \"val\"", "type: \"custom\""] {
            assert!(card.contains(part), "{part} in {card}");
        }
        assert!(bench.path(&format!("{format}-run/curves.png")).is_file());
        // Nothing of this machine, and nothing that the Hub would take for a name.
        for part in [bench.dir.path().to_str().unwrap(), "pretrained\"", "datasets:", "base_model"] {
            assert!(!card.contains(part), "{part} in {card}");
        }
    }
    // A checkpoint that is not the evaluated one has no accuracy.
    let first = card(&bench, "pretrained", "hf", &["--dataset", "me/photos", "--license", "mit"]);
    assert!(first.contains("datasets:\n- \"me/photos\"") && first.contains("license: \"mit\""), "{first}");
    assert!(!first.contains("accuracy") && first.contains("[fcmae]"), "{first}");
    let path = ["export", "--checkpoint", "run", "--format", "hf", "--out", "x", "--dataset", "/data/photos"];
    let output = bench.run(&path);
    assert!(!output.status.success() && !bench.path("x").exists(), "{output:?}");
}

#[test]
fn the_card_of_imported_weights_invents_nothing() {
    let bench = Bench::new();
    bench.succeed(&["import", &golden("finetuned.pth"), "--out", "imported"]);
    for format in ["hf", "timm", "official", "onnx"] {
        let card = card(&bench, "imported", format, &[]);
        assert!(card.contains("classifier of 10 classes") && card.contains("```python"), "{card}");
        for part in ["epochs", "toml", "accuracy", "model-index", "datasets", "curves", "Training"] {
            assert!(!card.contains(part), "{part} in {card}");
        }
    }
}
