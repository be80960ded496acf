//! The directory of a run.
//!
//! ```text
//! runs/NAME/
//!   config.toml     the resolved configuration
//!   images.csv.gz   the images that are trained on and those that are held out
//!   log.jsonl       one line per log interval, evaluation and look at the health of the run
//!   tensorboard/    the same, and pictures
//!   samples/        pictures
//!   results.json    how the run ended
//!   machine.json    what it is computed on
//!   checkpoints/step-00000100/{model.safetensors, optimizer.safetensors, state.json, config.toml, images.csv.gz}
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::CheckpointError;
use crate::files::{HEALTH_PENDING_FILE, STATE_FILE};
use crate::folder::verify_checkpoint;

const STEP: &str = "step-";
/// What is put before the name of a checkpoint that cannot be used.
const DAMAGED: &str = "damaged-";
/// Files that runs, or reports on them, write beside their folders.
const WRITTEN: [&str; 9] = [
    "config.toml",
    "images.csv.gz",
    "log.jsonl",
    "results.json",
    "machine.json",
    "curves.png",
    "health.png",
    HEALTH_PENDING_FILE,
    REPORT_FILE,
];
/// The page that `train-cli report` writes.
pub const REPORT_FILE: &str = "report.html";

/// A run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes a new one, writable and empty.
    ///
    /// # Errors
    /// It exists and is not empty, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, CheckpointError> {
        match fs::read_dir(path) {
            Ok(_) if !is_empty(path) => return Err(CheckpointError::RunExists(path.to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CheckpointError::io("use as run directory", path)(error));
            }
            _ => {}
        }
        Self(path.to_owned()).with_folders()
    }

    /// Opens an existing one.
    ///
    /// # Errors
    /// It is not the directory of a run.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let run = Self(path.to_owned());
        let folder = run.checkpoints_folder();
        if !folder.is_dir() {
            return Err(CheckpointError::NoRun(path.to_owned()));
        }
        Ok(run)
    }

    /// Removes what a run has written, and makes its folders anew. Whatever else lies there stays.
    ///
    /// # Errors
    /// Something cannot be removed, or it cannot be written.
    pub fn replace(self) -> Result<Self, CheckpointError> {
        for folder in [self.checkpoints_folder(), self.samples(), self.tensorboard()] {
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(CheckpointError::io("remove", &folder))?;
            }
        }
        for file in WRITTEN.map(|name| self.0.join(name)) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CheckpointError::io("remove", &file)(error));
                }
                _ => {}
            }
        }
        self.with_folders()
    }

    fn with_folders(self) -> Result<Self, CheckpointError> {
        for folder in [self.checkpoints_folder(), self.samples(), self.tensorboard()] {
            fs::create_dir_all(&folder).map_err(CheckpointError::io("create", &folder))?;
        }
        Ok(self)
    }

    /// Whether a new one can be made there: nothing is there yet, or an empty folder.
    pub fn is_free(path: &Path) -> bool {
        !path.exists() || is_empty(path)
    }

    /// That of another process, which alone writes there; it need not exist on this machine.
    pub fn of_leader(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Gives checkpoints their names back that a process which was killed had set aside to replace them.
    ///
    /// # Errors
    /// One cannot be renamed.
    pub fn give_back(&self) -> Result<(), CheckpointError> {
        Ok(whole::give_back_all(&self.checkpoints_folder())?)
    }

    /// Clears up after a process that was killed: what it left half-written is removed, what it had set aside
    /// is given back, and folders that it had not come to are made. Only for the process that writes.
    ///
    /// # Errors
    /// Something cannot be removed or made.
    pub fn recover(self) -> Result<Self, CheckpointError> {
        whole::recover(&self.checkpoints_folder())?;
        self.with_folders()
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of the run as a whole, such as its configuration.
    ///
    /// # Errors
    /// It cannot be written; an earlier one then stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        Ok(whole::write(&self.0.join(name), bytes)?)
    }

    /// The picture of the log.
    pub fn curves(&self) -> PathBuf {
        self.0.join("curves.png")
    }

    /// The picture of what was measured of the run's health.
    pub fn health(&self) -> PathBuf {
        self.0.join("health.png")
    }

    /// The folder of pictures.
    pub fn samples(&self) -> PathBuf {
        self.0.join("samples")
    }

    /// The folder of TensorBoard events.
    pub fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// The file of the log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    pub(crate) fn checkpoints_folder(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Where the checkpoint of a step goes.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints_folder().join(format!("{STEP}{step:08}"))
    }

    /// Where the best network goes.
    pub fn best(&self) -> PathBuf {
        self.checkpoints_folder().join("best")
    }

    /// Complete checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.checkpoints_folder()) else { return Vec::new() };
        let step_of =
            |path: &PathBuf| -> Option<u64> { path.file_name()?.to_str()?.strip_prefix(STEP)?.parse().ok() };
        let mut found: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.join(STATE_FILE).is_file())
            .filter_map(|path| Some((step_of(&path)?, path)))
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// The newest complete checkpoint.
    pub fn latest_checkpoint(&self) -> Option<PathBuf> {
        self.checkpoints().pop()
    }

    /// The newest checkpoint whose files are all what was written, and what is wrong with each newer one,
    /// newest first.
    pub fn newest_sound(&self) -> (Option<PathBuf>, Vec<CheckpointError>) {
        let mut damaged = Vec::new();
        for path in self.checkpoints().into_iter().rev() {
            match verify_checkpoint(&path, |_| true) {
                Ok(()) => return (Some(path), damaged),
                Err(error) => damaged.push(error),
            }
        }
        (None, damaged)
    }

    /// Renames a checkpoint that cannot be used, so that it is none any more.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self, checkpoint: &Path) -> Result<PathBuf, CheckpointError> {
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.checkpoints_folder().join(format!("{DAMAGED}{name}"));
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(CheckpointError::io("remove", &aside))?;
        }
        fs::rename(checkpoint, &aside).map_err(CheckpointError::io("set aside", checkpoint))?;
        Ok(aside)
    }

    /// Removes all but the newest `count` checkpoints; 0 keeps all.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn keep_last(&self, count: usize) -> Result<(), CheckpointError> {
        let checkpoints = self.checkpoints();
        let excess = if count == 0 { 0 } else { checkpoints.len().saturating_sub(count) };
        for path in &checkpoints[..excess] {
            // Renamed first, so that a process killed in between leaves no half checkpoint behind.
            let doomed = whole::part_of(path);
            fs::rename(path, &doomed).map_err(CheckpointError::io("remove", path))?;
            fs::remove_dir_all(&doomed).map_err(CheckpointError::io("remove", &doomed))?;
        }
        Ok(())
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::error::BoxError;
    use crate::folder::{Position, RunState, write_checkpoint};

    fn complete(run: &RunDir, step: u64) -> PathBuf {
        let path = run.checkpoint(step);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(STATE_FILE), "{}").unwrap();
        path
    }

    #[test]
    fn an_existing_run_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        RunDir::create(&path).unwrap();
        let message = RunDir::create(&path).unwrap_err().to_string();
        assert!(message.contains("--resume auto"), "{message}");
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(RunDir::create(&dir.path().join("file")).is_err());
        assert!(RunDir::create(&dir.path().join("file/run")).is_err());
        assert!(matches!(RunDir::open(dir.path()), Err(CheckpointError::NoRun(_))));
        fs::write(path.join("log.jsonl"), "{}").unwrap();
        fs::create_dir(path.join("photos")).unwrap();
        let replaced = RunDir::open(&path).unwrap().replace().unwrap();
        assert!(!replaced.log().exists() && replaced.samples().is_dir() && path.join("photos").is_dir());
    }

    #[test]
    fn only_complete_checkpoints_count_and_the_newest_wins() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        assert_eq!(run.latest_checkpoint(), None);
        let paths: Vec<_> = [5, 100, 20].into_iter().map(|step| complete(&run, step)).collect();
        fs::create_dir_all(run.checkpoint(300)).unwrap();
        fs::create_dir_all(run.checkpoints_folder().join(".step-00000400.part")).unwrap();
        assert_eq!(run.latest_checkpoint(), Some(paths[1].clone()));
        run.keep_last(0).unwrap();
        assert_eq!(run.checkpoints().len(), 3);
        run.keep_last(2).unwrap();
        assert_eq!(run.checkpoints(), [paths[2].clone(), paths[1].clone()]);
        let run = run.recover().unwrap();
        assert!(!run.checkpoints_folder().join(".step-00000400.part").exists());
        // As a kill leaves it between the two renamings of a replacement.
        fs::create_dir_all(run.best()).unwrap();
        fs::rename(run.best(), run.checkpoints_folder().join(".best.old")).unwrap();
        let run = run.recover().unwrap();
        assert!(run.best().is_dir());
    }

    /// A checkpoint of a run that was written as a run writes one.
    fn written(run: &RunDir, step: u64) -> PathBuf {
        let state = RunState { position: Position { step, ..Position::default() }, ..RunState::default() };
        let fill = |folder: &Path| -> Result<(), BoxError> {
            Ok(["model.safetensors", "optimizer.safetensors", "config.toml"]
                .into_iter()
                .try_for_each(|name| fs::write(folder.join(name), format!("{name} of step {step}")))?)
        };
        write_checkpoint(run, &state, fill).unwrap()
    }

    #[test]
    fn the_newest_sound_checkpoint_is_found_whatever_happened_to_newer_ones() {
        type Damage = fn(&Path) -> io::Result<()>;
        let damages: [(&str, Damage); 6] = [
            ("its bytes are not", |folder| fs::write(folder.join("model.safetensors"), [0; 29])),
            ("it holds 5 bytes, 33 were written", |folder| {
                fs::write(folder.join("optimizer.safetensors"), "short")
            }),
            ("it is missing", |folder| fs::remove_file(folder.join("config.toml"))),
            ("its bytes are not", |folder| {
                let path = folder.join("model.safetensors");
                let mut bytes = fs::read(&path)?;
                bytes[3] ^= 1;
                fs::write(path, bytes)
            }),
            ("state.json is damaged", |folder| fs::write(folder.join(STATE_FILE), "")),
            ("state.json is damaged", |folder| fs::write(folder.join(STATE_FILE), [0; 40])),
        ];
        for (expected, damage) in damages {
            let dir = tempfile::tempdir().unwrap();
            let run = RunDir::create(&dir.path().join("run")).unwrap();
            let [sound, newer] = [100, 200].map(|step| written(&run, step));
            assert_eq!(run.newest_sound().0, Some(newer.clone()));
            damage(&newer).unwrap();
            let (found, damaged) = run.newest_sound();
            assert_eq!(found, Some(sound.clone()));
            let [reason] = &damaged[..] else { panic!("{damaged:?}") };
            let reason = reason.to_string();
            assert!(reason.contains(expected) && reason.contains("step-00000200"), "{reason}");
            let error = Checkpoint::sound_folder_of(&newer).unwrap_err().to_string();
            assert!(error.contains("step-00000100 is sound, name it instead"), "{error}");
            // For a network alone, only its weights matter, and what says that they are these.
            let matters = expected.contains("its bytes") || expected.contains("state.json");
            assert_eq!(Checkpoint::require_sound(&newer).is_err(), matters, "{expected}");
            let aside = run.set_aside(&newer).unwrap();
            assert!(aside.is_dir() && run.checkpoints() == [sound]);
            assert!(run.newest_sound().1.is_empty());
        }
    }
}
