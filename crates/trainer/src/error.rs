//! Why a run stops.

use std::path::PathBuf;

use checkpoint::{CheckpointError, StateDictError};
use config::SettingError;
use data::{Changes, DataError};
use distributed::DistributedError;
use host::{DeviceFailure, DeviceName};

use crate::adamw::OptimizerStateError;
use crate::curves::MOST_RUNS;
use crate::objective::BoxError;
use crate::spike::Spike;

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A run directory or a checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A setting that is not allowed, or that the run to go on with did not have.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A record or picture of the run cannot be written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The operation that failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
    /// A checkpoint belongs to other data or another batch size.
    #[error(
        "{} stands at epoch {epoch}, batch {batch} after step {step}, but with {batches_per_epoch} batches an \
         epoch and {accumulate} an update it would be elsewhere; the data or the batch size have changed. \
         Use --init to keep only the weights",
        checkpoint.display()
    )]
    OtherData {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// Updates done.
        step: u64,
        /// Epoch of the next batch in the checkpoint.
        epoch: u64,
        /// The next batch within the epoch in the checkpoint.
        batch: u64,
        /// Batches that the present data make.
        batches_per_epoch: u64,
        /// Batches of an update now.
        accumulate: u64,
    },
    /// Images are new, gone or changed since the run began.
    #[error(
        "the images are not those that {} was trained on: {changes}. --allow-changed-data goes on with the \
         present ones, and --init starts a new run with its weights",
        checkpoint.display()
    )]
    ChangedData {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The differences.
        changes: Changes,
    },
    /// A process sees other images than the first.
    #[error(
        "rank {rank} sees other images than rank 0, or the same divided differently; is its data folder a copy?"
    )]
    OtherImages {
        /// The first that differs.
        rank: usize,
    },
    /// A checkpoint whose configuration is of another experiment.
    #[error("{} is no checkpoint of this experiment: {reason}", checkpoint.display())]
    OtherExperiment {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// What is wrong with its configuration.
        reason: SettingError,
    },
    /// The data do not fill one update.
    #[error(
        "one update takes {effective_batch} images (train.batch_size {batch_size} × train.accumulate \
         {accumulate}{}), the data have {images}; lower one of them",
        times_processes(*processes)
    )]
    TooFewImages {
        /// Images of an update.
        effective_batch: usize,
        /// Images of a process in one forward pass.
        batch_size: usize,
        /// Forward passes whose gradients make an update.
        accumulate: usize,
        /// Processes that train together.
        processes: usize,
        /// Images in all.
        images: usize,
    },
    /// A run that goes on from an older checkpoint would leave newer ones of another history beside its
    /// own, and `--resume auto` would take one of those.
    #[error(
        "{} is newer than {}; move it away, or go on from the older one in another --run-dir",
        newer.display(), older.display()
    )]
    Branch {
        /// The newest checkpoint of the run.
        newer: PathBuf,
        /// The one to go on from.
        older: PathBuf,
    },
    /// A checkpoint stands within an epoch whose order of samples was another one.
    #[error(
        "{} stands within an epoch, whose samples this version takes in another order; some would be seen \
         twice and others never. Finish the epoch with the version that began it, or use --init to keep only \
         the weights",
        .0.display()
    )]
    OtherOrder(PathBuf),
    /// A checkpoint of a former version was written by another number of processes.
    #[error(
        "the checkpoint was written by {before} process{}, this job has {now}, and it does not say how large \
         their batches were. Go on with {before}, or use --init for a new run with its weights",
        if *before == 1 { "" } else { "es" }
    )]
    OtherWorld {
        /// Processes then.
        before: usize,
        /// Processes now.
        now: usize,
    },
    /// The settings make updates of another size than the run had.
    #[error(
        "an update of this run takes {images} images, and would take {asked}; {}. For a new run with its weights \
         use --init",
        keeping(fitting)
    )]
    OtherBatch {
        /// Images of an update so far.
        images: usize,
        /// Images of one by the present settings.
        asked: usize,
        /// Settings that keep it.
        fitting: Option<String>,
    },
    /// Processes that cannot share the images of an update equally.
    #[error(
        "an update of this run takes {images} images, which {processes} processes cannot share equally; start as \
         many as divide {images}"
    )]
    NoSplit {
        /// Images of an update.
        images: usize,
        /// Processes that are to share them.
        processes: usize,
    },
    /// An update beyond what is usual, where `train.on_spike` says so.
    #[error(
        "step {step}: {spike}; {what}. {}. Lower the learning rate, set optim.clip_grad, or go on with another \
         train.on_spike",
        last_good(checkpoint)
    )]
    Spike {
        /// The update.
        step: u64,
        /// What is unusual.
        spike: Spike,
        /// What was done, in words.
        what: &'static str,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
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
    /// bf16 for gradients that travel from the memory of the host.
    #[error(
        "train.reduce_precision = \"bf16\" takes gradients on a GPU (--device cuda:0), or libtorch's with \
         model.kernels = \"aten\"; those of a processor travel in f32"
    )]
    ReducePrecision,
    /// Moments cannot be saved or restored.
    #[error(transparent)]
    OptimizerState(#[from] OptimizerStateError),
    /// The loss or a gradient is infinite or not a number. No checkpoint has been written since.
    #[error(
        "step {}: {}; {}. {}. Lower the learning rate, set optim.clip_grad, or check the data",
        found.step, found.what(), found.what_became(), last_good(checkpoint)
    )]
    NotFinite {
        /// What is not finite, and where.
        found: NotFiniteUpdate,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The weights are infinite or not numbers.
    #[error(
        "after step {step}, {count} of the numbers in {name} are NaN or infinite; they are not saved. {}",
        last_good(checkpoint)
    )]
    NotFiniteWeights {
        /// Updates done.
        step: u64,
        /// The first such tensor.
        name: String,
        /// How many of its numbers.
        count: usize,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The device that computes has not enough memory, or has failed.
    #[error("after step {step}, {failure}{}; {}", less(failure), last_good(checkpoint))]
    Device {
        /// Updates done.
        step: u64,
        /// What it could not compute.
        failure: Box<DeviceFailure>,
        /// The last checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// The data ended before the run.
    #[error("the data ended before step {step}")]
    OutOfData {
        /// The update that lacks data.
        step: u64,
    },
    /// A batch cannot be made.
    #[error(transparent)]
    Data(BoxError),
    /// Images cannot be opened.
    #[error(transparent)]
    Images(#[from] DataError),
    /// The objective cannot be computed.
    #[error(transparent)]
    Objective(BoxError),
    /// The experiment cannot be set up.
    #[error(transparent)]
    Experiment(BoxError),
    /// The terminal cannot be drawn on, or its keys not be read.
    #[error("--tui: cannot use the terminal: {0}")]
    Terminal(std::io::Error),
    /// The checkpoint that a run starts from lies in the directory that it would replace.
    #[error("--overwrite would remove {}, which the run starts from; choose another --run-dir", .0.display())]
    WouldRemove(PathBuf),
    /// The terminal dashboard needs a terminal.
    #[error("--tui draws on a terminal, and standard error is none")]
    NoTerminal,
    /// A picture could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The reason of the failure.
        error: image::ImageError,
    },
    /// A folder to draw the curves of, which is no run.
    #[error("{} has no log.jsonl: it is not the directory of a run", .0.display())]
    NoLog(PathBuf),
    /// A log without a number to draw.
    #[error("{} has nothing to draw yet", .0.display())]
    EmptyLog(PathBuf),
    /// A run that nobody has looked at.
    #[error(
        "{} says nothing of health yet: a run is looked at every few epochs, which its plan tells, and at its end; \
         --set health.every_epochs=1 looks more often, and with health.enabled = false nobody does",
        .0.display()
    )]
    NoLooks(PathBuf),
    /// A log that this program has not written so.
    #[error("{}, line {line}: {error}", path.display())]
    LogLine {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// More runs than there are colours.
    #[error("{runs} runs are more than can be told apart; draw at most {MOST_RUNS} of them")]
    TooManyRuns {
        /// How many.
        runs: usize,
    },
}

