//! Looks at the health of a run under way.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use host::caught;
use serde::{Deserialize, Serialize};

use super::{Session, Trainer, due};
use crate::error::TrainError;
use crate::health::{Health, LayerUpdates, Look, judge, looks_of};
use crate::objective::Objective;
use crate::update::State;
use crate::watchdog::Doing;
use checkpoint::HEALTH_PENDING_FILE;

/// What is known of looks.
#[derive(Default)]
pub(super) struct Looks {
    /// Updates after which the run was looked at last.
    last: Option<u64>,
    /// What the last update that was watched did.
    layers: Option<Watched>,
    /// What was seen so far, on rank 0: the log may be on a disk that is full.
    seen: Vec<Look>,
}

/// What an update did, which its look has yet to tell: also after the run was interrupted between the two.
#[derive(Serialize, Deserialize)]
struct Watched {
    step: u64,
    #[serde(flatten)]
    updates: LayerUpdates,
}

impl<O: Objective> Trainer<O> {
    fn pending(&self) -> PathBuf {
        self.run_dir.path().join(HEALTH_PENDING_FILE)
    }

    /// What the run directory tells of looks, to a run that goes on after `step` updates. Rank 0 reads, and
    /// the others hear of it.
    pub(super) fn looks(&self, step: u64) -> Result<Looks, TrainError> {
        if self.health.is_none() {
            return Ok(Looks::default());
        }
        let (mut last, mut layers, mut seen) = (None, None, Vec::new());
        if self.communicator.is_leader() {
            seen = looks_of(&self.run_dir.log())?;
            last = seen.last().map(|look| look.step);
            // Half a file, or that of another update, tells nothing.
            let found = fs::read(self.pending()).ok().and_then(|text| serde_json::from_slice(&text).ok());
            layers = found.filter(|watched: &Watched| watched.step == step);
        }
        let last = self.communicator.broadcast_text(&last.map_or(String::new(), |step| step.to_string()))?;
        Ok(Looks { last: last.parse().ok(), layers, seen })
    }
}

impl<O: Objective> Session<'_, O> {
    /// Whether the update that makes it so many may be followed by a look: one is due then, or the run may
    /// end with the evaluation that is.
    pub(super) fn is_watched(&self, step: u64) -> bool {
        let Trainer { plan, health, evaluation, .. } = self.trainer;
        let Some(health) = health else { return false };
        let patient = evaluation.filter(|evaluation| evaluation.patience.is_some());
        let intervals = [Some(health.every_epochs), patient.map(|evaluation| evaluation.every_epochs)];
        let at_end = step >= plan.total_steps;
        intervals.into_iter().flatten().any(|epochs| due(step, epochs * plan.steps_per_epoch(), at_end))
    }

    /// Keeps what an update did for the look behind it.
    pub(super) fn keep_layers(&mut self, step: u64, updates: Option<LayerUpdates>) {
        let Some(updates) = updates else { return };
        let watched = Watched { step, updates };
        if self.trainer.communicator.is_leader() {
            let text = serde_json::to_vec(&watched).unwrap_or_default();
            // Without it only a run that is interrupted before the look knows less.
            let _ = self.trainer.run_dir.write(HEALTH_PENDING_FILE, &text);
        }
        self.looks.layers = Some(watched);
    }

    /// Looks at the network where that is due, and says how the run is. A run that is interrupted leaves it
    /// to the one that goes on.
    pub(super) fn look_if_due(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let Some(health) = self.trainer.health else { return Ok(()) };
        let at_end = self.has_ended() || self.outcome.stopped_early;
        let due = due(state.step, health.every_epochs * self.trainer.plan.steps_per_epoch(), at_end);
        if !due || self.looks.last == Some(state.step) || self.outcome.interrupted.is_some() {
            return Ok(());
        }
        self.settle()?;
        self.watchdog.moves(Doing::Health);
        let pause = Instant::now();
        let objective = &self.trainer.objective;
        let measured = caught(self.device_name(), || objective.health(&state.model.valid(), self.stop));
        self.interval.pause(pause.elapsed());
        let measured = match measured {
            Err(failure) if self.trainer.communicator.world_size() > 1 => {
                return Err(self.without_device(failure));
            }
            measured => measured.unwrap_or_else(|failure| Err(failure.into())),
        };
        let measures = match measured {
            // What is only looked at need not stop a run. Of several processes the others may wait for this one.
            Err(error) if self.trainer.communicator.world_size() == 1 => {
                self.warn(format!("the health of the run cannot be looked at: {error}"));
                None
            }
            measured => measured.map_err(TrainError::Objective)?,
        };
        if self.stop.was_given() {
            self.interrupt();
            return Ok(());
        }
        self.looks.last = Some(state.step);
        self.watchdog.moves(Doing::Writing);
        let (Some(measures), Some(log)) = (measures, &mut self.log) else { return Ok(()) };
        let layers = self.looks.layers.take().filter(|watched| watched.step == state.step);
        let updates = layers.map_or_else(LayerUpdates::default, |watched| watched.updates);
        let (step, epoch) = (state.step, self.trainer.plan.epoch(state.step));
        let before = &self.looks.seen;
        let (verdict, reason) = judge(before, epoch, &measures, &updates);
        let look = Look { step, epoch, health: Health { verdict, reason, measures, updates } };
        log.health(&look);
        self.progress.health(&look, before);
        self.looks.seen.push(look);
        // One that stays is that of another update the next time.
        let _ = fs::remove_file(self.trainer.pending());
        Ok(())
    }
}
