//! The health of runs: what is held out, what is written, and what it is called.

use std::fs;

use serde_json::Value;

use crate::common::{Bench, json, pretrain_args};
use crate::finetune::{bench as classes, finetune};

/// The looks of a run.
fn looks(bench: &Bench, run: &str) -> Vec<Value> {
    let log = fs::read_to_string(bench.path(run).join("log.jsonl")).unwrap();
    log.lines().map(json).filter(|line| line.get("health").is_some()).collect()
}

fn verdicts(looks: &[Value]) -> Vec<&str> {
    looks.iter().map(|look| look["health"]["verdict"].as_str().unwrap()).collect()
}

/// Twelve epochs of 3 updates, looked at after each.
fn trained(bench: &Bench, run: &str, more: &[&str]) -> Vec<Value> {
    let often = ["--set", "health.every_epochs=1", "--epochs", "12"];
    bench.succeed(&pretrain_args(run, &[&often[..], more].concat()));
    looks(bench, run)
}

#[test]
fn a_run_that_is_made_to_collapse_is_called_so_before_its_half_and_a_good_one_never() {
    let bench = Bench::new();
    let without = ["--set", "model.grn=false"];
    let collapsed = trained(&bench, "collapsed", &[&without[..], &["--set", "optim.lr=1"]].concat());
    let collapsed = verdicts(&collapsed);
    assert_eq!(collapsed.len(), 12);
    assert!(collapsed[..6].contains(&"collapsing"), "{collapsed:?}");
    assert_eq!(collapsed[11], "collapsing");
    for (run, more) in [("good", &[][..]), ("plain", &without[..])] {
        let looks = trained(&bench, run, more);
        assert!(!verdicts(&looks).contains(&"collapsing"), "{looks:?}");
        assert_eq!(verdicts(&looks)[11], "learning", "{looks:?}");
        // Without GRN γ and β stay zero, with it they do not.
        let gamma = looks[11]["health"]["grn_gamma"][1].as_f64().unwrap();
        assert_eq!(gamma == 0.0, run == "plain", "{gamma}");
    }
    // The network without GRN is one with GRN that does nothing, as other programs read it; one whose GRN
    // does something cannot go on without.
    let squashed = ["--set", "eval.crop_mode=squash", "--set", "eval.crop_pct=1"];
    let export = ["export", "--checkpoint", "plain", "--format", "hf", "--out", "hf"];
    bench.succeed(&[&export[..], &squashed].concat());
    bench.succeed(&pretrain_args("from_plain", &[&without[..], &["--init", "plain", "--dry-run"]].concat()));
    let error =
        bench.fail(&pretrain_args("other", &[&without[..], &["--init", "good", "--dry-run"]].concat()));
    assert!(
        error.contains("model.grn = false is the network without GRN, and decoder.0.grn.beta"),
        "{error}"
    );
}

