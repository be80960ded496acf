//! Why a run directory or a checkpoint cannot be used.

use std::path::PathBuf;

use crate::state_dict_error::StateDictError;

/// Any error of what fills a checkpoint.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run directory or a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The run directory exists already.
    #[error(
        "{} exists already and is not empty; continue that run with --resume auto, choose another --run-dir, or \
         replace it with --overwrite",
        .0.display()
    )]
    RunExists(PathBuf),
    /// Another process trains there.
    #[error(
        "{} is in use by {holder}; wait for its end, or choose another --run-dir", run_dir.display()
    )]
    InUse {
        /// The run directory.
        run_dir: PathBuf,
        /// The process, in words.
        holder: String,
    },
    /// Every checkpoint of a run is damaged.
    #[error(
        "none of the {} checkpoints of {} can be used: {}; --overwrite begins anew, and another --run-dir too",
        reasons.len(), run_dir.display(), in_words(reasons)
    )]
    AllDamaged {
        /// The run directory.
        run_dir: PathBuf,
        /// What is wrong with each, newest first.
        reasons: Vec<CheckpointError>,
    },
    /// A checkpoint that was asked for is damaged.
    #[error("{reason}; {}", instead(sound))]
    Unsound {
        /// What is wrong with it.
        reason: Box<CheckpointError>,
        /// The newest of its run that is not.
        sound: Option<PathBuf>,
    },
    /// Not a run directory.
    #[error("{} is not the directory of a run: it has no checkpoints folder", .0.display())]
    NoRun(PathBuf),
    /// A file or folder of the run cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The operation that failed, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
    /// A checkpoint could not be written.
    #[error("cannot write the checkpoint of step {step}: {reason}; {}", last_good(checkpoint))]
    Write {
        /// Updates done.
        step: u64,
        /// The reason of the failure.
        reason: Box<CheckpointError>,
        /// The last one that is complete.
        checkpoint: Option<PathBuf>,
    },
    /// A file inside a checkpoint is not what it should be.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason, in words.
        reason: String,
    },
    /// What a checkpoint holds could not be made or written.
    #[error(transparent)]
    Content(BoxError),
    /// A tensor file cannot be used.
    #[error(transparent)]
    Tensors(#[from] StateDictError),
    /// A path that leads to no checkpoint.
    #[error("{} {reason}", path.display())]
    None {
        /// The path that was asked for.
        path: PathBuf,
        /// Why it is none.
        reason: String,
    },
    /// A section of a stored configuration that cannot be read.
    #[error("in {path}, [{section}]: {reason}", path = path.display())]
    Recipe {
        /// The configuration.
        path: PathBuf,
        /// The section.
        section: String,
        /// The reason, in words.
        reason: String,
    },
}

impl CheckpointError {
    /// Turns an error of the operating system into one about a path, for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }
}

impl From<whole::Unwritten> for CheckpointError {
    fn from(whole::Unwritten { path, error }: whole::Unwritten) -> Self {
        Self::Io { action: "write", path, error }
    }
}

fn in_words(reasons: &[CheckpointError]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn instead(sound: &Option<PathBuf>) -> String {
    match sound {
        Some(path) => format!("{} is sound, name it instead", path.display()),
        None => "its run has no other that is sound".to_owned(),
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".to_owned(),
    }
}
