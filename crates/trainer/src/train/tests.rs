//! The loop with a toy: what it does when, and what a run that goes on makes up for.

use super::*;
use crate::groups::{ParameterRule, parameter_groups};
use crate::objective::Evaluation;
use crate::progress::Silent;
use crate::saving::StateParts;
use crate::testing::{Threads, Toy};
use burn::tensor::{Device, Tensor};
use checkpoint::{MODEL_FILE, read_state};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

type Judge = dyn Fn(&StopSignal<'_>) -> Result<Option<Evaluation>, BoxError> + Sync;

/// Batches are numbers; what happens to them is written down.
struct ToyObjective {
    events: Arc<Mutex<Vec<String>>>,
    judge: Box<Judge>,
}

impl Objective for ToyObjective {
    type Model = Toy;
    type Batch = u64;

    fn loss(&self, model: &Toy, batch: u64) -> Result<Tensor<1>, BoxError> {
        self.events.lock().unwrap().push(format!("computed {batch}"));
        Ok(model.loss(batch as f32 * 0.3))
    }

    fn evaluate(
        &self,
        _: &Toy,
        stop: &StopSignal<'_>,
        _: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Evaluation>, BoxError> {
        (self.judge)(stop)
    }
}

fn score(score: f64) -> Result<Option<Evaluation>, BoxError> {
    Ok(Some(Evaluation { score, metrics: vec![("top1", score)] }))
}

/// Four epochs of two updates of three batches; evaluated after each epoch.
struct Bench {
    dir: tempfile::TempDir,
    train: TrainConfig,
    optim: OptimConfig,
    patience: Option<u64>,
    communicator: Arc<dyn Communicator>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            train: TrainConfig {
                batch_size: 1,
                accumulate: 3,
                epochs: 4,
                checkpoint_every_steps: 0,
                keep_last: 0,
                ..TrainConfig::default()
            },
            optim: OptimConfig { lr: Some(1e-2), warmup_epochs: 0.0, ..OptimConfig::default() },
            patience: None,
            communicator: Arc::new(distributed::Single),
        }
    }

    fn run_dir(&self, name: &str) -> RunDir {
        let path = self.dir.path().join(name);
        if path.exists() {
            return RunDir::open(&path).unwrap();
        }
        let run_dir = RunDir::create(&path).unwrap();
        run_dir.write(data::IMAGES_FILE, b"").unwrap();
        run_dir
    }

    /// Goes on with a run, or begins it. `on_batch` is told of each batch that is asked for.
    fn run(
        &self,
        name: &str,
        judge: Box<Judge>,
        on_batch: &dyn Fn(u64, &Interrupter),
    ) -> (Result<Outcome, TrainError>, Vec<String>) {
        let plan = Plan::new(&self.train, 6, 1);
        let model = Toy::new(0.0, &Device::flex().autodiff());
        let rule = |_: &str, _: &[usize]| ParameterRule { lr_scale: 1.0, weight_decay: 0.0 };
        let groups = parameter_groups(&model, &ToyObjective::parameter_name, &rule);
        let parts = StateParts { groups: &groups, optim: &self.optim, ema: None };
        let run_dir = self.run_dir(name);
        let beginning = match run_dir.latest_checkpoint() {
            None => parts.fresh(model),
            Some(at) => parts.resumed::<ToyObjective>(model, &at, &plan, false, &self.communicator).unwrap(),
        };
        let events: Arc<Mutex<Vec<String>>> = Arc::default();
        let interrupter = Interrupter::new();
        let first = beginning.state.step * plan.accumulate;
        let batches = (first..).map(|batch| -> Result<u64, BoxError> {
            events.lock().unwrap().push(format!("asked for {batch}"));
            on_batch(batch, &interrupter);
            Ok(batch)
        });
        let trainer = Trainer {
            objective: ToyObjective { events: Arc::clone(&events), judge },
            groups: groups.clone(),
            optim: self.optim.clone(),
            train: self.train.clone(),
            log: LogConfig { every_steps: 3, pictures_every_steps: 0 },
            plan,
            evaluation: Some(EvaluationPlan { every_epochs: 1, patience: self.patience }),
            run_dir,
            communicator: Arc::clone(&self.communicator),
        };
        let outcome = trainer.run(beginning, batches, &mut Silent, &interrupter);
        let events = events.lock().unwrap().clone();
        (outcome, events)
    }

    fn straight(&self, name: &str) -> Outcome {
        self.run(name, Box::new(|_| score(0.5)), &|_, _| {}).0.unwrap()
    }

    fn model(&self, name: &str, step: u64) -> Vec<u8> {
        fs::read(self.run_dir(name).checkpoint(step).join(MODEL_FILE)).unwrap()
    }

    fn log(&self, name: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.run_dir(name).log()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn steps(paths: &[PathBuf]) -> Vec<u64> {
    paths.iter().map(|path| read_state(path).unwrap().position.step).collect()
}

#[test]
fn a_batch_is_computed_before_the_next_is_asked_for() {
    let bench = Bench::new();
    let (outcome, events) = bench.run("run", Box::new(|_| Ok(None)), &|_, _| {});
    assert_eq!(outcome.unwrap().step, 8);
    let expected: Vec<_> =
        (0..24).flat_map(|batch| [format!("asked for {batch}"), format!("computed {batch}")]).collect();
    assert_eq!(events, expected);
}

#[test]
fn an_interrupted_update_is_dropped_and_made_again_bit_for_bit() {
    let bench = Bench::new();
    bench.straight("straight");
    // Batch 10 is the second of the fourth update.
    let stop_at = |batch, interrupter: &Interrupter| {
        if batch == 10 {
            interrupter.stop(Some("by a test"));
        }
    };
    let (outcome, events) = bench.run("parts", Box::new(|_| score(0.5)), &stop_at);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.step, outcome.interrupted.as_deref()), (3, Some("by a test")));
    assert_eq!(events.last().unwrap(), "computed 10", "the batch that was under way is the last");
    assert_eq!(steps(&bench.run_dir("parts").checkpoints()), [3]);
    let (outcome, events) = bench.run("parts", Box::new(|_| score(0.5)), &|_, _| {});
    assert_eq!((outcome.unwrap().step, events[0].as_str()), (8, "asked for 9"));
    assert_eq!(bench.model("straight", 8), bench.model("parts", 8));
    assert_eq!(bench.log("straight").last(), bench.log("parts").last(), "the evaluation at the end");
}

