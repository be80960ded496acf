//! The directory of a run: a new one, or one to go on in.

use std::path::{Path, PathBuf};

use checkpoint::{CONFIG_FILE, Checkpoint, CheckpointError, RunDir, RunLock, read_state, verify_checkpoint};
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

/// Where a run goes on from.
#[derive(Debug, Default)]
pub(crate) struct ResumePoint {
    /// The checkpoint, if there is one.
    pub(crate) checkpoint: Option<PathBuf>,
    /// What is wrong with newer ones, as rank 0 sees it.
    pub(crate) damaged: Vec<String>,
}

/// The checkpoint that a run goes on from: a sound one. Rank 0 decides, and the others hear of it.
pub(crate) fn resume_point(
    resume: Option<&Resume>,
    run_dir: &Path,
    communicator: &dyn Communicator,
) -> Result<ResumePoint, TrainError> {
    let own = match resume.filter(|_| communicator.is_leader()) {
        None => ResumePoint::default(),
        Some(Resume::Auto) if !RunDir::is_free(run_dir) => {
            let run = RunDir::open(run_dir)?;
            // While another process trains there, it may be the one that has set something aside.
            if RunLock::require_free(run_dir).is_ok() {
                run.give_back()?;
            }
            newest_sound(&run)?
        }
        Some(Resume::Auto) => ResumePoint::default(),
        Some(Resume::From(path)) => {
            let checkpoint = Some(Checkpoint::sound_folder_of(path)?);
            ResumePoint { checkpoint, damaged: Vec::new() }
        }
    };
    let text = own.checkpoint.map_or(String::new(), |path| path.display().to_string());
    let path = communicator.broadcast_text(&text)?;
    Ok(ResumePoint { checkpoint: (!path.is_empty()).then(|| PathBuf::from(path)), damaged: own.damaged })
}

fn newest_sound(run: &RunDir) -> Result<ResumePoint, TrainError> {
    let (checkpoint, reasons) = run.newest_sound();
    if checkpoint.is_none() && !reasons.is_empty() {
        // Nothing sound to go on from is no reason to begin anew without being asked.
        return Err(CheckpointError::AllDamaged { run_dir: run.path().to_owned(), reasons }.into());
    }
    Ok(ResumePoint { checkpoint, damaged: reasons.iter().map(ToString::to_string).collect() })
}

/// A new run directory, or the one to continue from a [resume point](resume_point), and the right to write
/// there. Rank 0 makes it, and the others hear of it.
pub(crate) fn open_run_directory<C: Config>(
    experiment: &C,
    images: &ImageList,
    start: &Start,
    resumed: Option<&Path>,
    communicator: &dyn Communicator,
) -> Result<(RunDir, Option<RunLock>), TrainError> {
    let own = match communicator.is_leader() {
        true => Some(open_here(experiment, images, start, resumed)?),
        false => None,
    };
    let text = own.as_ref().map_or(String::new(), |(run_dir, _)| run_dir.path().display().to_string());
    let path = communicator.broadcast_text(&text)?;
    Ok(match own {
        Some((run_dir, lock)) => (run_dir, Some(lock)),
        None => (RunDir::of_leader(Path::new(&path)), None),
    })
}

fn open_here<C: Config>(
    experiment: &C,
    images: &ImageList,
    start: &Start,
    resumed: Option<&Path>,
) -> Result<(RunDir, RunLock), TrainError> {
    let path = &start.run_dir;
    require_directory(start)?;
    let replaces = start.overwrite && start.resume.is_none() && !RunDir::is_free(path);
    let run_dir = match replaces || start.resume.is_some() && !RunDir::is_free(path) {
        true => RunDir::open(path)?,
        false => RunDir::create(path)?,
    };
    // Before anything that another process may have written is touched.
    let lock = RunLock::take(path)?;
    let run_dir = if replaces { run_dir.replace()? } else { run_dir.recover()? };
    if let Some(checkpoint) = resumed {
        refuse_to_branch(&run_dir, checkpoint)?;
    }
    let list = images.to_bytes().map_err(TrainError::io("write", path))?;
    run_dir.write(IMAGES_FILE, &list)?;
    run_dir.write(CONFIG_FILE, config::to_toml(experiment)?.as_bytes())?;
    Ok((run_dir, lock))
}

/// Refuses a directory that a run can neither be made in nor go on in.
pub(crate) fn require_directory(start: &Start) -> Result<(), TrainError> {
    let path = &start.run_dir;
    RunLock::require_free(path)?;
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

/// Refuses to leave newer checkpoints of another history behind; those that are damaged are set aside.
fn refuse_to_branch(run_dir: &RunDir, checkpoint: &Path) -> Result<(), TrainError> {
    let own = run_dir.checkpoint(read_state(checkpoint)?.position.step);
    for newer in run_dir.checkpoints().into_iter().filter(|other| *other > own) {
        match verify_checkpoint(&newer, |_| true) {
            Ok(()) => return Err(TrainError::Branch { newer, older: checkpoint.to_owned() }),
            Err(_) => drop(run_dir.set_aside(&newer)?),
        }
    }
    Ok(())
}
