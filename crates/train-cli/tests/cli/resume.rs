//! A run that is killed and resumed is, bit for bit, the run that was not.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Bench, checkpoints, json, pretrain_args};
use safetensors::SafeTensors;

/// Every tensor of model and optimizer: name, shape, bytes.
fn tensors(checkpoint: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let mut all = Vec::new();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = fs::read(checkpoint.join(file)).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            all.push((format!("{file} {name}"), view.shape().to_vec(), view.data().to_vec()));
        }
    }
    all.sort();
    all
}

pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (tensors(a), tensors(b));
    assert!(a.len() > 100, "{} tensors", a.len());
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.0, b.0);
        assert!(a == b, "{} differs", a.0);
    }
}

/// Runs until the log line of `step`, then sends a signal without warning. The exit code is none
/// when the signal ended the process.
fn signal_at(bench: &Bench, args: &[&str], step: u64, signal: &str) -> Option<i32> {
    let mut child = bench.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let wanted = format!(" {step}/");
    let reached = lines.by_ref().find(|line| line.as_ref().unwrap().contains(&wanted));
    assert!(reached.is_some(), "never reached step {step}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    lines.for_each(drop);
    child.wait().unwrap().code()
}

fn last(bench: &Bench, run: &str) -> std::path::PathBuf {
    let path = checkpoints(&bench.path(run)).pop().unwrap();
    assert!(path.ends_with("step-00000040"), "{}", path.display());
    path
}

#[test]
fn pretraining_does_not_go_on_with_other_images_without_a_word() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &["--set", "train.max_steps=5"]).status.success());
    let image = bench.path("data/class0/new.png");
    fs::copy(bench.path("data/class0/00.png"), &image).unwrap();
    let go_on = ["--set", "train.max_steps=8", "--resume", "auto"];
    let message = bench.fail(&pretrain_args("run", &go_on));
    assert!(message.contains("1 new (class0/new.png)"), "{message}");
    // In another place the same images are the same.
    fs::remove_file(image).unwrap();
    fs::rename(bench.path("data"), bench.path("moved")).unwrap();
    bench.succeed(&pretrain_args("run", &[&go_on[..], &["--data", "moved"]].concat()));
}

const STEPS: [&str; 2] = ["--set", "train.max_steps=40"];

#[test]
fn killed_at_random_points_and_resumed_equals_straight_through() {
    let bench = Bench::new();
    assert!(bench.pretrain("straight", &STEPS).status.success());
    // Where the kill lands between two steps, or in the middle of a checkpoint, is up to chance.
    let resumed = [&STEPS[..], &["--resume", "auto"]].concat();
    let args = pretrain_args("killed", &resumed);
    let mut random = u64::from(std::process::id());
    let mut step = 0;
    let mut kills = 0;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        step += 2 + (random >> 33) % 9;
        if step >= 38 {
            break;
        }
        match signal_at(&bench, &args, step, "-KILL") {
            None => kills += 1,
            // It was faster than the signal.
            code => {
                assert_eq!(code, Some(0));
                break;
            }
        }
        let done = checkpoints(&bench.path("killed")).len();
        assert!(done <= 4, "{done} checkpoints and leftovers");
    }
    assert!(kills >= 3);
    // With other numbers of workers and other log intervals, which must not matter.
    let finish = [&resumed[..], &["--set", "data.workers=0", "--set", "log.every_steps=7"]].concat();
    assert!(bench.pretrain("killed", &finish).status.success());
    assert_same(&last(&bench, "straight"), &last(&bench, "killed"));

    let log = fs::read_to_string(bench.path("killed/log.jsonl")).unwrap();
    let steps: Vec<u64> = log
        .lines()
        .map(crate::common::json)
        .filter(|line| line.get("health").is_none())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    assert_eq!(checkpoints(&bench.path("killed")).len(), 2, "keep_last = 2");
}

