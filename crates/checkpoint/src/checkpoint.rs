//! A checkpoint as everything that uses one sees it.

use std::path::{Path, PathBuf};

use crate::error::CheckpointError;
use crate::files::{CONFIG_FILE, MODEL_FILE, STATE_FILE};
use crate::folder::verify_checkpoint;
use crate::recipe::Recipe;
use crate::run_dir::RunDir;
use crate::state_dict::StateDict;

/// Weights, and what they say of themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The folder, or the file if its folder means nothing.
    pub path: PathBuf,
    /// Tensors under the official names.
    pub weights: StateDict,
    /// Network, preprocessing and classes.
    pub recipe: Recipe,
}

impl Checkpoint {
    /// Opens a run of this project (its best network, or its newest checkpoint if none was evaluated),
    /// one of its checkpoints, or the file of weights in one. Checkpoints of other programs are
    /// opened by crate `interop`.
    ///
    /// # Errors
    /// Nothing there, or a damaged file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let folder = match Self::is_folder(path) || path.is_file() {
            true => Self::folder_of(path)?,
            false => {
                let best = RunDir::open(path)?.best();
                if Self::is_folder(&best) { best } else { Self::folder_of(path)? }
            }
        };
        Self::require_sound(&folder)?;
        Ok(Self {
            weights: StateDict::load(&folder.join(MODEL_FILE))?,
            recipe: Recipe::load(&folder.join(CONFIG_FILE))?,
            path: folder,
        })
    }

    /// The checkpoint folder of a run of this project that a path means: itself, that of a file of
    /// weights, or the newest one of a run.
    ///
    /// # Errors
    /// Nothing there, or no complete checkpoint.
    pub fn folder_of(path: &Path) -> Result<PathBuf, CheckpointError> {
        let none = |reason: String| CheckpointError::None { path: path.to_owned(), reason };
        if path.is_file() && path.file_name().is_some_and(|name| name == MODEL_FILE) {
            return Ok(path.parent().unwrap_or(Path::new(".")).to_owned());
        }
        if Self::is_folder(path) {
            return Ok(path.to_owned());
        }
        if !path.exists() {
            return Err(none("does not exist".to_owned()));
        }
        if !path.is_dir() {
            return Err(none(format!("is neither a run directory, a checkpoint nor a {MODEL_FILE}")));
        }
        let latest = RunDir::open(path)?.latest_checkpoint();
        latest.ok_or_else(|| none("has no checkpoint: no complete checkpoints/step-… in it".to_owned()))
    }

    /// The same, for a run to go on from: all its files are what was written.
    ///
    /// # Errors
    /// As [`Checkpoint::folder_of`]; a damaged file, with the checkpoint to take instead.
    pub fn sound_folder_of(path: &Path) -> Result<PathBuf, CheckpointError> {
        let folder = Self::folder_of(path)?;
        Self::verify(&folder, |_| true)?;
        Ok(folder)
    }

    /// Checks the weights of a checkpoint folder by what was written. A folder that says nothing of itself,
    /// such as a copy of its weights, passes.
    ///
    /// # Errors
    /// A damaged file, with the checkpoint to take instead.
    pub fn require_sound(folder: &Path) -> Result<(), CheckpointError> {
        Self::verify(folder, |name| name == MODEL_FILE)
    }

    fn verify(folder: &Path, of_interest: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        if !folder.join(STATE_FILE).is_file() {
            return Ok(());
        }
        verify_checkpoint(folder, of_interest).map_err(|reason| {
            let run = folder.parent().and_then(Path::parent).and_then(|run| RunDir::open(run).ok());
            let sound = run.and_then(|run| run.newest_sound().0);
            CheckpointError::Unsound { reason: Box::new(reason), sound }
        })
    }

    fn is_folder(path: &Path) -> bool {
        path.join(MODEL_FILE).is_file()
    }
}
