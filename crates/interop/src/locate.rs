//! Which file a path on the command line means.

use std::path::{Path, PathBuf};

use checkpoint::{MODEL_FILE, RunDir};

use crate::error::InteropError;

/// Weight files of transformers and timm, in the order of their preference.
const WEIGHT_FILES: [&str; 2] = [MODEL_FILE, "pytorch_model.bin"];

/// The weight file that `path` means: itself, that of a checkpoint, transformers or timm
/// directory, or that of a run's best or newest checkpoint.
///
/// # Errors
/// Nothing is there, or a directory without weights.
pub fn locate(path: &Path) -> Result<PathBuf, InteropError> {
    let none = |reason: &str| InteropError::NoCheckpoint { path: path.to_owned(), reason: reason.to_owned() };
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if !path.is_dir() {
        return Err(none("does not exist"));
    }
    if let Some(file) = WEIGHT_FILES.iter().map(|name| path.join(name)).find(|file| file.is_file()) {
        return Ok(file);
    }
    if path.join("model.safetensors.index.json").is_file() {
        return Err(none(
            "has its weights in several files; save them in one: save_pretrained(DIR, max_shard_size=\"10GB\")",
        ));
    }
    let Ok(run) = RunDir::open(path) else {
        return Err(none(
            "is not the directory of a run or a checkpoint: it has neither checkpoints nor model.safetensors \
             nor pytorch_model.bin",
        ));
    };
    let best = run.best().join(MODEL_FILE);
    if best.is_file() {
        return Ok(best);
    }
    let latest = run.latest_checkpoint();
    let latest = latest.ok_or_else(|| none("has no checkpoint: no complete checkpoints/step-… in it"))?;
    Ok(latest.join(MODEL_FILE))
}

/// Whether configurations beside a weight file are about these weights: by convention of
/// transformers and timm, next to a file of one of their names.
pub(crate) fn folder_of(file: &Path) -> Option<&Path> {
    let name = file.file_name()?.to_str()?;
    WEIGHT_FILES.contains(&name).then(|| file.parent()).flatten()
}