#[test]
fn interrupted_runs_write_a_checkpoint_and_say_how_to_continue() {
    let bench = Bench::new();
    // So many that the signal comes in time on a machine with much else to do. Without regular checkpoints,
    // only the one that the signal causes can be there.
    let rare = ["--set", "train.max_steps=300", "--set", "train.epochs=100"];
    let rare = [&rare[..], &["--set", "train.checkpoint_every_steps=0"]].concat();
    let last = |run: &str| bench.path(run).join("checkpoints/step-00000300");
    assert!(bench.pretrain("straight", &rare).status.success());
    for (run, signal) in [("interrupted", "-INT"), ("terminated", "-TERM")] {
        assert_eq!(signal_at(&bench, &pretrain_args(run, &rare), 9, signal), Some(75));
        let step = checkpoints(&bench.path(run)).pop().unwrap();
        assert!(step >= bench.path(run).join("checkpoints/step-00000009"), "{}", step.display());
        let results = json(&fs::read_to_string(bench.path(run).join("results.json")).unwrap());
        assert_eq!((&results["outcome"], &results["reason"]), (&"stopped".into(), &"asked to stop".into()));
        assert!(step.ends_with(results["checkpoint"].as_str().unwrap()), "{results}");
        let finish = [&rare[..], &["--resume", "auto"]].concat();
        assert!(bench.pretrain(run, &finish).status.success());
        assert_same(&last("straight"), &last(run));
    }
}

#[test]
fn a_finished_run_has_nothing_left_to_do() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &STEPS).status.success());
    let before = tensors(&last(&bench, "run"));
    let output = bench.pretrain("run", &[&STEPS[..], &["--resume", "auto"]].concat());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("finished at step 40 of 40"));
    assert!(before == tensors(&last(&bench, "run")));
}

#[test]
fn an_older_checkpoint_goes_on_elsewhere_only() {
    let bench = Bench::new();
    assert!(bench.pretrain("run", &STEPS).status.success());
    let older = checkpoints(&bench.path("run")).remove(0);
    let resume = [&STEPS[..], &["--resume", older.to_str().unwrap()]].concat();
    let message = bench.fail(&pretrain_args("run", &resume));
    assert!(message.contains("step-00000040 is newer than"), "{message}");
    assert!(bench.pretrain("elsewhere", &resume).status.success());
    assert_same(&last(&bench, "run"), &last(&bench, "elsewhere"));
}

