//! How a run begins: where, and with which weights.

use std::path::{Path, PathBuf};

use checkpoint::{Allow, CONFIG_FILE, Checkpoint, Recipe};

use crate::error::TrainError;
use crate::experiment::{Context, Experiment};
use crate::objective::BoxError;
use crate::run_directory::Resume;

/// What opens the checkpoint that a run starts from.
pub type ReadCheckpoint = dyn Fn(&Path, &Allow) -> Result<Checkpoint, BoxError>;

/// How a run begins.
pub struct Start {
    /// The run directory.
    pub run_dir: PathBuf,
    /// Whether it replaces the run that the directory holds.
    pub overwrite: bool,
    /// What to go on from, if the run is not new.
    pub resume: Option<Resume>,
    /// Whether it goes on although images are new, gone or changed.
    pub allow_changed_data: bool,
    /// The weights of a new run.
    pub init: Init,
    /// Which differences between their checkpoint and the network are no errors.
    pub allow: Allow,
    /// Reads it; by default [`Checkpoint::open`], which knows this project's own.
    pub read: Box<ReadCheckpoint>,
}

impl Start {
    /// A new run with random weights, in a directory that is new or empty.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        let read = Box::new(|path: &Path, _: &Allow| Ok(Checkpoint::open(path)?));
        Self {
            run_dir: run_dir.into(),
            overwrite: false,
            resume: None,
            allow_changed_data: false,
            init: Init::Unstated,
            allow: Allow::default(),
            read,
        }
    }
}

/// The weights that a new run starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Init {
    /// Random ones, since nobody said anything.
    #[default]
    Unstated,
    /// Random ones, as asked for.
    Random,
    /// Those of a checkpoint.
    Checkpoint(PathBuf),
}

/// What stands for random weights where a checkpoint could be named.
const RANDOM: &str = "none";

impl From<Option<PathBuf>> for Init {
    fn from(path: Option<PathBuf>) -> Self {
        match path {
            None => Self::Unstated,
            Some(path) if path == Path::new(RANDOM) => Self::Random,
            Some(path) => Self::Checkpoint(path),
        }
    }
}

impl Init {
    /// The checkpoint, if it is one.
    pub fn checkpoint(&self) -> Option<&Path> {
        match self {
            Self::Checkpoint(path) => Some(path),
            Self::Unstated | Self::Random => None,
        }
    }

    /// As a configuration names it.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        match self {
            Self::Unstated => None,
            Self::Random => Some(RANDOM.into()),
            Self::Checkpoint(path) => Some(path.clone()),
        }
    }
}

/// The checkpoint that a new run starts from; none for one that goes on, and on processes other than rank
/// 0, which get their weights from it.
pub(crate) fn read_source(
    start: &Start,
    resumed: Option<&Path>,
    context: &Context,
) -> Result<Option<Checkpoint>, TrainError> {
    match start.init.checkpoint().filter(|_| resumed.is_none() && context.communicator.is_leader()) {
        None => Ok(None),
        Some(path) => {
            let source = (start.read)(path, &start.allow);
            source.map(Some).map_err(|error| TrainError::Experiment(cannot_start(path, error)))
        }
    }
}

/// Lets an experiment take from the checkpoint that it starts from, or goes on from, what it leaves open.
/// Rank 0 reads, and the others hear of it.
pub(crate) fn adopt<E: Experiment>(
    experiment: &mut E,
    source: Option<&Checkpoint>,
    resumed: Option<&Path>,
    context: &Context,
) -> Result<(), TrainError> {
    let here = resumed.filter(|_| context.communicator.is_leader());
    let own = match (source, here) {
        (Some(source), _) => source.recipe.to_toml(),
        (None, Some(checkpoint)) => Recipe::load(&checkpoint.join(CONFIG_FILE))?.to_toml(),
        (None, None) => String::new(),
    };
    let text = context.communicator.broadcast_text(&own)?;
    if text.is_empty() {
        return Ok(());
    }
    let recipe = Recipe::from_text(Path::new(CONFIG_FILE), text)?;
    experiment.adopt(&recipe, resumed.is_some()).map_err(TrainError::Experiment)
}

pub(crate) fn cannot_start(path: &Path, error: BoxError) -> BoxError {
    format!("cannot start from {}: {error}", path.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_weights_are_asked_for_or_not() {
        for (named, init) in [
            (None, Init::Unstated),
            (Some("none".into()), Init::Random),
            (Some("runs/a".into()), Init::Checkpoint("runs/a".into())),
        ] {
            assert_eq!(Init::from(named.clone()), init);
            assert_eq!(init.named(), named);
        }
        assert_eq!(Init::Checkpoint("a".into()).checkpoint(), Some(Path::new("a")));
        assert_eq!(Init::Random.checkpoint(), None);
    }
}