#[test]
fn the_report_has_the_verdict_first_and_draws_a_picture_also_while_the_run_goes_on() {
    let bench = Bench::new();
    let looks = trained(&bench, "run", &[]);
    // A line that is being written.
    let log = bench.path("run/log.jsonl");
    fs::write(&log, fs::read_to_string(&log).unwrap() + "{\"step\":99,\"hea").unwrap();
    let report = json(&bench.succeed(&["health", "run", "--json"]));
    let last = &looks[11];
    assert_eq!((&report["verdict"], &report["looks"]), (&last["health"]["verdict"], &12.into()));
    for key in ["reason", "loss", "distance", "dead", "knn", "linear", "grad_norm", "update_ratio"] {
        assert_eq!(report[key], last["health"][key], "{key}");
        assert!(!report[key].is_null(), "{key}");
    }
    assert_eq!(report["held_out"], json("false"));
    let text = bench.succeed(&["health", "run", "--out", "mine.png"]);
    assert!(text.starts_with("verdict      learning: the loss of "), "{text}");
    for expected in [
        "\nloss  ",
        " on training images; ",
        "\nk-NN  ",
        "\nstage  ",
        "\nstages.1  ",
        "\npicture      mine.png",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let [picture, drawn] = ["run/health.png", "mine.png"].map(|name| image::open(bench.path(name)).unwrap());
    assert!(picture.height() > 1200 && picture == drawn, "{}", picture.height());
    fs::write(&log, "{\"step\":1,\"epoch\":0.5,\"loss\":1.0}\n").unwrap();
    assert!(bench.fail(&["health", "run"]).contains("says nothing of health yet"));
    assert!(bench.fail(&["health", "data"]).contains("data has no log.jsonl"));
}

#[test]
fn images_are_held_out_of_pretraining_by_seed_and_name_and_stay_so() {
    let bench = Bench::new();
    let share = ["--set", "health.val_fraction=0.3", "--set", "health.every_epochs=1", "--epochs", "3"];
    let straight = bench.succeed(&pretrain_args("straight", &share));
    assert!(
        straight.contains("health.val_fraction = 0.3)") && straight.contains("every epoch and at the end: "),
        "{straight}"
    );
    let looks_straight = looks(&bench, "straight");
    assert!(looks_straight.iter().all(|look| look["health"]["held_out"] == json("true")));
    let list = |run: &str| fs::read(bench.path(run).join("images.csv.gz")).unwrap();
    // Interrupted in the middle of an epoch, and gone on with.
    bench.succeed(&pretrain_args("parts", &[&share[..], &["--set", "train.max_steps=3"]].concat()));
    bench.succeed(&pretrain_args("parts", &[&share[..], &["--resume", "auto"]].concat()));
    assert_eq!(list("straight"), list("parts"));
    // The end of a shorter run was looked at as well.
    let at_ends: Vec<_> = looks(&bench, "parts").into_iter().filter(|look| look["step"] != 3).collect();
    let numbers =
        |looks: &[Value]| looks.iter().map(|look| look["health"]["loss"].clone()).collect::<Vec<_>>();
    assert_eq!(numbers(&at_ends), numbers(&looks_straight));
    // What the data set apart themselves is not learnt from either, and a share beside it is refused.
    let val = bench.path("divided/val");
    fs::create_dir_all(&val).unwrap();
    fs::rename(bench.path("data"), bench.path("divided/train")).unwrap();
    fs::rename(bench.path("divided/train/class0/00.png"), val.join("00.png")).unwrap();
    let divided = ["--data", "divided", "--epochs", "1"];
    let plan = bench.succeed(&pretrain_args("divided_run", &divided));
    assert!(plan.contains("held out     the part val of divided"), "{plan}");
    assert!(plan.contains("loss and features of 1 of 1 held-out images"), "{plan}");
    let error = bench.fail(&pretrain_args("refused", &[&divided[..], &share[..2]].concat()));
    assert!(error.contains("has validation images of its own, and health.val_fraction would"), "{error}");
}

#[test]
fn a_run_of_before_that_held_nothing_out_goes_on_so() {
    let bench = Bench::new();
    fs::create_dir(bench.path("parts")).unwrap();
    fs::rename(bench.path("data"), bench.path("parts/train")).unwrap();
    bench.succeed(&pretrain_args("run", &["--data", "parts", "--set", "train.max_steps=4"]));
    // Images that its list does not have.
    let val = bench.path("parts/val/class0");
    fs::create_dir_all(&val).unwrap();
    fs::copy(bench.path("parts/train/class0/00.png"), val.join("new.png")).unwrap();
    let go_on = ["--data", "parts", "--set", "train.max_steps=6", "--resume", "auto"];
    bench.succeed(&pretrain_args("run", &go_on));
    assert_eq!(looks(&bench, "run").last().unwrap()["health"]["held_out"], json("false"));
}

#[test]
fn fine_tuning_is_looked_at_on_its_validation_images_or_not_at_all() {
    let bench = classes();
    bench.succeed(&finetune("run", &["--set", "health.every_epochs=1"]));
    let found = looks(&bench, "run");
    let last = &found.last().unwrap()["health"];
    assert!(
        last["held_out"] == json("true") && last["loss"].is_number() && last["knn"].is_number(),
        "{last}"
    );
    assert!(last.get("baseline").is_none() && last["grad_norm"]["head"].is_number(), "{last}");
    // That of evaluation, where both see the same images.
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let evaluated = log.lines().map(json).rfind(|line: &Value| line.get("val_loss").is_some()).unwrap();
    let (a, b) = (evaluated["val_loss"].as_f64().unwrap(), last["loss"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-5 * a, "{a} {b}");
    let results = json(&fs::read_to_string(bench.path("run/results.json")).unwrap());
    assert_eq!(results["evaluation"], evaluated);
    bench.succeed(&finetune("off", &["--set", "health.enabled=false"]));
    assert!(looks(&bench, "off").is_empty());
    bench.succeed(&pretrain_args("pretrained", &["--epochs", "2"]));
    let without = ["--init", "pretrained", "--dry-run", "--set", "model.grn=false"];
    let error = bench.fail(&finetune("without", &without));
    assert!(error.contains("stages.0.0.grn.beta of the checkpoint is not zero"), "{error}");
    let error = bench.fail(&finetune("share", &["--set", "health.val_fraction=0.1"]));
    assert!(error.contains("health.val_fraction is for pretraining"), "{error}");
}
