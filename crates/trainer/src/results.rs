//! `results.json`: what a run has come to, for scripts and schedulers.

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{Best, RunDir};
use serde::Serialize;
use serde_json::Value;

use crate::error::TrainError;
use crate::log::is_evaluation;
use crate::plan::Plan;
use crate::train::Outcome;

/// The file of a run directory that says how the run ended; there is none while a run is under way, and
/// none after one that failed or was killed.
pub const RESULTS_FILE: &str = "results.json";

/// What a run has come to. Losses and evaluation are those of the whole run, as its log has them, however
/// often it was interrupted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// How it ended.
    pub outcome: Ending,
    /// Why it was stopped before its end, if it was.
    pub reason: Option<String>,
    /// Updates done.
    pub step: u64,
    /// Updates of the whole run.
    pub total_steps: u64,
    /// Epochs done, a fraction.
    pub epoch: f64,
    /// Epochs that the configuration asks for.
    pub epochs: u64,
    /// Mean training loss of the first logged interval.
    pub first_loss: Option<f64>,
    /// Mean training loss of the last logged interval.
    pub loss: Option<f64>,
    /// The last evaluation, as the log has it: `step`, `epoch`, `val_loss` and so on.
    pub evaluation: Option<Value>,
    /// The best network, if any was evaluated.
    pub best: Option<BestNetwork>,
    /// The newest checkpoint, relative to the run directory.
    pub checkpoint: Option<PathBuf>,
    /// Unreadable images that were left out.
    pub skipped_images: usize,
    /// Seconds that this process trained, evaluated and saved.
    pub seconds: f64,
    /// Version of the program.
    pub version: &'static str,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every update is made.
    Finished,
    /// It was asked to stop, and can be resumed.
    Stopped,
    /// Its score no longer rose.
    StoppedEarly,
}

/// The best network of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BestNetwork {
    /// What networks are compared by: top-1 accuracy, mean average precision or R².
    pub score: f64,
    /// Updates after which it was found.
    pub step: u64,
    /// Whether it is the moving average of the weights.
    pub ema: bool,
    /// Its folder, relative to the run directory.
    pub checkpoint: PathBuf,
}

impl Ending {
    fn of(outcome: &Outcome) -> Self {
        match (&outcome.interrupted, outcome.stopped_early) {
            (Some(_), _) => Self::Stopped,
            (None, true) => Self::StoppedEarly,
            (None, false) => Self::Finished,
        }
    }
}

impl Results {
    pub(crate) fn of(
        outcome: &Outcome,
        run: &RunDir,
        plan: &Plan,
        epochs: u64,
        skipped_images: usize,
        seconds: f64,
    ) -> Self {
        // A log that cannot be read is no reason to keep the rest back.
        let log = fs::read(run.log()).unwrap_or_default();
        let lines = log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let lines: Vec<Value> = lines.collect();
        let mut losses = lines.iter().filter_map(|line| line["loss"].as_f64());
        let first_loss = losses.next();
        let best = outcome.best.map(|Best { score, step, ema, .. }| {
            let checkpoint = below(run, &run.best());
            BestNetwork { score, step, ema, checkpoint }
        });
        Self {
            outcome: Ending::of(outcome),
            reason: outcome.interrupted.clone(),
            step: outcome.step,
            total_steps: plan.total_steps,
            epoch: plan.epoch(outcome.step),
            epochs,
            first_loss,
            loss: losses.next_back().or(first_loss),
            evaluation: lines.into_iter().rev().find(is_evaluation),
            best,
            checkpoint: run.latest_checkpoint().map(|path| below(run, &path)),
            skipped_images,
            seconds,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Writes the file, as a whole.
    pub(crate) fn write(&self, run: &RunDir) -> Result<(), TrainError> {
        let text = serde_json::to_string(self)
            .map_err(|error| TrainError::io("write", &run.path().join(RESULTS_FILE))(error.into()))?;
        Ok(run.write(RESULTS_FILE, (text + "\n").as_bytes())?)
    }
}

/// Removes what an earlier process of the run came to: the run goes on.
pub(crate) fn forget(run: &RunDir) -> Result<(), TrainError> {
    let path = run.path().join(RESULTS_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

fn below(run: &RunDir, path: &Path) -> PathBuf {
    path.strip_prefix(run.path()).unwrap_or(path).to_owned()
}
