//! `results.json`, and what training prints for programs.

use std::fs;

use serde_json::Value;

use crate::common::{Bench, json, pretrain_args};

fn results(bench: &Bench, run: &str) -> Value {
    json(&fs::read_to_string(bench.path(run).join("results.json")).unwrap())
}

fn losses(bench: &Bench, run: &str) -> Vec<Value> {
    let log = fs::read_to_string(bench.path(run).join("log.jsonl")).unwrap();
    log.lines().map(json).map(|line: Value| line["loss"].clone()).filter(|loss| !loss.is_null()).collect()
}

#[test]
fn a_finished_run_says_what_it_came_to_and_a_resumed_one_says_it_anew() {
    let bench = Bench::new();
    let printed = bench.succeed(&pretrain_args("run", &["--json", "--set", "train.max_steps=4"]));
    let lines: Vec<Value> = printed.lines().map(json).collect();
    assert_eq!((lines.len(), &lines[0]["total_steps"]), (2, &4.into()));
    let first = results(&bench, "run");
    assert_eq!(first, lines[1], "printed as it is written");
    assert_eq!(
        (&first["outcome"], &first["step"], &first["total_steps"]),
        (&"finished".into(), &4.into(), &4.into())
    );
    assert_eq!(
        (&first["epochs"], &first["reason"], &first["best"]),
        (&14.into(), &Value::Null, &Value::Null)
    );
    // Four updates of three an epoch.
    assert!((first["epoch"].as_f64().unwrap() - 4.0 / 3.0).abs() < 1e-9, "{first}");
    assert_eq!(first["checkpoint"], "checkpoints/step-00000004");
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let logged = losses(&bench, "run");
    assert_eq!((&first["first_loss"], &first["loss"]), (&logged[0], &logged[3]));

    let more = ["--json", "--resume", "auto", "--set", "train.max_steps=6"];
    bench.succeed(&pretrain_args("run", &more));
    let resumed = results(&bench, "run");
    let logged = losses(&bench, "run");
    assert_eq!((&resumed["step"], &resumed["checkpoint"]), (&6.into(), &"checkpoints/step-00000006".into()));
    assert_eq!((&resumed["first_loss"], &resumed["loss"]), (&first["first_loss"], &logged[5]));
    // Nothing is left to do, and nothing is forgotten.
    bench.succeed(&pretrain_args("run", &more));
    let again = results(&bench, "run");
    for key in ["outcome", "step", "checkpoint", "first_loss", "loss", "epoch"] {
        assert_eq!(again[key], resumed[key], "{key}");
    }
}

#[test]
fn a_run_that_fails_leaves_no_results_of_before() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=2"]));
    assert!(bench.path("run/results.json").is_file());
    // A rate that no update survives.
    let more = ["--resume", "auto", "--set", "train.max_steps=8", "--set", "optim.lr=1e39"];
    let output = bench.run(&pretrain_args("run", &more));
    assert!(!output.status.success(), "{output:?}");
    assert!(!bench.path("run/results.json").exists());
}

#[test]
fn the_best_and_the_last_evaluation_are_told() {
    let bench = Bench::new();
    let config = fs::read_to_string(bench.path("tiny.toml")).unwrap();
    let (_, rest) = config.split_once("[data]").unwrap();
    let network =
        "[model]\ndepths = [1, 1]\nhidden_sizes = [8, 16]\npatch_size = 2\n[finetune]\npatience = 1\n";
    let config = format!("{network}[data]\nval_fraction = 0.3\n{rest}").replace("lr = 1e-2", "lr = 0.0");
    fs::write(bench.path("classes.toml"), config).unwrap();
    let args = ["finetune", "--config", "classes.toml", "--run-dir", "run", "--init", "none"];
    bench.succeed(&args);
    // Nothing is learned, so that the second evaluation is no better than the first.
    let found = results(&bench, "run");
    assert_eq!(
        (&found["outcome"], &found["best"]["ema"]),
        (&"stopped_early".into(), &false.into()),
        "{found}"
    );
    let (best, last) = (&found["best"], &found["evaluation"]);
    assert!(best["step"].as_u64() < last["step"].as_u64(), "{found}");
    assert_eq!((&last["step"], &last["val_top1"]), (&found["step"], &best["score"]));
    let folder = format!("run/{}", best["checkpoint"].as_str().unwrap());
    assert!(bench.path(&folder).join("model.safetensors").is_file());
    // What is stored of it can be asked for.
    let info = json(&bench.succeed(&["info", "run", "--json"]));
    assert_eq!((&info["checkpoint"], &info["step"]), (&folder.into(), &best["step"]));
    assert_eq!(
        (&info["best"]["score"], &info["classes"]),
        (&best["score"], &json(r#"["class0", "class1"]"#))
    );
    assert_eq!((&info["eval"]["size"], &info.get("tensors")), (&json("[16, 24]"), &None));
    let told = bench.succeed(&["info", "run"]);
    assert!(
        told.contains("classes      2: class0, class1\n") && told.contains("evaluation   16×24 pixels"),
        "{told}"
    );
    assert!(!told.contains("stages.0.0.dwconv.weight"), "{told}");
    assert!(bench.succeed(&["info", "run", "--tensors"]).contains("stages.0.0.dwconv.weight"));
    // The dashboard would draw over what programs read.
    let both = bench.run(&[&args[..], &["--json", "--tui"]].concat());
    assert_eq!(both.status.code(), Some(2), "{both:?}");
}
