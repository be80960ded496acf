//! Checkpoints, written so that a process killed at any moment leaves the last one intact.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::Position;
use crate::error::TrainError;
use crate::evaluation::Best;
use crate::run_dir::{RunDir, TEMPORARY};

/// Where the run stands; the last file of a checkpoint to be written.
pub const STATE_FILE: &str = "state.json";
/// The run's configuration, copied into each checkpoint so that one can be used by itself.
const CONFIG_FILE: &str = "config.toml";

/// What a checkpoint says of its run, beside weights and moments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// The best network so far, if any was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Processes that trained it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub processes: usize,
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
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<PathBuf, TrainError> {
    write_folder(run, state, fill, run.checkpoint(state.position.step))
}

/// Writes the best network of a run in the same way.
///
/// # Errors
/// As [`write_checkpoint`].
pub(crate) fn write_best(
    run: &RunDir,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<PathBuf, TrainError> {
    write_folder(run, state, fill, run.best())
}

fn write_folder(
    run: &RunDir,
    state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
    path: PathBuf,
) -> Result<PathBuf, TrainError> {
    let step = state.position.step;
    let temporary = run.checkpoints_folder().join(format!("{TEMPORARY}{step}"));
    write_and_rename(run, state, fill, &temporary, &path).map_err(|reason| {
        // Best effort: the reason of the failure matters more than that of a failed clean-up.
        let _ = fs::remove_dir_all(&temporary);
        let reason = Box::new(reason);
        TrainError::Checkpoint { step, reason, checkpoint: run.latest_checkpoint() }
    })?;
    Ok(path)
}

fn write_and_rename(
    run: &RunDir,
    run_state: &RunState,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
    temporary: &Path,
    path: &Path,
) -> Result<(), TrainError> {
    if temporary.exists() {
        fs::remove_dir_all(temporary).map_err(TrainError::io("remove", temporary))?;
    }
    fs::create_dir_all(temporary).map_err(TrainError::io("create", temporary))?;
    fill(temporary)?;
    let config = run.path().join(CONFIG_FILE);
    if config.is_file() {
        let copy = temporary.join(CONFIG_FILE);
        fs::copy(&config, &copy).map_err(TrainError::io("copy", &config))?;
        sync(&copy)?;
    }
    let state = temporary.join(STATE_FILE);
    let json =
        serde_json::to_string(run_state).map_err(|error| TrainError::io("write", &state)(error.into()))?;
    fs::write(&state, json + "\n").map_err(TrainError::io("write", &state))?;
    sync(&state)?;
    sync(temporary)?;
    replace(path, temporary, &run.checkpoints_folder())
}

/// Renames `temporary` to `path`. A checkpoint of the same step, which a run resumed from an earlier
/// one finds, is set aside first: removed in place, it would look complete while only half of its
/// files are left.
fn replace(path: &Path, temporary: &Path, folder: &Path) -> Result<(), TrainError> {
    let aside = folder.join(format!("{TEMPORARY}replaced"));
    let replaces = path.exists();
    if replaces {
        fs::rename(path, &aside).map_err(TrainError::io("set aside", path))?;
    }
    if let Err(error) = fs::rename(temporary, path) {
        if replaces {
            // Best effort: the reason of the failure matters more.
            let _ = fs::rename(&aside, path);
        }
        return Err(TrainError::io("rename", temporary)(error));
    }
    sync(folder)?;
    if replaces {
        fs::remove_dir_all(&aside).map_err(TrainError::io("remove", &aside))?;
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TrainError::io("write", path))
}

/// Where the run of a checkpoint stands.
///
/// # Errors
/// The file is missing or damaged.
pub fn read_state(checkpoint: &Path) -> Result<RunState, TrainError> {
    let path = checkpoint.join(STATE_FILE);
    let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
    serde_json::from_str(&text).map_err(|error| TrainError::Damaged { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: RunState =
        RunState { position: Position { step: 7, epoch: 1, batch: 2 }, best: None, processes: 1 };

    fn at(step: u64) -> RunState {
        RunState { position: Position { step, ..STATE.position }, ..STATE }
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_names_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let good = write_checkpoint(&run, &STATE, |_| Ok(())).unwrap();
        assert_eq!(read_state(&good).unwrap(), STATE);
        let full = |_: &Path| Err(TrainError::io("write", "model")(std::io::ErrorKind::StorageFull.into()));
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
            let fill =
                |folder: &Path| fs::write(folder.join("x"), content).map_err(TrainError::io("write", folder));
            let path = write_checkpoint(&run, &STATE, fill).unwrap();
            assert_eq!(fs::read_to_string(path.join("x")).unwrap(), content);
            assert_eq!(fs::read_dir(run.checkpoints_folder()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_replacement_that_fails_gives_the_old_checkpoint_back() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let good = write_checkpoint(&run, &STATE, |_| Ok(())).unwrap();
        let error = replace(&good, &dir.path().join("nothing"), &run.checkpoints_folder()).unwrap_err();
        assert!(error.to_string().contains("cannot rename"), "{error}");
        assert_eq!(read_state(&good).unwrap(), STATE);
        assert_eq!(fs::read_dir(run.checkpoints_folder()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_job_of_several_processes_writes_how_many() {
        let text = |processes| serde_json::to_string(&RunState { processes, ..STATE }).unwrap();
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