/// An update whose loss or gradients are infinite or not a number.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFiniteUpdate {
    /// The update.
    pub step: u64,
    /// Updates that were made when this was seen: one less than `step` where loss and norm are known at
    /// once, and more where they are read later, on a GPU.
    pub done: u64,
    /// The loss of that update.
    pub loss: f64,
    /// The norm of its gradients.
    pub grad_norm: f64,
    /// The first parameter whose gradient is not finite, where they were looked at.
    pub parameter: Option<String>,
}

impl NotFiniteUpdate {
    /// The error of a run whose last checkpoint this is.
    pub(crate) fn since(self, checkpoint: Option<PathBuf>) -> TrainError {
        TrainError::NotFinite { found: self, checkpoint }
    }

    fn what(&self) -> String {
        match &self.parameter {
            _ if !self.loss.is_finite() => format!("the loss is {}", self.loss),
            Some(name) => format!("the gradient of `{name}` is not finite"),
            None if self.done < self.step => "the norm of the gradients overflows".to_owned(),
            None => format!("the norm of the gradients is {}", self.grad_norm),
        }
    }

    fn what_became(&self) -> String {
        match self.done.checked_sub(self.step) {
            None => "stopped before the update".to_owned(),
            Some(0) => "seen only after the update, whose weights are not kept".to_owned(),
            Some(_) => format!(
                "seen only after step {}; the weights of steps {} to {0} are spoilt and not kept",
                self.done, self.step
            ),
        }
    }
}

