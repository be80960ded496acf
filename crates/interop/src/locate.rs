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
    if let Some(file) = only_one(variants(path)).map_err(|reason| none(&reason))? {
        return Ok(file);
    }
    let Ok(run) = RunDir::open(path) else {
        // As repositories have it that hold what an official code wrote.
        return only_one(files(path, "", &[".pth", ".pt", ".bin", ".safetensors"]))
            .and_then(|file| {
                file.ok_or_else(|| {
                    "is not the directory of a run or a checkpoint: it has neither checkpoints nor \
                     model.safetensors nor pytorch_model.bin"
                        .to_owned()
                })
            })
            .map_err(|reason| none(&reason));
    };
    let best = run.best().join(MODEL_FILE);
    if best.is_file() {
        return Ok(best);
    }
    let latest = run.latest_checkpoint();
    let latest = latest.ok_or_else(|| none("has no checkpoint: no complete checkpoints/step-… in it"))?;
    Ok(latest.join(MODEL_FILE))
}

/// The file, if there is one.
fn only_one(files: Vec<PathBuf>) -> Result<Option<PathBuf>, String> {
    match &files[..] {
        [first, second, ..] => {
            let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(format!("has its weights in {} and {}; name one of them", name(first), name(second)))
        }
        files => Ok(files.first().cloned()),
    }
}

/// Weights in a variant, `model.fp16.safetensors` or `pytorch_model.fp16.bin`, those of the preferred
/// format.
fn variants(folder: &Path) -> Vec<PathBuf> {
    let safetensors = files(folder, "model.", &[".safetensors"]);
    if safetensors.is_empty() { files(folder, "pytorch_model.", &[".bin"]) } else { safetensors }
}

/// Files of a folder whose names begin and end so, sorted.
fn files(folder: &Path, start: &str, ends: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(start) && ends.iter().any(|end| name.ends_with(end)) && path.is_file()
    };
    let mut files: Vec<PathBuf> = entries.filter(is_one).collect();
    files.sort();
    files
}

/// The folder whose configurations are about a weight file: by convention of transformers and timm,
/// that of a file of one of their names.
pub(crate) fn folder_of(file: &Path) -> Option<&Path> {
    let folder = file.parent()?;
    let is_usual = file.file_name()?.to_str().is_some_and(|name| WEIGHT_FILES.contains(&name));
    (is_usual || variants(folder).iter().any(|variant| variant == file)).then_some(folder)
}
