//! Fine-tuning, evaluation and prediction by the program.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{Bench, checkpoints, json};

/// For the two classes and 26 images of the bench, a fifth of them held out.
const CONFIG: &str = r#"
seed = 2

[model]
depths = [1, 1]
hidden_sizes = [8, 16]
patch_size = 2
drop_path_rate = 0.1

[finetune]
layer_decay = 0.8
ema_decay = 0.9
eval_every_epochs = 2

[data]
path = "data"
val_fraction = 0.2
image_size = [16, 24]

[augment]
rand_augment = "rand-m5-mstd0.5-inc1"
random_erasing = 0.25
mixup = 0.8
cutmix = 1.0

[optim]
lr = 1e-2
warmup_epochs = 1

[train]
batch_size = 4
epochs = 6
checkpoint_every_steps = 5

[log]
every_steps = 2
"#;

pub(crate) fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("classes.toml"), CONFIG).unwrap();
    bench
}

pub(crate) fn finetune<'a>(run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["finetune", "--config", "classes.toml", "--run-dir", run], more].concat()
}

#[test]
fn evaluation_and_prediction_agree_with_training() {
    let bench = bench();
    let told = bench.succeed(&finetune("run", &[]));
    assert!(told.contains("19 images in 2 classes, 7 to validate"), "{told}");
    assert!(
        told.contains("classes      class0, class1\nvalidation   held out of data by seed and name"),
        "{told}"
    );
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let evaluations: Vec<Value> =
        log.lines().map(json).filter(|line: &Value| line.get("val_top1").is_some()).collect();
    assert_eq!(evaluations.len(), 3);
    let of = |line: &Value, name: &str| line[name].as_f64().unwrap();
    let best = evaluations.iter().flat_map(|line| [of(line, "val_top1"), of(line, "ema_val_top1")]);
    let best = best.fold(0.0, f64::max);
    // The best network reproduces its accuracy exactly.
    let report = json(&bench.succeed(&["eval", "--checkpoint", "run", "--json", "--confusion", "c.png"]));
    assert_eq!(report["top1"].as_f64().unwrap(), best);
    // A checkpoint says how it is evaluated; another crop gives other numbers.
    let stored = fs::read_to_string(bench.path("run/checkpoints/best/config.toml")).unwrap();
    assert!(stored.contains("[eval]"), "{stored}");
    let cropped = ["eval", "--checkpoint", "run", "--json", "--set", "eval.crop_pct=0.6"];
    assert_ne!(json(&bench.succeed(&cropped))["loss"], report["loss"]);
    let state = json(&fs::read_to_string(bench.path("run/checkpoints/best/state.json")).unwrap());
    assert_eq!(state["best"]["score"].as_f64().unwrap(), best);

    // Counting predictions over all images gives the same accuracy as evaluating them.
    // Of the images that it was trained on, wherever they are, eval takes those that were held out.
    let same = json(&bench.succeed(&["eval", "--checkpoint", "run", "--data", "./data", "--json"]));
    assert_eq!((&same["top1"], &same["images"]), (&report["top1"], &7.into()));
    fs::rename(bench.path("data"), bench.path("all")).unwrap();
    let part = |split| {
        let args = ["eval", "--checkpoint", "run", "--data", "all", "--json", "--split", split];
        let report = json(&bench.succeed(&args));
        (of(&report, "top1"), of(&report, "images"))
    };
    let ((top1, held_out), (training_top1, trained_on)) = (part("val"), part("train"));
    assert_eq!((top1, held_out, trained_on), (best, 7.0, 19.0));
    let lines = bench.succeed(&["predict", "--checkpoint", "run", "all", "--json", "--batch", "7"]);
    fs::rename(bench.path("all"), bench.path("data")).unwrap();
    let right = lines
        .lines()
        .map(json)
        .filter(|row: &Value| {
            let label = row["predictions"][0]["label"].as_str().unwrap();
            row["image"].as_str().unwrap().contains(&format!("/{label}/"))
        })
        .count();
    assert_eq!(lines.lines().count(), 26);
    assert!((right as f64 - top1 * held_out - training_top1 * trained_on).abs() < 1e-9);
    for row in lines.lines().map(json) {
        let sum: f64 = row["predictions"].as_array().unwrap().iter().map(|p| of(p, "score")).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{row}");
    }
    let confusion = json(&fs::read_to_string(bench.path("c.json")).unwrap());
    let counts = confusion["counts"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(counts.map(|n| n.as_u64().unwrap()).sum::<u64>(), report["images"].as_u64().unwrap());

    // So many cells that none of them is empty of colour.
    let picture = image::open(bench.path("c.png")).unwrap().into_rgb8();
    assert!(picture.width() >= 72 && picture.pixels().any(|pixel| pixel.0[0] < 128));
    let output = bench.run(&["eval", "--checkpoint", "run", "--confusion", "c.txt"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("its name ends in .png"));
}

/// Writes `table.csv` with a column of targets beside the bench's images.
fn table(bench: &Bench, column: &str, target: impl Fn(usize) -> String) {
    let rows = (0..26).map(|i| format!("data/class{}/{i:02}.png,{},{}\n", i % 2, target(i), split(i)));
    let text = format!("file_name,{column},split\n{}", rows.collect::<String>());
    fs::write(bench.path("table.csv"), text).unwrap();
}

fn split(index: usize) -> &'static str {
    if index % 5 == 4 { "val" } else { "train" }
}

const TABLE: [&str; 6] =
    ["--data", "table.csv", "--set", "data.max_corrupt=0", "--set", "finetune.eval_every_epochs=3"];

/// The configuration for images that a table divides.
fn divided(bench: &Bench) {
    fs::write(bench.path("classes.toml"), CONFIG.replace("val_fraction = 0.2", "")).unwrap();
}

#[test]
fn several_labels_an_image() {
    let bench = bench();
    divided(&bench);
    // The brightness of an image says which it shows: `bright`, `even`, both or none.
    table(&bench, "labels", |i| match (i > 12, i % 2 == 0) {
        (true, true) => "bright;even".to_owned(),
        (true, false) => "bright".to_owned(),
        (false, true) => "even".to_owned(),
        (false, false) => String::new(),
    });
    let told = bench.succeed(&finetune("run", &TABLE));
    assert!(told.contains("21 images of 2 classes, any number each, 5 to validate"), "{told}");
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let logged = log.lines().map(json).rfind(|line: &Value| line.get("val_map").is_some()).unwrap();
    assert!(logged["val_f1"].is_number() && logged["ema_val_map"].is_number(), "{logged}");
    let report = json(&bench.succeed(&["eval", "--checkpoint", "run", "--data", "table.csv", "--json"]));
    let state = json(&fs::read_to_string(bench.path("run/checkpoints/best/state.json")).unwrap());
    assert_eq!((&report["map"], &report["images"]), (&state["best"]["score"], &Value::from(5)));
    // Probabilities of their own: they need not sum to 1.
    let row = json(&bench.succeed(&["predict", "--checkpoint", "run", "data/class0/00.png", "--json"]));
    let scores: Vec<f64> =
        row["predictions"].as_array().unwrap().iter().map(|p| p["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 2 && scores[0] >= scores[1] && (scores[0] + scores[1] - 1.0).abs() > 1e-3);
    assert!(bench.fail(&["eval", "--checkpoint", "run", "--data", "data"]).contains("another kind"));
    let error = bench.fail(&["eval", "--checkpoint", "run", "--data", "table.csv", "--confusion", "c.png"]);
    assert!(error.contains("one class an image"), "{error}");
}

#[test]
fn numbers_are_predicted() {
    let bench = bench();
    divided(&bench);
    table(&bench, "target.red", |i| format!("{}", i as f64 * 9.0 / 255.0));
    assert!(bench.fail(&finetune("run", &TABLE)).contains("--set finetune.label_smoothing=0"));
    let set = [&TABLE[..], &["--set", "finetune.label_smoothing=0", "--set", "train.epochs=40"]].concat();
    let told = bench.succeed(&finetune("run", &set));
    assert!(told.contains("21 images with 1 numbers each"), "{told}");
    let report = json(&bench.succeed(&["eval", "--checkpoint", "run", "--data", "table.csv", "--json"]));
    assert!(report["r2"].as_f64().unwrap() > 0.3, "{report}");
    let row = json(&bench.succeed(&["predict", "--checkpoint", "run", "data/class1/25.png", "--json"]));
    let (low, high) = (&row["predictions"][0]["score"], 25.0 * 9.0 / 255.0);
    assert!((low.as_f64().unwrap() - high).abs() < 0.5 && row["predictions"][0]["label"] == "red", "{row}");
    let error = bench.fail(&finetune(
        "other",
        &[&set[..], &["--set", "finetune.problem_type=multi_label_classification"]].concat(),
    ));
    assert!(error.contains("the data are for regression"), "{error}");
}

#[test]
fn validation_images_can_be_named_in_a_table() {
    let bench = bench();
    divided(&bench);
    let rows = "file_name,label\ndata/class0/02.png,class0\n./data/class1/03.png,class1\n";
    fs::write(bench.path("val.csv"), rows).unwrap();
    let set = ["--set", "data.val_csv=val.csv", "--set", "train.max_steps=1"];
    let told = bench.succeed(&finetune("run", &set));
    assert!(told.contains("24 images in 2 classes, 2 to validate"), "{told}");
    fs::write(bench.path("val.csv"), "file_name,label\ndata/class0/02.png,cat\n").unwrap();
    let error = bench.fail(&finetune("other", &set));
    assert!(error.contains("class cat is not among the 2"), "{error}");
    let error = bench.fail(&finetune("other", &[&set[..], &["--set", "data.val_fraction=0.5"]].concat()));
    assert!(error.contains("leave one of them out"), "{error}");
    // A colour jitter instead of RandAugment.
    let error = bench.fail(&finetune("other", &["--set", "augment.color_jitter=0.4"]));
    assert!(error.contains("augment.rand_augment"), "{error}");
}

#[test]
fn features_are_written_and_judged() {
    let bench = bench();
    for (split, index) in (0..26).map(|i| (split(i), i)) {
        let to = bench.path(&format!("halves/{split}/class{}/{index:02}.png", index % 2));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(bench.path(&format!("data/class{}/{index:02}.png", index % 2)), to).unwrap();
    }
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=2"]).status.success());
    let embed =
        |out: &str| bench.succeed(&["embed", "--checkpoint", "pretrained", "--data", "halves", "--out", out]);
    assert!(embed("f.safetensors").contains("21 × 16"));
    let file = fs::read(bench.path("f.safetensors")).unwrap();
    // Names lie beside, in the order of the rows, and nothing else is left behind.
    let names = fs::read_to_string(bench.path("f.names.txt")).unwrap();
    assert_eq!((names.lines().count(), names.lines().next()), (21, Some("halves/train/class0/00.png")));
    assert!(SafeTensors::read_metadata(&file).unwrap().1.metadata().is_none());
    assert!(!bench.path(".f.safetensors.part").exists());
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let (features, labels) = (tensors.tensor("features").unwrap(), tensors.tensor("labels").unwrap());
    assert_eq!((features.shape(), labels.shape()), (&[21, 16][..], &[21][..]));
    embed("f.npy");
    let npy = fs::read(bench.path("f.npy")).unwrap();
    let header = 10 + u16::from_le_bytes([npy[8], npy[9]]) as usize;
    assert!(header.is_multiple_of(64) && npy[..header].ends_with(b"\n"));
    assert!(String::from_utf8_lossy(&npy[10..header]).contains("'shape': (21, 16)"));
    assert_eq!(&npy[header..], features.data());

    let probe = |args: &[&'static str]| {
        [&["probe"], args, &["--checkpoint", "pretrained", "--data", "halves", "--json"]].concat()
    };
    let knn = json(&bench.succeed(&probe(&["knn", "--k", "3"])));
    assert_eq!((&knn["k"], &knn["images"], &knn["train_images"]), (&3.into(), &5.into(), &21.into()));
    let linear = json(&bench.succeed(&probe(&["linear"])));
    assert_eq!((&linear["probe"], &linear["l2"]), (&"linear".into(), &1e-3.into()));
    assert!((0.0..=1.0).contains(&linear["top1"].as_f64().unwrap()));
    assert!(bench.fail(&probe(&["knn", "--l2", "1"])).contains("--l2 is for the linear probe"));
    // One neighbour tells one class; more neighbours than there are all vote.
    let nearest = json(&bench.succeed(&probe(&["knn", "--k", "1"])));
    assert_eq!(nearest["top1"], nearest["top5"]);
    let all = bench.run(&probe(&["knn", "--k", "50"]));
    assert!(String::from_utf8_lossy(&all.stderr).contains("--k 50 is more than the 21 training images"));
    let undivided = ["probe", "knn", "--checkpoint", "pretrained", "--data", "data"];
    assert!(bench.fail(&undivided).contains("not divided"));
    // The table says the same, digit for digit, and names by itself.
    fs::remove_file(bench.path("f.names.txt")).unwrap();
    assert!(!embed("f.csv").contains("names"));
    assert!(!bench.path("f.names.txt").exists());
    let table = fs::read_to_string(bench.path("f.csv")).unwrap();
    assert!(table.starts_with("path,label,f0,f1,") && table.lines().count() == 22, "{table}");
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 2 + 16));
    for ((row, name), label) in rows.iter().zip(names.lines()).zip(labels.data().chunks(8)) {
        assert_eq!((row[0], row[1]), (name, if label[0] == 0 { "class0" } else { "class1" }));
    }
    let numbers = rows.iter().flat_map(|row| &row[2..]).map(|number| number.parse::<f32>().unwrap());
    assert_eq!(numbers.flat_map(f32::to_le_bytes).collect::<Vec<_>>(), features.data());
    let error = bench.fail(&["embed", "--checkpoint", "pretrained", "--data", "data", "--out", "f.txt"]);
    assert!(error.contains(".csv"), "{error}");
}

#[test]
fn a_resumed_run_equals_one_without_interruption() {
    let bench = bench();
    let set = ["--set", "finetune.ema_warmup=true", "--set", "data.sampling=balanced"];
    bench.succeed(&finetune("straight", &set));
    bench.succeed(&finetune("parts", &[&set[..], &["--set", "train.max_steps=10"]].concat()));
    let resume = ["--resume", "auto", "--set", "data.workers=0"];
    bench.succeed(&finetune("parts", &[&set[..], &resume].concat()));
    let last = |run: &str| checkpoints(&bench.path(run)).pop().unwrap();
    assert_eq!(last("straight").file_name(), last("parts").file_name());
    for (folder, files) in [
        (None, &["model.safetensors", "ema.safetensors", "optimizer.safetensors"][..]),
        (Some("checkpoints/best"), &["model.safetensors"][..]),
    ] {
        for file in files {
            let read = |run: &str| {
                let folder = folder.map_or_else(|| last(run), |f| bench.path(run).join(f));
                fs::read(folder.join(file)).unwrap()
            };
            let (straight, parts) = (read("straight"), read("parts"));
            let tensors = SafeTensors::deserialize(&straight).unwrap();
            assert!(tensors.len() > 20, "{file}");
            assert!(straight == parts, "{folder:?} {file} differs");
        }
    }
    let state = |run: &str| {
        let mut state = json(&fs::read_to_string(last(run).join("state.json")).unwrap());
        // The configurations differ by the number of workers.
        state["files"].as_object_mut().unwrap().remove("config.toml").unwrap();
        state
    };
    assert_eq!(state("straight"), state("parts"));
}

#[test]
fn a_run_that_cannot_resume_yet_starts_from_its_initial_weights() {
    let bench = bench();
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=1"]).status.success());
    let set = ["--init", "pretrained", "--resume", "auto", "--set", "train.max_steps=2"];
    let told = bench.succeed(&finetune("run", &set));
    assert!(told.contains("start        from pretrained, since run has no checkpoint yet"), "{told}");
    let config = fs::read_to_string(bench.path("run/config.toml")).unwrap();
    assert!(config.contains("init = \"pretrained\""), "{config}");
    let told = bench.succeed(&finetune("run", &set[..4]));
    assert!(told.contains("start        goes on from run/checkpoints/"), "{told}");
    for command in ["pretrain", "finetune"] {
        let config = if command == "pretrain" { "tiny.toml" } else { "classes.toml" };
        let args = [command, "--config", config, "--run-dir", "other", "--dry-run", "--init", "nowhere"];
        assert!(bench.fail(&args).contains("nowhere does not exist"));
    }
    assert!(bench.pretrain("fresh", &["--init", "none", "--set", "train.max_steps=1"]).status.success());
    let error = bench.fail(&["finetune", "--config", "tiny.toml"]);
    assert!(error.contains("configuration for train-cli pretrain"), "{error}");
}

#[test]
fn an_unreadable_validation_image_loses_nothing() {
    let bench = bench();
    fs::write(bench.path("data/class0/24.png"), b"no picture").unwrap();
    fs::write(bench.path("val.csv"), "file_name,label\ndata/class0/24.png,class0\n").unwrap();
    divided(&bench);
    let error = bench.fail(&finetune("run", &["--set", "data.val_csv=val.csv"]));
    assert!(error.contains("24.png") && error.contains("repair or remove"), "{error}");
    // Two epochs of six batches, whatever the interval of checkpoints.
    assert!(checkpoints(&bench.path("run")).pop().unwrap().ends_with("step-00000012"));
    // Repaired, which is a change of the data, that evaluation and those that follow happen.
    fs::copy(bench.path("data/class0/22.png"), bench.path("data/class0/24.png")).unwrap();
    let go_on = ["--set", "data.val_csv=val.csv", "--resume", "auto", "--allow-changed-data"];
    assert!(bench.fail(&finetune("run", &go_on[..4])).contains("1 changed (class0/24.png)"));
    let told = bench.succeed(&finetune("run", &go_on));
    assert!(told.contains("finished at step 36 of 36") && told.contains("best         "), "{told}");
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let evaluated: Vec<_> = log
        .lines()
        .map(json)
        .filter(|line| line.get("val_top1").is_some())
        .map(|line| line["step"].clone())
        .collect();
    assert_eq!(evaluated, [12, 24, 36]);
}

#[test]
fn a_frozen_encoder_stays_as_it_was_pretrained() {
    let bench = bench();
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=3"]).status.success());
    let set = ["--init", "pretrained", "--set", "finetune.freeze=encoder", "--set", "train.max_steps=4"];
    let told = bench.succeed(&finetune("frozen", &set));
    assert!(told.contains("fresh        norm.weight, norm.bias, head.weight, head.bias"), "{told}");
    let read = |run: &str| {
        let folder = checkpoints(&bench.path(run)).pop().unwrap();
        fs::read(folder.join("model.safetensors")).unwrap()
    };
    let (before, after) = (read("pretrained"), read("frozen"));
    let (before, after) =
        (SafeTensors::deserialize(&before).unwrap(), SafeTensors::deserialize(&after).unwrap());
    let mut compared = 0;
    for (name, tensor) in after.iter() {
        if let Ok(old) = before.tensor(name) {
            assert_eq!(old.data(), tensor.data(), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
    // It goes on from a checkpoint whose optimizer knows the head alone.
    bench.succeed(&finetune("frozen", &[&set[2..4], &["--resume", "auto"]].concat()));
}

#[test]
fn early_stopping_ends_a_run_that_no_longer_improves() {
    let bench = bench();
    let set =
        ["--set", "optim.lr=0", "--set", "finetune.patience=1", "--set", "finetune.eval_every_epochs=1"];
    let told = bench.succeed(&finetune("run", &set));
    assert!(told.contains("no better score any more"), "{told}");
    // Patience may be another one when it goes on.
    let patient = ["--set", "finetune.patience=2", "--resume", "auto", "--dry-run"];
    let planned = |more: &[&'static str]| bench.succeed(&finetune("run", &[&set[..], more].concat()));
    assert!(planned(&patient[2..]).contains("nothing is left to do"));
    assert!(planned(&patient).contains("roughly"));
    // Nor does it go on when asked to.
    let told = bench.succeed(&finetune("run", &[&set[..], &["--resume", "auto"]].concat()));
    assert!(told.contains("no better score any more"), "{told}");
    let steps: Value =
        json(&fs::read_to_string(checkpoints(&bench.path("run")).pop().unwrap().join("state.json")).unwrap());
    assert_eq!(steps["epoch"], 2);
}

#[test]
fn what_cannot_be_done_is_said() {
    let bench = bench();
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=1"]).status.success());
    let error = bench.fail(&["predict", "--checkpoint", "pretrained", "data/class0/00.png"]);
    assert!(error.contains("pretraining checkpoint") && error.contains("train-cli finetune"), "{error}");

    let other = ["--init", "pretrained", "--set", "model.hidden_sizes=[8, 24]"];
    let error = bench.fail(&finetune("a", &other));
    assert!(
        error.contains("model.hidden_sizes is [8, 24] here, and that of the checkpoint is [8, 16]"),
        "{error}"
    );

    let error = bench.fail(&finetune("b", &["--set", "finetune.layer_decay=0"]));
    assert!(error.contains("finetune.layer_decay must be in (0, 1]"), "{error}");
    let error = bench.fail(&finetune("c", &["--set", "augment.rand_augment=rand-m9"]));
    assert!(error.contains("rand-m9-mstd0.5-inc1"), "{error}");
    let error = bench.fail(&finetune("d", &["--set", "model.execution=masked"]));
    assert!(error.contains("sees every patch"), "{error}");

    // A data set without validation images, an empty class, a class that is not trained.
    let undivided = CONFIG.replace("val_fraction = 0.2", "");
    fs::write(bench.path("undivided.toml"), undivided).unwrap();
    let args = ["finetune", "--config", "undivided.toml", "--run-dir", "e"];
    assert!(bench.fail(&args).contains("data.val_fraction"));
    for (split, class) in [("train", "a"), ("train", "b"), ("val", "a"), ("val", "c")] {
        let folder = bench.path(&format!("divided/{split}/{class}"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(bench.path("data/class0/00.png"), folder.join("x.png")).unwrap();
    }
    let args = [&args[..], &["--data", "divided"]].concat();
    let error = bench.fail(&args);
    assert!(error.contains("class c is not among the 2 that are trained"), "{error}");
    fs::remove_file(bench.path("divided/train/b/x.png")).unwrap();
    let error = bench.fail(&args);
    assert!(error.contains("train/b") && error.contains("holds no image"), "{error}");

    let error = bench.fail(&["predict", "--checkpoint", "nowhere", "x.png"]);
    assert!(error.contains("nowhere does not exist"), "{error}");
    assert!(!bench.path("a").exists() && !bench.path("e").exists(), "a refused run leaves a directory");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_nobody_reads_or_that_cannot_be_written() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=1"]));
    let predict = ["predict", "--checkpoint", "run", "data"];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bench.command(&predict).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = bench.command(&predict).stdout(full).output().unwrap();
    assert!(crate::common::failure(&output, &predict).contains("cannot write to standard output"));
}

#[test]
fn a_head_for_other_classes_starts_fresh() {
    let bench = bench();
    bench.succeed(&finetune("first", &["--set", "train.max_steps=1"]));
    let again = finetune("same", &["--init", "first", "--set", "train.max_steps=1"]);
    assert!(!bench.succeed(&again).contains("fresh"));
    fs::rename(bench.path("data/class0"), bench.path("data/another")).unwrap();
    let told = bench.succeed(&finetune("other", &["--init", "first", "--set", "train.max_steps=1"]));
    assert!(told.contains("fresh        head.weight, head.bias"), "{told}");
}

#[test]
fn unreadable_images_do_not_stop_the_others() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=1"]));
    fs::write(bench.path("data/class0/broken.png"), b"no picture").unwrap();
    let output = bench.run(&["predict", "--checkpoint", "run", "data/class0", "--csv", "--top-k", "1"]);
    assert!(output.status.success());
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out.lines().count(), 1 + 13);
    assert_eq!(out.lines().next(), Some("image,rank,label,score"));
    assert!(err.contains("broken.png") && err.contains("1 of 14"), "{err}");
    let output = bench.run(&["predict", "--checkpoint", "run", "data/class0/broken.png"]);
    assert!(!output.status.success());
}

/// The notes that a command gives beside its output.
fn notes(bench: &Bench, args: &[&str]) -> (Value, String) {
    let output = bench.run(args);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    (json(std::str::from_utf8(&output.stdout).unwrap()), told)
}

fn copy(bench: &Bench, from: &str, to: &str) {
    let to = bench.path(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(bench.path(from), to).unwrap();
}

#[test]
fn images_that_come_later_do_not_change_what_a_network_is_judged_by() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=12"]));
    let eval = ["eval", "--checkpoint", "run", "--json"];
    let (before, told) = notes(&bench, &eval);
    assert_eq!((&before["images"], told.as_str()), (&7.into(), ""));
    // An image more in each class, in front of the others.
    copy(&bench, "data/class0/00.png", "data/class0/!.png");
    copy(&bench, "data/class1/01.png", "data/class1/!.png");
    let (after, told) = notes(&bench, &eval);
    assert_eq!((&after["top1"], &after["images"], &after["new"]), (&before["top1"], &7.into(), &2.into()));
    assert!(
        told.contains("note: since the run began: 2 new (class0/!.png, class1/!.png); new ones are left out")
    );
    // A checkpoint by itself knows as much.
    copy(&bench, "run/checkpoints/best/model.safetensors", "alone/model.safetensors");
    copy(&bench, "run/checkpoints/best/config.toml", "alone/config.toml");
    let message = bench.fail(&["eval", "--checkpoint", "alone"]);
    assert!(message.contains("images.csv.gz is missing"), "{message}");
    copy(&bench, "run/checkpoints/best/images.csv.gz", "alone/images.csv.gz");
    assert_eq!(notes(&bench, &["eval", "--checkpoint", "alone", "--json"]).0["images"], 7);
    // The probe is taught by what was trained on, and asked about the rest.
    let (probe, _) = notes(&bench, &["probe", "knn", "--checkpoint", "run", "--data", "data", "--json"]);
    assert_eq!((&probe["train_images"], &probe["images"]), (&19.into(), &7.into()));

    // Training goes on with other images only if told to, and then divides the old ones as before.
    let go_on = ["--set", "train.max_steps=16", "--resume", "auto"];
    let message = bench.fail(&finetune("run", &go_on));
    assert!(message.contains("2 new (class0/!.png, class1/!.png). --allow-changed-data"), "{message}");
    let told = bench.succeed(&finetune("run", &[&go_on[..], &["--allow-changed-data"]].concat()));
    assert!(told.contains("changed      since the run began: 2 new"), "{told}");
    assert!(told.contains("finished at step 16"), "{told}");
    let newest = ["eval", "--checkpoint", "run/checkpoints/step-00000016", "--json"];
    let (later, told) = notes(&bench, &newest);
    assert!(later["images"].as_u64().unwrap() >= 7 && told.is_empty(), "{later} {told}");
    // Scores over other images are not compared: the best is one of those since.
    let state = json(&fs::read_to_string(bench.path("run/checkpoints/best/state.json")).unwrap());
    assert_eq!(state["best"]["step"], 16);
    // A label that has changed is no less a change than a picture.
    fs::remove_file(bench.path("data/class1/25.png")).unwrap();
    copy(&bench, "data/class0/00.png", "data/class1/23.png");
    let message = bench.fail(&finetune("run", &["--set", "train.max_steps=20", "--resume", "auto"]));
    assert!(message.contains("1 gone (class1/25.png), 1 changed (class1/23.png)"), "{message}");
}

#[test]
fn a_start_that_knows_the_validation_images_is_said() {
    let bench = bench();
    bench.succeed(&finetune("first", &["--set", "train.max_steps=4"]));
    let init = ["--set", "train.max_steps=4", "--init", "first"];
    assert!(!bench.succeed(&finetune("same", &init)).contains("note  "));
    let told = bench.succeed(&finetune("other", &[&init[..], &["--set", "seed=5"]].concat()));
    assert!(told.contains("images to validate on were trained on in first"), "{told}");
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=4"]).status.success());
    let told = bench.succeed(&finetune("third", &["--set", "train.max_steps=4", "--init", "pretrained"]));
    assert!(told.contains("7 of the 7 images to validate on were trained on in pretrained"), "{told}");
    assert!(told.contains("without labels"), "{told}");
}

#[test]
fn the_test_images_are_looked_at_when_asked_for_alone() {
    let bench = bench();
    divided(&bench);
    for index in 0..26 {
        let part = ["Training", "Testing"][usize::from(index % 5 == 4)];
        let class = index % 2;
        copy(
            &bench,
            &format!("data/class{class}/{index:02}.png"),
            &format!("parted/{part}/class{class}/{index}.png"),
        );
    }
    let message = bench.fail(&finetune("run", &["--data", "parted"]));
    assert!(message.contains("has test and train but no images to validate on"), "{message}");
    let more = ["--data", "parted", "--set", "data.val_fraction=0.3", "--set", "train.max_steps=4"];
    let told = bench.succeed(&finetune("run", &more));
    assert!(told.contains("images in 2 classes"), "{told}");
    let count = |split| {
        let report = bench.succeed(&["eval", "--checkpoint", "run", "--json", "--split", split]);
        json(&report)["images"].as_u64().unwrap()
    };
    let [train, val, test] = ["train", "val", "test"].map(count);
    assert_eq!((train + val, test), (21, 5));
    let message = bench.fail(&["eval", "--checkpoint", "run", "--data", "data", "--split", "test"]);
    assert!(message.contains("data is not divided into train and val"), "{message}");
}

/// Sets one number of a tensor in a weight file to NaN.
fn break_weight(bench: &Bench, file: &str, tensor: &str) {
    let mut bytes = fs::read(bench.path(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let at = tensors.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(bench.path(file), bytes).unwrap();
    // As a run would have written it.
    let state = bench.path(file).with_file_name("state.json");
    let mut said = json(&fs::read_to_string(&state).unwrap());
    said.as_object_mut().unwrap().remove("files");
    fs::write(state, said.to_string()).unwrap();
}

#[test]
fn weights_that_are_not_finite_give_an_error_and_no_number() {
    let bench = bench();
    assert!(bench.pretrain("pretrained", &["--set", "train.max_steps=1"]).status.success());
    bench.succeed(&finetune("run", &["--set", "train.max_steps=5"]));
    for folder in ["pretrained/checkpoints/step-00000001", "run/checkpoints/best"] {
        break_weight(&bench, &format!("{folder}/model.safetensors"), "stages.1.0.grn.gamma");
    }
    fs::create_dir_all(bench.path("halves/val")).unwrap();
    fs::create_dir_all(bench.path("halves/train")).unwrap();
    for (folder, class) in [("train", "class0"), ("train", "class1"), ("val", "class0")] {
        let to = bench.path(&format!("halves/{folder}/{class}"));
        fs::create_dir_all(&to).unwrap();
        fs::copy(bench.path("data/class0/00.png"), to.join("0.png")).unwrap();
    }
    let image = "data/class0/00.png";
    for args in [
        &["eval", "--checkpoint", "run"][..],
        &["predict", "--checkpoint", "run", image],
        &["eval", "--checkpoint", "run", "--precision", "int8"],
        &["predict", "--checkpoint", "run", image, "--precision", "int8"],
        &["embed", "--checkpoint", "run", "--data", "data", "--out", "f.npy", "--precision", "int8"],
        &["predict", "--checkpoint", "run", image, "--tta", "flip"],
        &["predict", "--checkpoint", "run", image, "--heatmap", "why.png"],
        &["embed", "--checkpoint", "run", "--data", "data", "--out", "f.npy"],
        &["probe", "knn", "--checkpoint", "pretrained", "--data", "halves"],
        &["probe", "linear", "--checkpoint", "run", "--data", "halves"],
        &["reconstruct", "--checkpoint", "pretrained", "--out", "grid.png", image],
    ] {
        let error = bench.fail(args);
        assert!(error.contains("the output of layer stages.1.0 is not finite"), "{args:?}: {error}");
        assert!(error.contains("1 of the numbers in its stages.1.0.grn.gamma"), "{args:?}: {error}");
    }
    // Nor do such weights go anywhere else.
    for args in [
        vec!["export", "--checkpoint", "run", "--format", "official", "--out", "exported"],
        vec!["import", "run/checkpoints/best/model.safetensors", "--out", "imported"],
        finetune("next", &["--init", "run"]),
        crate::common::pretrain_args("next", &["--init", "pretrained"]),
    ] {
        let error = bench.fail(&args);
        assert!(error.contains("1 of the numbers in tensor `stages.1.0.grn.gamma`"), "{args:?}: {error}");
    }
    for file in ["exported", "imported", "next"] {
        assert!(!bench.path(file).exists(), "{file}");
    }
    for file in ["why.png", "f.npy", ".f.npy.part", "grid.png", "grid.json"] {
        assert!(!bench.path(file).exists(), "{file}");
    }
    // The same in the evaluation of a run, after an update that was too large; it leaves no checkpoint.
    let set = ["--set", "optim.lr=1e39", "--set", "optim.warmup_epochs=0", "--set", "train.max_steps=1"];
    let error = bench.fail(&finetune("other", &set));
    assert!(error.contains("are NaN or infinite"), "{error}");
    assert_eq!(checkpoints(&bench.path("other")), [] as [std::path::PathBuf; 0]);
}

/// The mean of the outputs for an image and for its mirror image, which is what they are told to be.
#[test]
fn the_mirror_image_is_looked_at_as_well() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=5"]));
    // A size of which the crop of the mirror image is the mirror image of the crop.
    let image = image::RgbImage::from_fn(27, 16, |x, y| image::Rgb([9 * x as u8, 15 * y as u8, 90]));
    image.save(bench.path("a.png")).unwrap();
    image::imageops::flip_horizontal(&image).save(bench.path("b.png")).unwrap();
    let logits = |file: &str, more: &[&str]| -> Vec<f64> {
        let args = [&["predict", "--checkpoint", "run", file, "--json", "--logits"], more].concat();
        let row = json(&bench.succeed(&args));
        row["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let (a, b) = (logits("a.png", &[]), logits("b.png", &[]));
    let both = logits("a.png", &["--tta", "flip"]);
    for ((a, b), both) in a.iter().zip(&b).zip(&both) {
        assert!(((a + b) / 2.0 - both).abs() < 1e-6, "{a} {b} {both}");
    }
    assert!(a.iter().zip(&b).any(|(a, b)| (a - b).abs() > 1e-4), "{a:?} {b:?}");
    let report = json(&bench.succeed(&["eval", "--checkpoint", "run", "--json", "--tta", "flip"]));
    assert_eq!(report["tta"], "flip");
    assert!(bench.succeed(&["eval", "--checkpoint", "run", "--tta", "flip"]).contains("mirror image"));
}

#[test]
fn classes_of_different_size_can_be_balanced() {
    let bench = bench();
    // 13 images of one class, 6 of the other.
    (0..7).for_each(|i| fs::remove_file(bench.path(&format!("data/class1/{:02}.png", 2 * i + 1))).unwrap());
    let set =
        |run: &'static str, key: &'static str| finetune(run, &["--set", "train.max_steps=4", "--set", key]);
    let told = bench.succeed(&set("sampled", "data.sampling=balanced"));
    assert!(told.contains("sampling     balanced: every class is shown equally often"), "{told}");
    bench.succeed(&set("weighted", "finetune.class_weights=balanced"));
    let config = fs::read_to_string(bench.path("weighted/config.toml")).unwrap();
    assert!(config.contains("class_weights = \"balanced\""), "{config}");
    // Weights of 1 are none; others are others.
    bench.succeed(&set("plain", "train.epochs=6"));
    bench.succeed(&set("ones", "finetune.class_weights=[1, 1]"));
    let weights = |run: &str| {
        let checkpoint = checkpoints(&bench.path(run)).pop().unwrap();
        fs::read(checkpoint.join("model.safetensors")).unwrap()
    };
    assert_eq!(weights("plain"), weights("ones"));
    assert_ne!(weights("plain"), weights("weighted"));
    assert_ne!(weights("plain"), weights("sampled"));

    // A run goes on as it began.
    for (run, key) in [("plain", "data.sampling=balanced"), ("plain", "finetune.class_weights=[1, 2]")] {
        let error = bench.fail(&[&set(run, key)[..], &["--resume", "auto"]].concat());
        assert!(error.contains(key.split('=').next().unwrap()), "{error}");
    }
    for (key, expected) in [
        ("finetune.class_weights=[1, 2, 3]", "has 3 numbers for 2 classes"),
        ("finetune.class_weights=fair", "\"balanced\" or a number for each class"),
        ("finetune.class_weights=[0, 0]", "one of them above 0"),
        ("data.sampling=fair", "balanced"),
    ] {
        let error = bench.fail(&set("other", key));
        assert!(error.contains(expected), "{key}: {error}");
    }
    let both = ["--set", "data.sampling=balanced", "--set", "finetune.class_weights=balanced"];
    assert!(bench.fail(&finetune("other", &both)).contains("both balance the classes"));
    fs::write(bench.path("classes.toml"), CONFIG.replace("ema_decay = 0.9", "ema_warmup = true")).unwrap();
    assert!(bench.fail(&finetune("other", &[])).contains("set finetune.ema_decay as well"));
    assert!(!bench.path("other").exists(), "a refused run leaves a directory");

    // Pretraining has no use for labels but this one.
    assert!(
        bench.pretrain("pretrained", &["--set", "data.sampling=balanced", "--epochs", "1"]).status.success()
    );
    fs::create_dir(bench.path("flat")).unwrap();
    (0..13).for_each(|i| {
        fs::copy(bench.path(&format!("data/class0/{:02}.png", 2 * i)), bench.path(&format!("flat/{i}.png")))
            .unwrap();
    });
    let flat = ["pretrain", "--config", "tiny.toml", "--data", "flat", "--set", "data.sampling=balanced"];
    assert!(bench.fail(&flat).contains("takes one class an image"));
}

#[test]
fn weights_of_classes_are_for_one_class_an_image() {
    let bench = bench();
    divided(&bench);
    table(&bench, "labels", |i| ["bright", "bright;even"][i % 2].to_owned());
    let weigh = ["--set", "finetune.class_weights=balanced"];
    let error = bench.fail(&finetune("run", &[&TABLE[..], &weigh].concat()));
    assert!(error.contains("finetune.class_weights is for images of one class each"), "{error}");
    let error = bench.fail(&finetune("run", &[&TABLE[..], &["--set", "data.sampling=balanced"]].concat()));
    assert!(error.contains("these images have none, or several"), "{error}");
}
