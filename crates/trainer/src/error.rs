//! Why a run stops.

use std::path::PathBuf;

use distributed::DistributedError;

use crate::engine::{Plan, Position};
use crate::optimizer_state::OptimizerStateError;
use crate::state_dict::StateDictError;

/// Boxed, because the loop knows neither data nor objective.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The run directory exists already.
    #[error(
        "{} exists already and is not empty; continue that run with --resume auto, or choose another --run-dir",
        .0.display()
    )]
    RunExists(PathBuf),
    /// Not a run directory.
    #[error("{} is not the directory of a run: it has no checkpoints folder", .0.display())]
    NoRun(PathBuf),
    /// A file or folder of the run cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A checkpoint could not be written.
    #[error("cannot write the checkpoint of step {step}: {reason}; {}", last_good(checkpoint))]
    Checkpoint {
        /// Updates done.
        step: u64,
        /// What went wrong.
        reason: Box<TrainError>,
        /// The last one that is complete.
        checkpoint: Option<PathBuf>,
    },
    /// A file inside a checkpoint is not what it should be.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint belongs to other data or another batch size.
    #[error(
        "{} stands at epoch {}, batch {} after step {}, but with {} batches an epoch and {} an update \
         it would be elsewhere; the data or the batch size have changed. Use --init to keep only the weights",
        checkpoint.display(), found.epoch, found.batch, found.step, plan.batches_per_epoch, plan.accumulate
    )]
    OtherData {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Where it stands.
        found: Position,
        /// What the run expects.
        plan: Plan,
    },
    /// A checkpoint was written by another number of processes.
    #[error(
        "{} was written by {before} process{} and this job has {now}; a run continues as it began. \
         For a new run with these weights use --init",
        checkpoint.display(), if *before == 1 { "" } else { "es" }
    )]
    OtherWorld {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Processes then.
        before: usize,
        /// Processes now.
        now: usize,
    },
    /// Processes do not train the same network any more.
    #[error(
        "the parameters of rank {rank} are not those of rank 0 after step {step}; \
         are all processes of the same program, on machines with the same instructions?"
    )]
    Diverged {
        /// The first that differs.
        rank: usize,
        /// Updates done.
        step: u64,
    },
    /// Other processes have ended or do not answer.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// A tensor file cannot be used.
    #[error(transparent)]
    StateDict(#[from] StateDictError),
    /// Moments cannot be saved or restored.
    #[error(transparent)]
    OptimizerState(#[from] OptimizerStateError),
    /// The loss or a gradient is infinite or not a number. Nothing was updated with it.
    #[error(
        "step {step}: {}; stopped before the update. {}. Lower the learning rate, set optim.clip_grad, \
         or check the data",
        what_is_not_finite(*loss, parameter), last_good(checkpoint)
    )]
    NotFinite {
        /// The update that was not made.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The first parameter whose gradient is not finite.
        parameter: Option<String>,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The data ended before the run.
    #[error("the data ended before step {step}")]
    OutOfData {
        /// The update that lacks data.
        step: u64,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Data(Source),
    /// The objective cannot be computed.
    #[error(transparent)]
    Objective(Source),
    /// The terminal dashboard needs a terminal.
    #[error("--tui draws on a terminal, and standard output is none")]
    NoTerminal,
    /// A picture could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: image::ImageError,
    },
}

impl TrainError {
    /// Wraps an error of the data.
    pub fn data(error: impl Into<Source>) -> Self {
        Self::Data(error.into())
    }

    /// Wraps an error of the objective.
    pub fn objective(error: impl Into<Source>) -> Self {
        Self::Objective(error.into())
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".to_owned(),
    }
}

fn what_is_not_finite(loss: f64, parameter: &Option<String>) -> String {
    match parameter {
        _ if !loss.is_finite() => format!("the loss is {loss}"),
        Some(name) => format!("the gradient of `{name}` is not finite"),
        None => "the norm of the gradients overflows".to_owned(),
    }
}