#[test]
fn weights_alone_start_a_new_run() {
    let bench = Bench::new();
    assert!(bench.pretrain("first", &["--set", "train.max_steps=4"]).status.success());
    let more = ["--init", "first", "--set", "train.max_steps=1", "--set", "optim.lr=0.0"];
    let output = bench.pretrain("second", &more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A learning rate of zero leaves the weights as they came.
    let model = |run: &str, step: &str| {
        let path = bench.path(run).join("checkpoints").join(step).join("model.safetensors");
        fs::read(path).unwrap()
    };
    assert_eq!(model("first", "step-00000004"), model("second", "step-00000001"));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let bench = Bench::new();
    for threads in ["1", "2", "3"] {
        let args = pretrain_args(threads, &STEPS);
        let run = bench.command(&args).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    assert_same(&last(&bench, "1"), &last(&bench, "2"));
    assert_same(&last(&bench, "1"), &last(&bench, "3"));
}

/// A batch that never comes, as on a file system that hangs.
#[test]
fn a_second_signal_ends_a_run_that_hangs() {
    let bench = Bench::new();
    let endless = ["--set", "train.epochs=100000", "--set", "log.every_steps=1"];
    let args = pretrain_args("run", &endless);
    let mut child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("epoch 1.")), "never came to the second epoch");
    let (image, pipe) = (bench.path("data/class0/04.png"), bench.path("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &image).unwrap();
    // Waits until the run reads from it, and gives it nothing.
    let writer = File::options().write(true).open(&image).unwrap();
    let drain =
        std::thread::spawn(move || lines.map_while(Result::ok).any(|line| line.contains("once more ends")));
    let id = child.id().to_string();
    while child.try_wait().unwrap().is_none() {
        Command::new("kill").args(["-INT", &id]).stderr(Stdio::null()).status().unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(drain.join().unwrap(), "the first signal is not answered");
    drop(writer);
}

#[test]
fn a_changed_schedule_is_said_and_other_changes_need_not_be() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=6"]));
    let resume = |more: &[&'static str]| pretrain_args("run", &[&["--resume", "auto"], more].concat());
    let told = bench.succeed(&resume(&[
        "--set",
        "log.every_steps=2",
        "--set",
        "train.max_steps=8",
        "--set",
        "optim.lr=5e-3",
    ]));
    assert!(told.contains("the schedule changes: optim.lr 0.01 → 0.005, train.max_steps 6 → 8; "), "{told}");
    let told = bench.succeed(&resume(&["--epochs", "3", "--set", "optim.lr=5e-3"]));
    assert!(
        told.contains("the schedule changes: train.epochs 14 → 3, train.max_steps 8 → unset; "),
        "{told}"
    );
    assert!(told.contains("at the end, step 8 → 9"), "{told}");
    let again =
        ["--epochs", "3", "--set", "optim.lr=5e-3", "--set", "train.keep_last=1", "--set", "data.workers=1"];
    let told = bench.succeed(&resume(&again));
    assert!(!told.contains("the schedule changes"), "{told}");
    let refused = bench.fail(&resume(&["--set", "optim.weight_decay=0"]));
    assert!(refused.contains("optim.weight_decay was 0.05 in this run and is 0"), "{refused}");
}

#[test]
fn a_plan_counts_what_is_left_and_the_memory_that_is_taken() {
    let bench = Bench::new();
    let plan = |more: &[&'static str]| {
        let args = [&["--dry-run", "--json", "--resume", "auto"], more].concat();
        crate::common::json(&bench.succeed(&pretrain_args("run", &args)))
    };
    let number =
        |plan: &serde_json::Value, key: &str| plan[key].as_f64().unwrap_or_else(|| panic!("{key} in {plan}"));
    assert_eq!(number(&plan(&STEPS), "steps_left"), 40.0);
    assert!(number(&plan(&STEPS), "eta_s") > 0.0);
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=30"]));
    assert_eq!(number(&plan(&STEPS), "steps_left"), 10.0);
    let planned = crate::common::json(
        bench
            .succeed(&pretrain_args("run", &["--json", "--resume", "auto", STEPS[0], STEPS[1]]))
            .lines()
            .next()
            .unwrap(),
    );
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    let last = log.lines().map(crate::common::json).rfind(|line| line.get("loss").is_some()).unwrap();
    let ratio = number(&planned, "memory_mib") / number(&last, "peak_rss_mib");
    assert!((0.75..1.25).contains(&ratio), "{planned} {last}");
    let finished = plan(&STEPS);
    assert_eq!((number(&finished, "steps_left"), number(&finished, "eta_s")), (0.0, 0.0));
    let told = bench.succeed(&pretrain_args("run", &["--dry-run", "--resume", "auto", STEPS[0], STEPS[1]]));
    assert!(told.contains("; 40 are made, 0 are left") && told.contains("nothing is left to do"), "{told}");
}

/// The values of a key in the lines of a log that have it.
fn logged(bench: &Bench, run: &str, key: &str) -> Vec<f64> {
    let log = fs::read_to_string(bench.path(run).join("log.jsonl")).unwrap();
    log.lines().filter_map(|line| json(line)[key].as_f64()).collect()
}

#[test]
fn other_batches_of_the_same_update_go_on_with_the_same_losses_and_rates() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("straight", &STEPS));
    let part = |split: [&'static str; 2], steps| {
        let more = ["--resume", "auto", "--set", split[0], "--set", split[1], "--set", steps];
        bench.succeed(&pretrain_args("parts", &more))
    };
    part(["train.batch_size=4", "train.accumulate=2"], "train.max_steps=11");
    let told = part(["train.batch_size=8", "train.accumulate=1"], "train.max_steps=19");
    let expected = "an update keeps its 8 images: train.batch_size=4 and train.accumulate=2 of one process before, \
                    train.batch_size=8 and train.accumulate=1 of one process from here on";
    assert!(told.contains(expected), "{told}");
    part(["train.batch_size=1", "train.accumulate=8"], "train.max_steps=29");
    part(["train.batch_size=2", "train.accumulate=4"], "train.max_steps=40");
    // The rates to the last bit: of 26 images, batches of 4 and of 1 leave other numbers over.
    assert_eq!(logged(&bench, "straight", "lr"), logged(&bench, "parts", "lr"));
    let [straight, parts] = ["straight", "parts"].map(|run| logged(&bench, run, "loss"));
    assert_eq!((straight.len(), parts.len()), (40, 40));
    for (straight, part) in straight.iter().zip(&parts) {
        assert!((straight - part).abs() < 2e-4 * straight, "{straight} {part}");
    }
    let state = json(&fs::read_to_string(last(&bench, "parts").join("state.json")).unwrap());
    assert_eq!(state["images"], 320);
    let refused = bench.fail(&pretrain_args("parts", &["--resume", "auto", "--set", "train.batch_size=5"]));
    assert!(refused.contains("an update of this run takes 8 images, and would take 10"), "{refused}");
    assert!(refused.contains("train.batch_size=4 and train.accumulate=2 would keep it"), "{refused}");
}

#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_it_taken() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("straight", &STEPS));
    bench.succeed(&pretrain_args("run", &["--set", "train.max_steps=12"]));
    let newest = bench.path("run/checkpoints/step-00000012");
    let file = newest.join("optimizer.safetensors");
    let zeroes = vec![0; fs::metadata(&file).unwrap().len() as usize];
    fs::write(&file, zeroes).unwrap();
    let explicit = ["--resume", "run/checkpoints/step-00000012"];
    let refused = bench.fail(&pretrain_args("run", &[&STEPS[..], &explicit].concat()));
    assert!(refused.contains("step-00000008 is sound, name it instead"), "{refused}");
    let output = bench.run(&pretrain_args("run", &[&STEPS[..], &["--resume", "auto"]].concat()));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("optimizer.safetensors is damaged"), "{told}");
    assert!(told.contains("start        goes on from run/checkpoints/step-00000008"), "{told}");
    assert_same(&last(&bench, "straight"), &last(&bench, "run"));
    // Nothing sound is no reason to begin anew.
    for checkpoint in checkpoints(&bench.path("run")) {
        fs::write(checkpoint.join("state.json"), "").unwrap();
    }
    let refused = bench.fail(&pretrain_args("run", &[&STEPS[..], &["--resume", "auto"]].concat()));
    assert!(refused.contains("none of the 2 checkpoints of run can be used"), "{refused}");
}

#[test]
fn a_second_process_is_refused_and_a_killed_one_is_not_in_the_way() {
    let bench = Bench::new();
    let endless = ["--resume", "auto", "--set", "train.epochs=100000"];
    let args = pretrain_args("run", &endless);
    let mut first = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("step")), "never began");
    for more in [&endless[..], &["--overwrite"], &["--resume", "auto", "--dry-run"]] {
        let args = pretrain_args("run", more);
        if more.contains(&"--dry-run") {
            let told = bench.succeed(&args);
            assert!(told.contains("is in use by"), "{told}");
            continue;
        }
        let refused = bench.fail(&args);
        let holder = format!("run is in use by process {} on ", first.id());
        assert!(refused.contains(&holder), "{refused}");
    }
    assert!(first.try_wait().unwrap().is_none(), "the first one ended");
    first.kill().unwrap();
    first.wait().unwrap();
    bench.succeed(&pretrain_args("run", &["--overwrite", "--set", "train.max_steps=2"]));
}