#[test]
fn a_run_that_is_stopped_within_its_first_update_leaves_nothing_to_go_on_from() {
    let bench = Bench::new();
    let (outcome, events) =
        bench.run("run", Box::new(|_| score(0.5)), &|_, interrupter| interrupter.stop(Some("at once")));
    let outcome = outcome.unwrap();
    assert_eq!((outcome.step, outcome.checkpoint, events.len()), (0, None, 2));
    assert_eq!(bench.straight("run").step, 8);
}

#[test]
fn an_interrupted_evaluation_is_made_up_for() {
    let bench = Bench::new();
    bench.straight("straight");
    let interrupted = |stop: &StopSignal<'_>| match stop.is_given()? {
        true => Ok(None),
        false => score(0.5),
    };
    // Within the last update of the first epoch, so that the evaluation behind it is due and stopped.
    let stop_at = |batch, interrupter: &Interrupter| {
        if batch == 5 {
            interrupter.stop(None);
        }
    };
    let (outcome, _) = bench.run("parts", Box::new(interrupted), &stop_at);
    let outcome = outcome.unwrap();
    assert!(outcome.step == 2 && outcome.interrupted.is_some() && outcome.best.is_none(), "{outcome:?}");
    assert!(bench.log("parts").iter().all(|line| line.get("val_top1").is_none()));
    bench.straight("parts");
    let evaluated = |name: &str| -> Vec<_> {
        bench.log(name).into_iter().filter(|line| line.get("val_top1").is_some()).collect()
    };
    assert_eq!(evaluated("straight").len(), 4);
    assert_eq!(evaluated("straight"), evaluated("parts"));
    let state = |name| read_state(&bench.run_dir(name).checkpoint(8)).unwrap();
    assert_eq!(state("straight"), state("parts"));
    assert_eq!(bench.model("straight", 8), bench.model("parts", 8));
}

