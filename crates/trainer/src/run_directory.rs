//! The directory of a run: a new one, or one to go on in.

use std::path::{Path, PathBuf};

use checkpoint::{CONFIG_FILE, Checkpoint, CheckpointError, RunDir, read_state};
use config::Config;
use data::{IMAGES_FILE, ImageList};
use distributed::Communicator;

use crate::error::TrainError;
use crate::start::Start;

/// What a run goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// The newest checkpoint of the run directory; from the beginning if there is none yet.
    Auto,
    /// A certain checkpoint, or the newest one of another run.
    From(PathBuf),
}

/// The checkpoint that a run goes on from, if there is one. Rank 0 decides, and the others hear of it.
pub(crate) fn resume_point(
    resume: Option<&Resume>,
    run_dir: &Path,
    communicator: &dyn Communicator,
) -> Result<Option<PathBuf>, TrainError> {
    let own = match resume.filter(|_| communicator.is_leader()) {
        None => None,
        Some(Resume::Auto) if run_dir.exists() => RunDir::open(run_dir)?.latest_checkpoint(),
        Some(Resume::Auto) => None,
        Some(Resume::From(checkpoint)) => Some(Checkpoint::folder_of(checkpoint)?),
    };
    let text = own.map_or(String::new(), |path| path.display().to_string());
    let path = communicator.broadcast_text(&text)?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// A new run directory, or the one to continue from a [resume point](resume_point). Rank 0 makes it,
/// and the others hear of it.
pub(crate) fn open_run_directory<C: Config>(
    experiment: &C,
    images: &ImageList,
    start: &Start,
    resumed: Option<&Path>,
    communicator: &dyn Communicator,
) -> Result<RunDir, TrainError> {
    let own = match communicator.is_leader() {
        true => Some(open_here(experiment, images, start, resumed)?),
        false => None,
    };
    let text = own.as_ref().map_or(String::new(), |run_dir| run_dir.path().display().to_string());
    let path = communicator.broadcast_text(&text)?;
    Ok(own.unwrap_or_else(|| RunDir::of_leader(Path::new(&path))))
}

fn open_here<C: Config>(
    experiment: &C,
    images: &ImageList,
    start: &Start,
    resumed: Option<&Path>,
) -> Result<RunDir, TrainError> {
    let path = &start.run_dir;
    require_directory(start)?;
    let run_dir = match path.exists() {
        true if start.resume.is_some() => RunDir::open(path)?,
        true if start.overwrite && !RunDir::is_free(path) => RunDir::open(path)?.replace()?,
        _ => RunDir::create(path)?,
    };
    if let Some(checkpoint) = resumed {
        refuse_to_branch(&run_dir, checkpoint)?;
    }
    let list = images.to_bytes().map_err(TrainError::io("write", path))?;
    run_dir.write(IMAGES_FILE, &list)?;
    run_dir.write(CONFIG_FILE, config::to_toml(experiment)?.as_bytes())?;
    Ok(run_dir)
}

/// Refuses a directory that a run can neither be made in nor go on in.
pub(crate) fn require_directory(start: &Start) -> Result<(), TrainError> {
    let path = &start.run_dir;
    if start.resume.is_some() || RunDir::is_free(path) {
        return Ok(());
    }
    if !start.overwrite {
        return Err(CheckpointError::RunExists(path.clone()).into());
    }
    RunDir::open(path)?;
    let within = |other: &Path| match (other.canonicalize(), path.canonicalize()) {
        (Ok(other), Ok(path)) => other.starts_with(path),
        _ => false,
    };
    match start.init.checkpoint().filter(|init| within(init)) {
        Some(init) => Err(TrainError::WouldRemove(init.to_owned())),
        None => Ok(()),
    }
}

fn refuse_to_branch(run_dir: &RunDir, checkpoint: &Path) -> Result<(), TrainError> {
    let step = read_state(checkpoint)?.position.step;
    match run_dir.latest_checkpoint() {
        Some(newer) if read_state(&newer)?.position.step > step => {
            Err(TrainError::Branch { newer, older: checkpoint.to_owned() })
        }
        _ => Ok(()),
    }
}
