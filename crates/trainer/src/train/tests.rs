//! The loop with a toy: what it does when, and what a run that goes on makes up for.

use super::*;
use crate::groups::{ParameterRule, parameter_groups};
use crate::health::Measures;
use crate::objective::Evaluation;
use crate::progress::Silent;
use crate::saving::StateParts;
use crate::testing::{Threads, Toy};
use burn::tensor::{Device, Tensor};
use checkpoint::{MODEL_FILE, read_state};
use host::Precision;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

type Judge = dyn Fn(&StopSignal<'_>) -> Result<Option<Evaluation>, BoxError> + Sync;

/// Batches are numbers; what happens to them is written down.
struct ToyObjective {
    events: Arc<Mutex<Vec<String>>>,
    judge: Box<Judge>,
    /// A batch, and what its loss is multiplied by.
    poison: Option<(u64, f32)>,
    hungry: Option<Hungry>,
}

/// What takes more memory than any device has.
#[derive(Clone, Copy, PartialEq)]
enum Hungry {
    /// A batch.
    Batch(u64),
    /// A look at the network.
    Look,
}

/// Asks libtorch for 2^50 numbers.
#[cfg(feature = "tch")]
fn devour() {
    let devices = host::processors();
    drop(Tensor::<2>::zeros([1 << 25, 1 << 25], &devices[1]));
}

/// Says what libtorch would.
#[cfg(not(feature = "tch"))]
fn devour() {
    panic!("libtorch: DefaultCPUAllocator: you tried to allocate 4503599627370496 bytes.");
}

impl Objective for ToyObjective {
    type Model = Toy;
    type Batch = u64;

    fn loss(&self, model: &Toy, batch: u64) -> Result<Tensor<1>, BoxError> {
        self.events.lock().unwrap().push(format!("computed {batch}"));
        if self.hungry == Some(Hungry::Batch(batch)) {
            devour();
        }
        let factor = self.poison.filter(|(poisoned, _)| *poisoned == batch).map_or(1.0, |(_, factor)| factor);
        Ok(model.loss(batch as f32 * 0.3) * factor)
    }

    fn evaluate(
        &self,
        _: &Toy,
        stop: &StopSignal<'_>,
        _: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Evaluation>, BoxError> {
        (self.judge)(stop)
    }

    fn health(&self, model: &Toy, stop: &StopSignal<'_>) -> Result<Option<Measures>, BoxError> {
        if self.hungry == Some(Hungry::Look) {
            devour();
        }
        let loss = Some(f64::from(model.loss(0.3).into_scalar::<f32>()));
        Ok((!stop.is_given()?).then(|| Measures { loss, ..Measures::default() }))
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
    poison: Option<(u64, f32)>,
    hungry: Option<Hungry>,
    health: Option<HealthPlan>,
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
            poison: None,
            hungry: None,
            health: None,
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
        let parts = StateParts { groups: &groups, optim: &self.optim, precision: Precision::F32, ema: None };
        let run_dir = self.run_dir(name);
        let beginning = match run_dir.latest_checkpoint() {
            None => parts.fresh(model),
            Some(at) => {
                let state = read_state(&at).unwrap();
                parts.resumed::<ToyObjective>(model, &at, state, &plan, false, &self.communicator).unwrap()
            }
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
            objective: ToyObjective {
                events: Arc::clone(&events),
                judge,
                poison: self.poison,
                hungry: self.hungry,
            },
            groups: groups.clone(),
            optim: self.optim.clone(),
            train: self.train.clone(),
            log: LogConfig { every_steps: 3, pictures_every_steps: 0, stall_seconds: 0 },
            plan,
            evaluation: Some(EvaluationPlan { every_epochs: 1, patience: self.patience }),
            health: self.health,
            run_dir,
            lock: None,
            batches_wait_for: Arc::new(String::new),
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

/// The lines of looks.
fn looks(bench: &Bench, name: &str) -> Vec<serde_json::Value> {
    bench.log(name).into_iter().filter(|line| line.get("health").is_some()).collect()
}

#[test]
fn a_look_that_an_interruption_came_before_is_made_up_for_to_the_last_digit() {
    let mut bench = Bench::new();
    bench.health = Some(HealthPlan { every_epochs: 1 });
    bench.straight("straight");
    let straight = looks(&bench, "straight");
    assert_eq!(straight.iter().map(|look| look["step"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4, 6, 8]);
    for look in &straight {
        let layer = &look["health"]["update_ratio"]["a.0"];
        assert!(layer.as_f64().is_some_and(|ratio| ratio > 1e-4 && ratio < 1e-1), "{look}");
        assert!(look["health"]["grad_norm"]["b"].as_f64().is_some_and(|norm| norm > 0.0), "{look}");
    }
    // Within the update that a look is due behind.
    let stop_at = |batch, interrupter: &Interrupter| {
        if batch == 11 {
            interrupter.stop(None);
        }
    };
    bench.run("parts", Box::new(|_| score(0.5)), &stop_at).0.unwrap();
    assert_eq!(looks(&bench, "parts").len(), 1);
    assert!(bench.run_dir("parts").path().join(checkpoint::HEALTH_PENDING_FILE).exists());
    bench.straight("parts");
    assert_eq!(looks(&bench, "parts"), straight);
    assert!(!bench.run_dir("parts").path().join(checkpoint::HEALTH_PENDING_FILE).exists());
    // Nothing is looked at twice.
    bench.straight("parts");
    assert_eq!(looks(&bench, "parts"), straight);
}

#[test]
fn the_end_is_looked_at_whatever_ends_the_run() {
    let mut bench = Bench::new();
    bench.health = Some(HealthPlan { every_epochs: 3 });
    bench.patience = Some(1);
    let outcome = bench.straight("run");
    assert!(outcome.stopped_early && outcome.step == 4, "{outcome:?}");
    let looks = looks(&bench, "run");
    assert_eq!((looks.len(), &looks[0]["step"]), (1, &4.into()));
    assert!(looks[0]["health"]["grad_norm"].is_object(), "{}", looks[0]);
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
    for (step, interrupted, last) in on_two(asked_at_batch_9) {
        assert_eq!((step, interrupted.as_deref(), last), (3, Some("another process was asked to stop"), 10));
    }
}

/// What each of two processes comes to.
fn on_two<T: Send>(run: impl Fn(Threads) -> T + Sync) -> Vec<T> {
    let run = &run;
    std::thread::scope(|scope| {
        let ranks: Vec<_> = Threads::two()
            .into_iter()
            .map(|world| {
                // With threads of its own, as a process has them: one that waits for the other must not hold
                // up its work.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                scope.spawn(move || pool.install(|| run(world)))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn processes_look_together_and_the_first_one_writes() {
    let looks = on_two(|world| {
        let (rank, mut bench) = (world.rank(), Bench::new());
        bench.communicator = Arc::new(world);
        bench.health = Some(HealthPlan { every_epochs: 1 });
        bench.straight("run");
        if rank == 0 { looks(&bench, "run").len() } else { 0 }
    });
    assert_eq!(looks, [4, 0]);
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

/// A file where the folder of checkpoints was: nothing can be written into it.
fn break_checkpoints(run_dir: &RunDir) {
    fs::remove_dir_all(run_dir.path().join("checkpoints")).unwrap();
    fs::write(run_dir.path().join("checkpoints"), "").unwrap();
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_stop_the_run() {
    let mut bench = Bench::new();
    bench.train.checkpoint_every_steps = 2;
    let run_dir = bench.run_dir("run");
    // The checkpoint of step 2 and the best network cannot be written, and those of step 8 can.
    let on_batch = |batch, _: &Interrupter| match batch {
        0 => break_checkpoints(&run_dir),
        21 => fs::remove_file(run_dir.path().join("checkpoints")).unwrap(),
        _ => {}
    };
    let outcome = bench.run("run", Box::new(|_| score(0.5)), &on_batch).0.unwrap();
    assert_eq!((outcome.step, outcome.best.unwrap().step), (8, 2));
    assert_eq!(outcome.checkpoint, Some(run_dir.checkpoint(8)));
    // That of step 6 may be on its way while the way is cleared.
    assert!(matches!(steps(&run_dir.checkpoints())[..], [8] | [6, 8]));
    assert_eq!(read_state(&run_dir.best()).unwrap().position.step, 2, "the best network is caught up on");
    let troubles = outcome.troubles.join("\n");
    assert!(troubles.contains("cannot write the checkpoint of step 2"), "{troubles}");
    let logged = bench.log("run").iter().filter(|line| line.get("warning").is_some()).count();
    assert_eq!(logged, outcome.troubles.len());
    bench.train.checkpoint_every_steps = 0;
    bench.straight("straight");
    assert_eq!(bench.model("straight", 8), bench.model("run", 8));
}

#[test]
fn a_run_that_cannot_write_its_last_checkpoint_fails() {
    let bench = Bench::new();
    let run_dir = bench.run_dir("run");
    let on_batch = |batch, _: &Interrupter| {
        if batch == 23 {
            break_checkpoints(&run_dir);
        }
    };
    let error = bench.run("run", Box::new(|_| Ok(None)), &on_batch).0.unwrap_err().to_string();
    assert!(error.starts_with("cannot write the checkpoint of step 8"), "{error}");
}

#[test]
fn a_run_directory_that_vanishes_comes_back_with_the_next_checkpoint() {
    let bench = Bench::new();
    let run_dir = bench.run_dir("run");
    let on_batch = |batch, _: &Interrupter| {
        // The thread that writes checkpoints may be at one: what it puts there meanwhile goes too.
        while batch == 10 && run_dir.path().exists() {
            let _ = fs::remove_dir_all(run_dir.path());
        }
    };
    let outcome = bench.run("run", Box::new(|_| score(0.5)), &on_batch).0.unwrap();
    assert_eq!(outcome.checkpoint, Some(run_dir.checkpoint(8)));
    assert!(run_dir.checkpoint(8).join(data::IMAGES_FILE).is_file());
}

#[test]
fn an_update_that_is_not_finite_is_skipped_where_that_is_asked_for() {
    use crate::spike::OnSpike;
    let mut bench = Bench::new();
    bench.poison = Some((10, f32::NAN));
    let error = bench.run("warn", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
    assert!(matches!(&error, TrainError::NotFinite { found, .. } if found.step == 4), "{error}");
    bench.train.on_spike = OnSpike::Stop;
    let error = bench.run("stop", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
    assert!(matches!(&error, TrainError::NotFinite { found, .. } if found.step == 4), "{error}");
    bench.train.on_spike = OnSpike::Skip;
    let outcome = bench.run("skip", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap();
    assert_eq!(
        (outcome.step, &outcome.troubles[..]),
        (8, &["step 4 is skipped: the loss is NaN".to_owned()][..])
    );
    // The weights of step 4 are those of step 3.
    bench.train.max_steps = Some(3);
    bench.straight("three");
    bench.train.max_steps = Some(4);
    bench.straight("four");
    assert_eq!(bench.model("three", 3), bench.model("four", 4));
    assert_ne!(bench.model("four", 4), bench.model("skip", 8));
}

#[test]
fn a_spike_is_made_and_said_or_skipped_or_the_end_of_the_run() {
    use crate::spike::OnSpike;
    let mut bench = Bench::new();
    bench.poison = Some((70, 100.0));
    bench.train = TrainConfig { accumulate: 1, epochs: 13, ..bench.train };
    let outcome = bench.run("warn", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap();
    let [said] = &outcome.troubles[..] else { panic!("{outcome:?}") };
    assert!(said.starts_with("step 71: the loss is ") && said.contains("times its median of"), "{said}");
    bench.train.on_spike = OnSpike::Skip;
    let skipped = bench.run("skip", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap();
    assert_eq!((skipped.step, &skipped.troubles[0]), (78, &said.replace("step 71:", "step 71 is skipped:")));
    assert_ne!(bench.model("skip", 78), bench.model("warn", 78));
    bench.train.on_spike = OnSpike::Stop;
    let error = bench.run("stop", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
    assert!(error.to_string().starts_with(&said[..]), "{error}");
    assert_eq!(steps(&bench.run_dir("stop").checkpoints()), [0; 0], "nothing is written with it");
}

#[test]
fn a_run_that_goes_on_judges_updates_as_the_one_that_was_not_interrupted() {
    use crate::spike::OnSpike;
    let mut bench = Bench::new();
    bench.poison = Some((70, 100.0));
    bench.train = TrainConfig { accumulate: 1, epochs: 13, on_spike: OnSpike::Skip, ..bench.train };
    let straight = bench.run("straight", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap();
    let stop_at = |batch, interrupter: &Interrupter| {
        if batch == 68 {
            interrupter.stop(None);
        }
    };
    bench.run("parts", Box::new(|_| Ok(None)), &stop_at).0.unwrap();
    let parts = bench.run("parts", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap();
    assert_eq!(straight.troubles, parts.troubles);
    assert_eq!(bench.model("straight", 78), bench.model("parts", 78));
    let state = |name| read_state(&bench.run_dir(name).checkpoint(78)).unwrap();
    assert_eq!(state("straight"), state("parts"));
}

/// The step, the checkpoint and the sentence of a run whose device had too little memory.
fn out_of_memory(error: TrainError) -> (u64, Option<PathBuf>, String) {
    let sentence = error.to_string();
    let TrainError::Device { step, failure, checkpoint } = error else { panic!("{sentence}") };
    assert!(failure.is_out_of_memory(), "{sentence}");
    assert!(sentence.contains("4294967296 MiB") && sentence.contains("train.batch_size"), "{sentence}");
    assert!(!sentence.contains('\n') && !sentence.contains("frame #"), "{sentence}");
    (step, checkpoint, sentence)
}

#[test]
fn a_step_without_memory_ends_the_run_and_leaves_its_checkpoint() {
    let mut bench = Bench::new();
    bench.train.checkpoint_every_steps = 2;
    bench.hungry = Some(Hungry::Batch(16));
    let error = bench.run("run", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
    let kept = bench.run_dir("run").checkpoint(4);
    let (step, checkpoint, _) = out_of_memory(error);
    assert_eq!((step, checkpoint), (5, Some(kept)));
    bench.hungry = None;
    assert_eq!(bench.straight("run").step, 8);
    bench.straight("straight");
    assert_eq!(bench.model("straight", 8), bench.model("run", 8));
}

#[test]
fn an_evaluation_without_memory_saves_what_the_run_has_come_to() {
    let bench = Bench::new();
    let judge = |_: &StopSignal<'_>| {
        devour();
        score(0.5)
    };
    let error = bench.run("run", Box::new(judge), &|_, _| {}).0.unwrap_err();
    let saved = bench.run_dir("run").checkpoint(2);
    let (step, checkpoint, _) = out_of_memory(error);
    assert_eq!((step, checkpoint.as_ref(), saved.exists()), (2, Some(&saved), true));
}

#[test]
fn a_look_without_memory_is_said_and_the_run_goes_on() {
    let mut bench = Bench::new();
    bench.health = Some(HealthPlan { every_epochs: 4 });
    bench.hungry = Some(Hungry::Look);
    let outcome = bench.straight("run");
    let [said] = &outcome.troubles[..] else { panic!("{outcome:?}") };
    assert!(said.contains("cannot be looked at: cpu is out of memory"), "{said}");
    assert_eq!(outcome.step, 8);
}

/// Over Gloo, as `train-cli` does it: who fails says why, and the other one ends with that.
#[cfg(feature = "tch")]
#[test]
fn a_rank_without_memory_tells_the_other_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rank = |rank| {
        let environment = distributed::Environment {
            rank,
            world_size: 2,
            master: ("localhost".to_owned(), port),
            ..distributed::Environment::single()
        };
        let world = distributed::connect(&environment, distributed::Gradients::OnHost).unwrap();
        let mut bench = Bench::new();
        bench.communicator = Arc::clone(&world);
        bench.hungry = (rank == 1).then_some(Hungry::Batch(7));
        let error = bench.run("run", Box::new(|_| Ok(None)), &|_, _| {}).0.unwrap_err();
        world.fail(&error.to_string());
        error
    };
    let in_pool = |number| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| rank(number))
    };
    let [told, failed] = std::thread::scope(|scope| {
        let other = scope.spawn(|| in_pool(1));
        [in_pool(0), other.join().unwrap()]
    });
    let (step, _, sentence) = out_of_memory(failed);
    assert_eq!(step, 2);
    assert_eq!(told.to_string(), format!("rank 1 ended: {sentence}"));
}