/// Data that cannot be read at an evaluation, in the middle or at the end, and are repaired.
#[test]
fn an_evaluation_that_failed_is_made_up_for() {
    for fails_at in [1, 4] {
        let bench = Bench::new();
        bench.straight("straight");
        let count = Mutex::new(0);
        let failing = move |_: &StopSignal<'_>| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count == fails_at { Err("unreadable".into()) } else { score(0.5) }
        };
        let error = bench.run("parts", Box::new(failing), &|_, _| {}).0.unwrap_err();
        assert_eq!(error.to_string(), "unreadable");
        assert_eq!(steps(&bench.run_dir("parts").checkpoints()), [2 * fails_at]);
        let outcome = bench.straight("parts");
        assert_eq!((outcome.step, outcome.best.unwrap().step), (8, 2));
        assert!(outcome.curves.unwrap().exists() && bench.run_dir("parts").best().exists());
        let scores = |name: &str| {
            let log = bench.log(name).into_iter();
            log.filter(|line| line.get("val_top1").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(scores("straight"), scores("parts"));
        let state = |name| read_state(&bench.run_dir(name).checkpoint(8)).unwrap();
        assert_eq!(state("straight"), state("parts"));
        // Nothing is evaluated twice.
        let (outcome, _) = bench.run("parts", Box::new(|_| Err("evaluated again".into())), &|_, _| {});
        assert_eq!(outcome.unwrap().step, 8);
    }
}

#[test]
fn an_evaluation_made_up_for_may_end_the_run() {
    let mut bench = Bench::new();
    bench.patience = Some(1);
    let count = Mutex::new(0);
    let failing = move |_: &StopSignal<'_>| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count == 2 { Err("unreadable".into()) } else { score(0.5) }
    };
    bench.run("run", Box::new(failing), &|_, _| {}).0.unwrap_err();
    let (outcome, events) = bench.run("run", Box::new(|_| score(0.4)), &|_, _| {});
    let outcome = outcome.unwrap();
    assert_eq!((outcome.step, outcome.stopped_early, events.len()), (4, true, 0));
    assert_eq!(read_state(&outcome.checkpoint.unwrap()).unwrap().best.unwrap().since, 1);
    // More patience lets it go on.
    bench.patience = Some(2);
    let (outcome, _) = bench.run("run", Box::new(|_| score(0.6)), &|_, _| {});
    assert_eq!(outcome.unwrap().step, 8);
}

#[test]
fn checkpoints_come_by_the_clock_as_well() {
    for (minutes, expected) in [(1e-12, (1..=8).collect::<Vec<_>>()), (1e12, vec![8])] {
        let mut bench = Bench::new();
        bench.train.checkpoint_every_minutes = Some(minutes);
        bench.straight("run");
        assert_eq!(steps(&bench.run_dir("run").checkpoints()), expected);
    }
}

#[test]
fn what_is_not_finite_names_the_checkpoint_that_the_run_began_with() {
    let bench = Bench::new();
    let stop_at = |batch, interrupter: &Interrupter| {
        if batch == 6 {
            interrupter.stop(None);
        }
    };
    bench.run("run", Box::new(|_| Ok(None)), &stop_at).0.unwrap();
    let mut elsewhere = Bench::new();
    elsewhere.optim.lr = Some(f64::NAN);
    let copy = elsewhere.run_dir("run").checkpoint(2);
    copy_folder(&bench.run_dir("run").checkpoint(2), &copy);
    let error = elsewhere.run("run", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
    let TrainError::NotFinite { found, checkpoint } = &error else { panic!("{error}") };
    assert_eq!((found.step, found.done, checkpoint.as_ref()), (4, 3, Some(&copy)));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// One of two processes is asked; both drop the same update, and go on alike.
#[test]
fn processes_agree_where_to_stop() {
    let worlds = Threads::two();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let ranks: Vec<_> = worlds
            .into_iter()
            .map(|world| {
                // With threads of its own, as a process has them: one that waits for the other must not hold
                // up its work.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                scope.spawn(move || pool.install(|| asked_at_batch_9(world)))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for (step, interrupted, last) in ends {
        assert_eq!((step, interrupted.as_deref(), last), (3, Some("another process was asked to stop"), 10));
    }
}

/// Steps made, the reason of the stop, and the last batch that was asked for; rank 1 is asked to stop.
fn asked_at_batch_9(world: Threads) -> (u64, Option<String>, u64) {
    let (rank, mut bench) = (world.rank(), Bench::new());
    bench.communicator = Arc::new(world);
    let last = Cell::new(0);
    let stop_at = |batch, interrupter: &Interrupter| {
        last.set(batch);
        if rank == 1 && batch == 9 {
            interrupter.stop(None);
        }
    };
    let outcome = bench.run("run", Box::new(|_| Ok(None)), &stop_at).0.unwrap();
    (outcome.step, outcome.interrupted, last.get())
}
