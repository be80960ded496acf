//! Checkpoint folders, written so that a process killed at any moment leaves the last one intact.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use whole::NewFolder;

use crate::digest::{self, Files};
use crate::error::{BoxError, CheckpointError};
use crate::files::STATE_FILE;
use crate::run_dir::RunDir;

/// Where in its data a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Updates done.
    pub step: u64,
    /// Epoch of the next batch.
    pub epoch: u64,
    /// The next batch within the epoch.
    pub batch: u64,
}

/// The best network of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Score of the network.
    pub score: f64,
    /// Updates after which it was found.
    pub step: u64,
    /// Whether it is the moving average.
    pub ema: bool,
    /// Evaluations since then.
    pub since: u64,
}

/// What one process computes of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Images of a batch.
    pub batch_size: usize,
    /// Batches of an update.
    pub accumulate: usize,
}

/// How far an update carries the schedule of a run: with the batches of an epoch that it began with, also
/// where other processes go on with it in smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Batches of a process in an epoch.
    pub batches_per_epoch: u64,
    /// Batches of a process in an update.
    pub accumulate: u64,
}

/// What a checkpoint says of its run, beside weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Where the run stands.
    #[serde(flatten)]
    pub position: Position,
    /// The best network so far, if any was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Updates after which the network was evaluated last, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<u64>,
    /// Version of the order of samples that it was trained in.
    #[serde(default = "first_order")]
    pub order: u32,
    /// Processes that trained the network.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub processes: usize,
    /// Images that the updates were made of; 0 where a former version did not count them.
    #[serde(default)]
    pub images: u64,
    /// What each process computed of an update; former versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How its schedule advances; former versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Loss and gradient norm of the last updates, oldest first, by which the next ones are judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<[f64; 2]>,
    /// How many of them were unusual, one after the other, up to the last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unusual: u64,
}

impl Default for RunState {
    /// Nothing done, by one process, in the order of the first version.
    fn default() -> Self {
        Self {
            position: Position::default(),
            best: None,
            evaluated: None,
            order: first_order(),
            processes: one(),
            images: 0,
            split: None,
            pace: None,
            recent: Vec::new(),
            unusual: 0,
        }
    }
}

/// What is written down of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    state: RunState,
    /// Every other file of the folder; former versions did not say.
    #[serde(default)]
    files: Files,
}

fn first_order() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

/// Writes the checkpoint of a step: `fill` puts its files into a temporary folder beside the
/// others, which is renamed when all is on the disk.
///
/// # Errors
/// Something cannot be written. Nothing half-written stays, earlier checkpoints are untouched.
pub fn write_checkpoint(
    run: &RunDir,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), BoxError>,
) -> Result<PathBuf, CheckpointError> {
    write_folder(run, state, fill, run.checkpoint(state.position.step))
}

/// Writes the best network of a run in the same way.
///
/// # Errors
/// As [`write_checkpoint`].
pub fn write_best(
    run: &RunDir,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), BoxError>,
) -> Result<PathBuf, CheckpointError> {
    write_folder(run, state, fill, run.best())
}

/// Brings the best network of another run, which this one goes on from.
///
/// # Errors
/// It cannot be read or written.
pub fn copy_best(from: &Path, run: &RunDir) -> Result<(), CheckpointError> {
    let copy = NewFolder::replacing(&run.best())?;
    for entry in fs::read_dir(from).map_err(CheckpointError::io("read", from))?.flatten() {
        fs::copy(entry.path(), copy.part().join(entry.file_name()))
            .map_err(CheckpointError::io("copy", entry.path()))?;
    }
    Ok(copy.finish()?)
}

fn write_folder(
    run: &RunDir,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), BoxError>,
    path: PathBuf,
) -> Result<PathBuf, CheckpointError> {
    let step = state.position.step;
    fill_and_record(&path, state, fill).map_err(|reason| {
        let reason = Box::new(reason);
        CheckpointError::Write { step, reason, checkpoint: run.latest_checkpoint() }
    })?;
    Ok(path)
}

fn fill_and_record(
    path: &Path,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), BoxError>,
) -> Result<(), CheckpointError> {
    let folder = NewFolder::replacing(path)?;
    fill(folder.part()).map_err(CheckpointError::Content)?;
    let record = Record { state: state.clone(), files: digest::of_folder(folder.part())? };
    let path = folder.part().join(STATE_FILE);
    let json = serde_json::to_string(&record).map_err(io::Error::from);
    json.and_then(|json| fs::write(&path, json + "\n")).map_err(CheckpointError::io("write", path))?;
    Ok(folder.finish()?)
}

/// Where the run of a checkpoint stands.
///
/// # Errors
/// The file is missing or damaged.
pub fn read_state(checkpoint: &Path) -> Result<RunState, CheckpointError> {
    Ok(read_record(checkpoint)?.state)
}

/// Compares the files of a checkpoint with what was written of them: all, or those of certain names. One of
/// a former version, which wrote no digests, passes.
///
/// # Errors
/// The first file that is damaged, by name.
pub fn verify_checkpoint(
    checkpoint: &Path,
    of_interest: impl Fn(&str) -> bool,
) -> Result<(), CheckpointError> {
    let mut files = read_record(checkpoint)?.files;
    files.retain(|name, _| of_interest(name));
    digest::verify(checkpoint, &files)
}

fn read_record(checkpoint: &Path) -> Result<Record, CheckpointError> {
    let path = checkpoint.join(STATE_FILE);
    let text = fs::read(&path).map_err(CheckpointError::io("read", &path))?;
    serde_json::from_slice(&text)
        .map_err(|error| CheckpointError::Damaged { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> RunState {
        RunState { position: Position { step: 7, epoch: 1, batch: 2 }, order: 2, ..RunState::default() }
    }

    fn at(step: u64) -> RunState {
        RunState { position: Position { step, ..state().position }, ..state() }
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_names_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let good = write_checkpoint(&run, &state(), |_| Ok(())).unwrap();
        assert_eq!(read_state(&good).unwrap(), state());
        let full = |_: &Path| Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        let error = write_checkpoint(&run, &at(8), full).unwrap_err().to_string();
        assert!(error.contains("step 8") && error.contains("step-00000007"), "{error}");
        assert_eq!(run.checkpoints(), [good]);
        assert_eq!(fs::read_dir(run.checkpoints_folder()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_step_can_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        for content in ["a", "b"] {
            let fill = |folder: &Path| -> Result<(), BoxError> { Ok(fs::write(folder.join("x"), content)?) };
            let path = write_checkpoint(&run, &state(), fill).unwrap();
            assert_eq!(fs::read_to_string(path.join("x")).unwrap(), content);
            assert_eq!(fs::read_dir(run.checkpoints_folder()).unwrap().count(), 1);
        }
    }

    #[test]
    fn only_a_job_of_several_processes_writes_how_many() {
        let text = |processes| serde_json::to_string(&RunState { processes, ..state() }).unwrap();
        assert!(!text(1).contains("processes"));
        for processes in [1, 4] {
            let read: RunState = serde_json::from_str(&text(processes)).unwrap();
            assert_eq!(read.processes, processes);
        }
    }

    #[test]
    fn a_damaged_state_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(STATE_FILE), "{\"step\": 3").unwrap();
        let error = read_state(dir.path()).unwrap_err().to_string();
        assert!(error.contains("state.json is damaged"), "{error}");
    }
}
