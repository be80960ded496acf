//! Which file a path on the command line means.

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{MODEL_FILE, RunDir};

use crate::error::InteropError;

/// Weight files of transformers and timm, in the order of their preference; a list stands for the
/// files that it names.
const WEIGHT_FILES: [&str; 4] =
    [MODEL_FILE, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

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
    match &variants(path)[..] {
        [] => {}
        [file] => return Ok(file.clone()),
        [first, second, ..] => {
            let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let reason = format!("has its weights in {} and {}; name one of them", name(first), name(second));
            return Err(none(&reason));
        }
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

/// Weights in a variant, `model.fp16.safetensors` or `pytorch_model.fp16.bin`, those of the preferred
/// format.
fn variants(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let of = |start: &str, end: &str| -> Vec<PathBuf> {
        let name = |file: &Path| file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let is_one = |name: String| name.starts_with(start) && name.ends_with(end);
        files.iter().filter(|file| name(file).is_some_and(is_one)).cloned().collect()
    };
    let safetensors = of("model.", ".safetensors");
    if safetensors.is_empty() { of("pytorch_model.", ".bin") } else { safetensors }
}

/// The folder whose configurations are about a weight file: by convention of transformers and timm,
/// that of a file of one of their names.
pub(crate) fn folder_of(file: &Path) -> Option<&Path> {
    let folder = file.parent()?;
    let is_usual = file.file_name()?.to_str().is_some_and(|name| WEIGHT_FILES.contains(&name));
    (is_usual || variants(folder).iter().any(|variant| variant == file)).then_some(folder)
}
