//! The cache of all Hugging Face libraries:
//!
//! ```text
//! models--user--name/
//!   refs/main                    the commit that the branch stood at
//!   blobs/<etag>                 contents
//!   snapshots/<commit>/<path>    links to contents
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hub::error::HubError;
use crate::hub::pull::{Remote, Snapshot, is_commit};
use crate::hub::repo::Source;
use crate::hub::{Hub, Progress};

impl Hub {
    /// Downloads the weights and configuration of a model into the cache, unless they are there, and
    /// returns their folder. Of several formats the first of safetensors and PyTorch's is taken.
    ///
    /// # Errors
    /// A repository without weights, a refusal of the server or no answer, damaged files; offline, a
    /// model that is not in the cache.
    pub fn resolve(&self, source: &Source, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        let folder = self.cache.join(format!("models--{}--{}", source.repo.owner, source.repo.name));
        if self.offline {
            return cached(&folder, source).ok_or_else(|| HubError::Offline(source.to_string()));
        }
        let snapshot = self.snapshot(source)?;
        let target = folder.join("snapshots").join(&snapshot.sha);
        for file in needed(&snapshot).ok_or_else(|| HubError::NoWeights(source.repo.to_string()))? {
            let (blob, link) = (folder.join("blobs").join(&file.etag), target.join(&file.path));
            if !blob.is_file() {
                self.download(&snapshot, file, &blob, progress)?;
            }
            place(&blob, &link, file).map_err(|error| HubError::Io { path: link.clone(), error })?;
        }
        if !is_commit(&source.revision) {
            let reference = folder.join("refs").join(&source.revision);
            let folder = reference.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder).map_err(|error| HubError::Io { path: folder.to_owned(), error })?;
            whole::write(&reference, snapshot.sha.as_bytes())?;
        }
        Ok(target)
    }
}

/// The folder of a revision that was downloaded before.
fn cached(folder: &Path, source: &Source) -> Option<PathBuf> {
    let sha = match is_commit(&source.revision) {
        true => source.revision.clone(),
        false => fs::read_to_string(folder.join("refs").join(&source.revision)).ok()?.trim().to_owned(),
    };
    let snapshot = folder.join("snapshots").join(sha);
    snapshot.is_dir().then_some(snapshot)
}

/// The files of the root that loading a model reads; none without weights.
fn needed(snapshot: &Snapshot) -> Option<Vec<&Remote>> {
    let files = || snapshot.files.iter().filter(|file| !file.name.contains('/'));
    let ends = |file: &Remote, endings: &[&str]| endings.iter().any(|ending| file.name.ends_with(ending));
    let is_weights = |file: &&Remote, endings: &[&str]| {
        // Not of the network: a checkpoint of ours has it too.
        ends(file, endings) && file.name != "optimizer.safetensors"
    };
    let formats: [&[&str]; 2] = [&[".safetensors"], &[".bin", ".pth", ".pt"]];
    // Where there is one of the usual name, others are copies for other uses, or something else.
    let usual = |file: &Remote| file.name.starts_with("model") || file.name.starts_with("pytorch_model");
    let has = |format: &[&str], only_usual: bool| {
        files().any(|file| is_weights(&file, format) && (!only_usual || usual(file)))
    };
    let choices = [true, false].into_iter().flat_map(|only| formats.map(|format| (format, only)));
    let (format, only_usual) = choices.into_iter().find(|(format, only)| has(format, *only))?;
    let wanted = |file: &&Remote| match is_weights(file, format) {
        true => !only_usual || usual(file),
        false => ends(file, &[".json", ".toml"]),
    };
    Some(files().filter(wanted).collect())
}

/// Makes `link` show `blob`, by a relative link where there are such.
fn place(blob: &Path, link: &Path, file: &Remote) -> io::Result<()> {
    if link.exists() {
        return Ok(());
    }
    fs::create_dir_all(link.parent().unwrap_or(Path::new(".")))?;
    let depth = file.path.components().count() + 1;
    let relative: PathBuf = std::iter::repeat_n("..", depth).collect();
    let result = link_or_copy(blob, &relative.join("blobs").join(&file.etag), link);
    // Another process may have been faster.
    if link.exists() { Ok(()) } else { result }
}

#[cfg(unix)]
fn link_or_copy(_blob: &Path, relative: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

#[cfg(not(unix))]
fn link_or_copy(blob: &Path, _relative: &Path, link: &Path) -> io::Result<()> {
    fs::copy(blob, link).map(drop)
}

#[cfg(test)]
mod tests;
