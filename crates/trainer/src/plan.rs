//! The length of a run, and where in the data each of its updates stands.

use checkpoint::{Pace, Position, RunState, Split};

use crate::sections::TrainConfig;

/// How long a run is and how its updates relate to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Batches that one process makes of the data in an epoch; those that fill no accumulation group
    /// are dropped.
    pub batches_per_epoch: u64,
    /// Batches of an update, of each process.
    pub accumulate: u64,
    /// Processes that train together.
    pub processes: usize,
    /// Images of an update, over all processes.
    pub effective_batch: usize,
    /// Updates after which the run ends.
    pub total_steps: u64,
    /// How the schedule advances: with the batches that the run began with.
    pub pace: Pace,
}

impl Plan {
    /// The plan for data of so many batches an epoch, shared by so many processes.
    pub fn new(train: &TrainConfig, batches_per_epoch: u64, processes: usize) -> Self {
        let accumulate = train.accumulate as u64;
        let plan = Self {
            batches_per_epoch,
            accumulate,
            processes,
            effective_batch: train.batch_size * train.accumulate * processes,
            total_steps: 0,
            pace: Pace { batches_per_epoch, accumulate },
        };
        plan.with_length(train)
    }

    /// The same as long as other settings make it.
    pub(crate) fn with_length(self, train: &TrainConfig) -> Self {
        let whole = train.epochs * self.steps_per_epoch();
        Self { total_steps: train.max_steps.map_or(whole, |max| whole.min(max)), ..self }
    }

    /// The same for a run that goes on: its schedule keeps its pace, unless an epoch has other updates now.
    pub(crate) fn going_on(self, state: &RunState) -> Self {
        let keeps = |pace: &Pace| pace.batches_per_epoch / pace.accumulate.max(1) == self.steps_per_epoch();
        Self { pace: state.pace.filter(keeps).unwrap_or(self.pace), ..self }
    }

    /// What one process computes of an update.
    pub(crate) fn split(&self) -> Split {
        let accumulate = self.accumulate as usize;
        Split { batch_size: self.effective_batch / (self.processes * accumulate), accumulate }
    }

    /// Updates of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.batches_per_epoch / self.accumulate
    }

    /// Where the data stand after `step` updates.
    pub fn position(&self, step: u64) -> Position {
        let (epoch, group) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        Position { step, epoch, batch: group * self.accumulate }
    }

    /// The same as a fraction of epochs, on which the schedule depends. As in the official code,
    /// dropped batches count: those of the batches that the run began with, so that the schedule is the same
    /// for whoever goes on with it.
    pub fn epoch(&self, step: u64) -> f64 {
        let (epoch, group) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let Pace { batches_per_epoch, accumulate } = self.pace;
        epoch as f64 + (group * accumulate) as f64 / batches_per_epoch as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_whole_updates_and_epochs_count_dropped_batches() {
        let train = TrainConfig { batch_size: 3, accumulate: 2, epochs: 4, ..TrainConfig::default() };
        // Seven batches an epoch fill three updates of two; one batch is dropped.
        let plan = Plan::new(&train, 7, 2);
        assert_eq!((plan.steps_per_epoch(), plan.total_steps, plan.effective_batch), (3, 12, 12));
        assert_eq!(plan.position(5), Position { step: 5, epoch: 1, batch: 4 });
        assert_eq!(plan.epoch(5), 1.0 + 4.0 / 7.0);
        // Two processes with whole updates in one batch: the same updates, the same schedule.
        let before = RunState { pace: Some(plan.pace), ..RunState::default() };
        let others = Plan::new(&TrainConfig { batch_size: 6, accumulate: 1, ..train.clone() }, 3, 2);
        assert_eq!(others.epoch(5), 1.0 + 2.0 / 3.0);
        assert_eq!(others.going_on(&before).epoch(5), 1.0 + 4.0 / 7.0);
        assert_eq!(others.going_on(&before).position(5), Position { step: 5, epoch: 1, batch: 2 });
        assert_eq!((plan.split().batch_size, others.split().accumulate), (3, 1));
        // Of other data.
        let longer = Plan::new(&train, 12, 2);
        assert_eq!(longer.going_on(&before), longer);
        let shorter = Plan::new(&TrainConfig { max_steps: Some(5), ..train }, 7, 2);
        assert_eq!(shorter.total_steps, 5);
    }
}
