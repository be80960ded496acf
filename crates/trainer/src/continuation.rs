//! What may be different about a run that goes on.

use std::path::Path;

use checkpoint::{Best, CONFIG_FILE, RunDir, copy_best, read_state, verify_checkpoint};
use config::{Change, SectionDoc, changes, load_stored};

use distributed::Communicator;

use crate::error::TrainError;
use crate::experiment::{Experiment, Settings};
use crate::number::readable;
use crate::plan::Plan;
use crate::schedule::CosineSchedule;

/// Compares an experiment with that of the checkpoint that it goes on from, and says which of its
/// settings make its updates other ones from there on, and the learning rate with them.
///
/// # Errors
/// A checkpoint of another experiment; a setting that may not change and has.
pub(crate) fn changes_since<E: Experiment>(
    checkpoint: &Path,
    now: &E,
    plan: &Plan,
) -> Result<Option<String>, TrainError> {
    let before: E = load_stored(&checkpoint.join(CONFIG_FILE))
        .map_err(|reason| TrainError::OtherExperiment { checkpoint: checkpoint.to_owned(), reason })?;
    let said = changes(&before, now, &sections(now))?;
    if said.is_empty() {
        return Ok(None);
    }
    let step = read_state(checkpoint)?.position.step;
    let before = rates(&before.settings(), plan, step);
    Ok(Some(sentence(&said, before, rates(&now.settings(), plan, step))))
}

/// The best network that a checkpoint tells of, if the run directory has it: a run that goes on in another
/// directory brings it along. Rank 0 looks, and the others hear of it.
///
/// # Errors
/// It is there and cannot be copied, or another process has ended.
pub(crate) fn keep_best(
    best: Option<Best>,
    checkpoint: &Path,
    run_dir: &RunDir,
    communicator: &dyn Communicator,
) -> Result<Option<Best>, TrainError> {
    let Some(best) = best else { return Ok(None) };
    let mut found = "";
    if communicator.is_leader() {
        let theirs = checkpoint.with_file_name("best");
        let is_it = |folder: &Path| {
            read_state(folder).is_ok_and(|state| state.best == Some(Best { since: 0, ..best }))
                && verify_checkpoint(folder, |_| true).is_ok()
        };
        if is_it(&run_dir.best()) {
            found = "here";
        } else if is_it(&theirs) {
            copy_best(&theirs, run_dir)?;
            found = "brought";
        }
    }
    Ok((!communicator.broadcast_text(found)?.is_empty()).then_some(best))
}

/// Every section whose keys say whether they may change, also of an experiment that documents none.
fn sections<E: Experiment>(experiment: &E) -> Vec<SectionDoc> {
    let Settings { data, augment, optim, train, log, health, .. } = experiment.settings();
    let mut sections = experiment.sections();
    sections.extend([SectionDoc::of(data), SectionDoc::of(augment), SectionDoc::of(optim)]);
    sections.extend([SectionDoc::of(train), SectionDoc::of(log), SectionDoc::of(health)]);
    sections
}

/// The learning rates of the next update and of the last one, and the number of the last one.
fn rates(settings: &Settings<'_>, plan: &Plan, step: u64) -> (f64, f64, u64) {
    let plan = plan.with_length(settings.train);
    let schedule = CosineSchedule::of(settings.optim, settings.train, plan.effective_batch);
    let at = |step| schedule.lr_at(plan.epoch(step));
    (at(step), at(plan.total_steps.saturating_sub(1)), plan.total_steps)
}

fn sentence(said: &[Change], before: (f64, f64, u64), now: (f64, f64, u64)) -> String {
    let said: Vec<_> = said.iter().map(ToString::to_string).collect();
    let said = said.join(", ");
    match before == now {
        true => format!("{said} from here on"),
        false => format!(
            "the schedule changes: {said}; learning rate {} → {} now and {} → {} at the end, \
             step {} → {}",
            readable(before.0),
            readable(now.0),
            readable(before.1),
            readable(now.1),
            before.2,
            now.2
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::{Position, RunState, write_best, write_checkpoint};

    #[test]
    fn the_best_network_comes_along_if_it_is_the_one() {
        let dir = tempfile::tempdir().unwrap();
        let [run, elsewhere] = ["a", "b"].map(|name| RunDir::create(&dir.path().join(name)).unwrap());
        let best = |step, since| Some(Best { score: 0.5, step, ema: false, since });
        let state = |step, best| RunState {
            position: Position { step, epoch: 0, batch: 0 },
            best,
            evaluated: Some(step),
            ..RunState::default()
        };
        let fill = |folder: &Path| Ok(std::fs::write(folder.join("x"), "weights")?);
        write_best(&run, &state(4, best(4, 0)), fill).unwrap();
        let checkpoint = write_checkpoint(&run, &state(8, best(4, 1)), |_| Ok(())).unwrap();
        let keep = |best, to| keep_best(best, &checkpoint, to, &distributed::Single).unwrap();
        assert_eq!(keep(best(2, 0), &elsewhere), None, "that of step 2 has been replaced");
        assert!(!elsewhere.best().exists());
        assert_eq!(keep(best(4, 1), &elsewhere), best(4, 1));
        assert_eq!(std::fs::read_to_string(elsewhere.best().join("x")).unwrap(), "weights");
        assert_eq!(keep(best(4, 1), &run), best(4, 1));
        assert_eq!(keep(None, &run), None);
    }

    #[test]
    fn a_changed_schedule_is_said_with_its_rates() {
        let change = |key: &str, now: i64| Change {
            key: key.to_owned(),
            before: Some(4.into()),
            now: Some(now.into()),
        };
        let said = sentence(&[change("train.epochs", 8)], (0.5, 0.0, 40), (0.75, 0.0, 80));
        let expected = "the schedule changes: train.epochs 4 → 8; learning rate 0.5000 → 0.7500 now and 0 → 0 at \
                        the end, step 40 → 80";
        assert_eq!(said, expected);
        let same = (0.5, 0.0, 40);
        assert_eq!(
            sentence(&[change("optim.clip_grad", 1)], same, same),
            "optim.clip_grad 4 → 1 from here on"
        );
    }
}
