//! The images of a run: the same on all processes, and those that it began with.

use std::fs;
use std::path::Path;

use checkpoint::{Checkpoint, Position, RunState};
use data::{Changes, DataConfig, DataError, IMAGES_FILE, ImageList, Split};
use distributed::Communicator;

use crate::error::TrainError;
use crate::experiment::{Data, Experiment};
use crate::objective::BoxError;
use crate::plan::Plan;

/// The images that the run of a checkpoint began with; none where it did not list them. Rank 0 reads,
/// and the others hear of it.
pub(crate) fn recorded(
    checkpoint: Option<&Path>,
    communicator: &dyn Communicator,
) -> Result<Option<ImageList>, TrainError> {
    let Some(file) = checkpoint.map(|checkpoint| checkpoint.join(IMAGES_FILE)) else { return Ok(None) };
    let own = match communicator.is_leader() && file.is_file() {
        true => fs::read(&file).map_err(TrainError::io("read", &file))?,
        false => Vec::new(),
    };
    match communicator.all_gather(&own)?.first() {
        Some(bytes) if !bytes.is_empty() => Ok(Some(ImageList::from_bytes(bytes, &file)?)),
        _ => Ok(None),
    }
}

/// The images that an experiment has opened.
///
/// # Errors
/// Another process sees other images.
pub(crate) fn present<E: Experiment>(
    experiment: &E,
    data: &Data,
    communicator: &dyn Communicator,
) -> Result<ImageList, TrainError> {
    let root = experiment.settings().data.root()?;
    let list = ImageList::of(root, &*data.training, data.validation.as_deref());
    if communicator.world_size() > 1 {
        let ranks = communicator.all_gather(&list.fingerprint())?;
        if let Some(rank) = ranks.iter().position(|rank| *rank != ranks[0]) {
            return Err(TrainError::OtherImages { rank });
        }
    }
    Ok(list)
}

/// How the images differ from those that the run of a checkpoint began with.
///
/// # Errors
/// They differ and are not allowed to; images held out that no list names.
pub(crate) fn require_same(
    checkpoint: &Path,
    recorded: Option<&ImageList>,
    present: &ImageList,
    holds_out: bool,
    may_change: bool,
) -> Result<Changes, TrainError> {
    match recorded {
        None if holds_out => Err(DataError::NotRecorded.into()),
        None => Ok(Changes::default()),
        Some(recorded) => {
            let changes = recorded.changes(present);
            if !changes.is_empty() && !may_change {
                return Err(TrainError::ChangedData { checkpoint: checkpoint.to_owned(), changes });
            }
            Ok(changes)
        }
    }
}

/// What is to be said where a run stands elsewhere in its schedule, because an epoch has become longer or
/// shorter.
pub(crate) fn moved(state: &RunState, plan: &Plan) -> Option<String> {
    let Position { step, epoch, batch } = state.position;
    let update = batch / state.split.map_or(plan.accumulate, |split| split.accumulate as u64);
    let (now, end) = (plan.position(step), plan.total_steps);
    ((now.epoch, now.batch / plan.accumulate) != (epoch, update)).then(|| {
        format!(
            "step {step} of {end} stood in epoch {epoch} and stands in epoch {} now, and the learning rate \
             with it",
            now.epoch
        )
    })
}

/// What is to be said where a checkpoint has seen images of another size or normalisation than it is going to
/// be shown.
pub(crate) fn seen_otherwise(source: &Checkpoint, data: &DataConfig) -> Result<Option<String>, BoxError> {
    let Some(theirs) = source.recipe.section::<DataConfig>("data")? else { return Ok(None) };
    let ([height, width], now) = (theirs.image_size.pixels(), data.image_size.pixels());
    let mut differences = Vec::new();
    if [height, width] != now {
        differences.push(format!("{height}×{width} pixels, not {}×{}", now[0], now[1]));
    }
    if (&theirs.mean, &theirs.std) != (&data.mean, &data.std) {
        differences.push("another data.mean or data.std".to_owned());
    }
    if theirs.range != data.range {
        differences.push("another data.range".to_owned());
    }
    let differences = differences.join(" and ");
    Ok((!differences.is_empty()).then(|| format!("the checkpoint has seen images of {differences}")))
}

/// What is to be said where images to validate on are known to the checkpoint that a run starts from.
pub(crate) fn known_to(
    source: &Checkpoint,
    present: &ImageList,
    root: &Path,
) -> Result<Option<String>, BoxError> {
    let Some(list) = ImageList::read(&source.path.join(IMAGES_FILE))? else { return Ok(None) };
    let data: DataConfig = source.recipe.section("data")?.unwrap_or_default();
    let known = list.trained_on(data.root().ok(), &present.only(Split::Val), root).len();
    let labels = if source.recipe.has("finetune") { "with" } else { "without" };
    Ok((known > 0).then(|| {
        format!(
            "{known} of the {} images to validate on were trained on in {}, {labels} labels",
            present.count(Split::Val),
            source.path.display()
        )
    }))
}
