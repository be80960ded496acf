//! The page of a run by the program.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Bench, pretrain_args};
use crate::finetune::{bench, finetune};

/// The data of a page, as its script reads them.
fn data(bench: &Bench, page: &str) -> Value {
    let html = fs::read_to_string(bench.path(page)).unwrap();
    assert!(html.len() < 5_000_000, "{}", html.len());
    let (_, rest) = html.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    crate::common::json(rest.split_once("</script>").unwrap().0)
}

#[test]
fn a_pretraining_is_reported_with_its_pictures_plan_and_machine() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args(
        "run",
        &["--set", "train.max_steps=6", "--set", "log.pictures_every_steps=2"],
    ));
    let told = bench.succeed(&["report", "run"]);
    assert!(told.starts_with("report       run/report.html, 0."), "{told}");
    let run = &data(&bench, "run/report.html")["runs"][0];
    assert_eq!(
        (&run["name"], &run["kind"], &run["missing"]),
        (&json!("run"), &json!("pretraining"), &json!([]))
    );
    let steps: Vec<_> =
        run["samples"].as_array().unwrap().iter().map(|sample| sample["step"].clone()).collect();
    assert_eq!(steps, [2, 4, 6].map(Value::from));
    // As the plan said it: three updates of eight images an epoch.
    let plan = &run["plan"];
    assert_eq!(
        (&plan["effective_batch"], &plan["steps_per_epoch"], &plan["total_steps"], &plan["peak_lr"]),
        (&json!(8), &json!(3), &json!(6), &json!(0.01))
    );
    assert_eq!(run["images"]["classes"], json!([["class0", 13, 0], ["class1", 13, 0]]));
    let stored: Value = crate::common::json(&fs::read_to_string(bench.path("run/machine.json")).unwrap());
    assert_eq!(run["machine"], stored);
    assert_eq!((&stored["device"], &stored["processes"]), (&json!("cpu"), &json!(1)));
    assert_eq!(run["status"]["outcome"], "finished");
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let last = log.lines().map(crate::common::json).rfind(|line| line.get("loss").is_some()).unwrap();
    let curve = run["curves"].as_array().unwrap().iter().find(|curve| curve["of"] == "loss").unwrap();
    let points = curve["points"].as_array().unwrap();
    let drawn = points[5][2].as_f64().unwrap();
    assert!(points.len() == 6 && (drawn - last["loss"].as_f64().unwrap()).abs() < 1e-5 * drawn);
    // A run that replaces it takes the page with it, which was about another one.
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=1", "--overwrite"]));
    assert!(!bench.path("run/report.html").exists());
}

#[test]
fn a_classifier_is_judged_as_eval_judges_it() {
    let bench = bench();
    bench.succeed(&finetune("run", &[]));
    let printed = bench.succeed(&["report", "run", "--out", "page.html", "--json"]);
    let printed = crate::common::json(&printed);
    let bytes = fs::metadata(bench.path("page.html")).unwrap().len();
    assert_eq!(printed, json!({"path": "page.html", "bytes": bytes, "runs": ["run"], "missing": []}));
    let judged = &data(&bench, "page.html")["runs"][0]["judgement"];
    let eval = ["eval", "--checkpoint", "run", "--confusion", "c.png", "--json"];
    let eval = crate::common::json(&bench.succeed(&eval));
    for key in ["top1", "top5", "loss", "images"] {
        assert_eq!(judged[key], eval[key], "{key}");
    }
    assert_eq!((&judged["classes"], &judged["part"]), (&json!(["class0", "class1"]), &json!("val")));
    let counts = crate::common::json(&fs::read_to_string(bench.path("c.json")).unwrap())["counts"].clone();
    for pair in judged["counts"].as_array().unwrap() {
        let [truth, predicted] = [0, 1].map(|at| pair[at].as_u64().unwrap() as usize);
        assert_eq!(counts[truth][predicted], pair[2]);
    }
    // Every image that is wrong, as `predict` sees it.
    let mistakes = judged["mistakes"].as_array().unwrap();
    let wrong = (1.0 - eval["top1"].as_f64().unwrap()) * eval["images"].as_f64().unwrap();
    assert_eq!(mistakes.len(), wrong.round() as usize);
    for mistake in mistakes {
        let name = format!("data/{}", mistake["name"].as_str().unwrap());
        let predict = ["predict", "--checkpoint", "run", "--json", &name];
        let seen = crate::common::json(&bench.succeed(&predict));
        let (class, score) =
            (&seen["predictions"][0]["label"], seen["predictions"][0]["score"].as_f64().unwrap());
        assert_eq!(&judged["classes"][mistake["predicted"].as_u64().unwrap() as usize], class);
        assert!((mistake["confidence"].as_f64().unwrap() - score).abs() < 1e-5);
        assert!(mistake["image"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
    }
}

#[test]
fn what_is_not_judged_is_said_and_several_runs_are_one_page() {
    let bench = bench();
    bench.succeed(&finetune("a/run", &["--set", "train.max_steps=2"]));
    bench.succeed(&pretrain_args("b/run", &["--set", "train.max_steps=2"]));
    let output = bench.run(&["report", "a/run", "b/run", "--no-eval"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success()
            && said.contains("missing      a/run: confusion and wrong images: not judged"),
        "{said}"
    );
    let page = data(&bench, "a/run/report.html");
    let names: Vec<_> = page["runs"].as_array().unwrap().iter().map(|run| run["name"].clone()).collect();
    assert_eq!(names, ["a/run", "b/run"]);
    // Without its images.
    fs::rename(bench.path("data"), bench.path("elsewhere")).unwrap();
    let printed = crate::common::json(&bench.succeed(&["report", "a/run", "--json", "-q"]));
    let missing = printed["missing"][0].as_str().unwrap();
    assert!(missing.starts_with("confusion and wrong images: ") && missing.contains("data"), "{missing}");
    assert_eq!(data(&bench, "a/run/report.html")["runs"][0]["missing"], printed["missing"]);
}

#[test]
fn what_cannot_be_reported_is_an_error_and_writes_nothing() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=1"]));
    assert!(bench.fail(&["report", "data"]).contains("data is not the directory of a run"));
    assert!(bench.fail(&["report", "nowhere"]).contains("nowhere is not the directory of a run"));
    let many = [&["report"][..], &["run"; 8]].concat();
    assert!(bench.fail(&many).contains("8 runs are more than can be told apart; report on at most 7"));
    let error = bench.fail(&["report", "run", "--out", "no/page.html"]);
    assert!(error.contains("cannot write no/page.html: there is no folder no"), "{error}");
    let output = bench.run(&["report", "run", "--out", "run/log.jsonl"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!bench.path("run/report.html").exists());
    fs::create_dir_all(bench.path("full.html/inside")).unwrap();
    assert!(bench.fail(&["report", "run", "--out", "full.html"]).contains("cannot write full.html"));
    assert!(!bench.path(".full.html.tmp").exists());
}