impl TrainError {
    /// Turns an error of the operating system into one about a path, for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }

    /// The same error with the checkpoint before it.
    pub(crate) fn since(mut self, last: Option<PathBuf>) -> Self {
        match &mut self {
            Self::NotFinite { checkpoint, .. }
            | Self::NotFiniteWeights { checkpoint, .. }
            | Self::Spike { checkpoint, .. }
            | Self::Device { checkpoint, .. } => *checkpoint = last,
            _ => {}
        }
        self
    }
}

fn keeping(fitting: &Option<String>) -> String {
    match fitting {
        Some(settings) => format!("{settings} would keep it"),
        None => "no batches of these processes would keep it".to_owned(),
    }
}

/// What takes less memory.
fn less(failure: &DeviceFailure) -> String {
    if !failure.is_out_of_memory() {
        return String::new();
    }
    let gpu = matches!(failure.device, DeviceName::LibTorchCuda(_));
    format!(
        ". Lower train.batch_size and raise train.accumulate by as much, which leaves updates what they are, or \
         set train.recompute = true{}",
        if gpu { " or train.precision = \"bf16\"" } else { "" }
    )
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".to_owned(),
    }
}

/// ` × 2 processes`; nothing for one.
pub(crate) fn times_processes(processes: usize) -> String {
    if processes == 1 { String::new() } else { format!(" × {processes} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Trouble;

    #[test]
    fn a_message_says_whether_the_update_was_made_and_what_is_good() {
        let found = NotFiniteUpdate { step: 8, done: 7, loss: f64::NAN, grad_norm: 1.0, parameter: None };
        let message = |found: NotFiniteUpdate| found.since(Some("run/step-4".into())).to_string();
        let before = message(found.clone());
        assert!(before.starts_with("step 8: the loss is NaN; stopped before the update. "), "{before}");
        assert!(before.contains("the last good checkpoint is run/step-4"), "{before}");
        let at_once = message(NotFiniteUpdate { done: 8, ..found.clone() });
        assert!(at_once.contains("seen only after the update, whose weights are not kept"), "{at_once}");
        let later =
            message(NotFiniteUpdate { done: 12, loss: 0.5, grad_norm: f64::INFINITY, ..found.clone() });
        let expected = "step 8: the norm of the gradients is inf; seen only after step 12; the weights of steps 8 to \
                        12 are spoilt and not kept. ";
        assert!(later.starts_with(expected), "{later}");
        assert!(found.since(None).to_string().contains("no checkpoint was written yet"));
    }

    #[test]
    fn a_device_without_memory_says_what_takes_less_of_it() {
        let message = |device, trouble| {
            let failure = Box::new(DeviceFailure { device, trouble, memory: None });
            TrainError::Device { step: 7, failure, checkpoint: None }
                .since(Some("run/step-4".into()))
                .to_string()
        };
        let full = || Trouble::OutOfMemory { asked: Some("2.00 GiB".to_owned()) };
        let gpu = message(DeviceName::LibTorchCuda(Some(1)), full());
        assert!(
            gpu.starts_with("after step 7, cuda:1 is out of memory: 2.00 GiB could not be had. Lower"),
            "{gpu}"
        );
        for part in ["train.batch_size", "train.accumulate", "train.recompute", "bf16", "is run/step-4"] {
            assert!(gpu.contains(part), "{part}: {gpu}");
        }
        assert!(!message(DeviceName::LibTorch, full()).contains("bf16"));
        let broken = message(DeviceName::LibTorchCuda(None), Trouble::Broken("CUDA error: x".to_owned()));
        assert!(
            broken.contains("cuda has failed: CUDA error: x") && !broken.contains("batch_size"),
            "{broken}"
        );
    }
}
