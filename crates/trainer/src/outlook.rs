//! What is left of a run, and the time and memory that this takes.

use std::fmt;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use checkpoint::RunState;
use host::{DeviceName, caught, is_on_host};
use serde::Serialize;

use crate::evaluation::EvaluationPlan;
use crate::experiment::{Cost, Experiment, Memory};
use crate::memory::{available, resident};
use crate::plan::Plan;
use crate::trial::{Rehearsal, Trial};

/// The longest step that is tried, in seconds: of a larger one, fewer images are.
const LONGEST_STEP: f64 = 5.0;

/// Share of the memory that is free which a trial may take.
const SPARE: f64 = 0.9;

/// Share of the speed of a large matrix product that a training step usually reaches (measured).
const USUAL_SHARE: f64 = 0.15;

const MIB: u64 = 1 << 20;

/// What a run takes on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Outlook {
    /// Images of a batch that were timed.
    timed_images: usize,
    #[serde(skip)]
    batch_size: usize,
    #[serde(skip)]
    left: Left,
    /// At this machine's speed; none where it is not known.
    eta_s: Option<f64>,
    /// Of the process, or of the device that computes; none where it is not known.
    memory_mib: Option<u64>,
    /// Why nothing was timed.
    not_timed: Option<String>,
}

/// Updates and evaluations that a run still has before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) steps: u64,
    pub(crate) evaluations: u64,
}

impl Left {
    /// What is left of a run that goes on from a checkpoint, or begins.
    pub(crate) fn of(plan: &Plan, evaluation: Option<EvaluationPlan>, from: Option<&RunState>) -> Self {
        let step = from.map_or(0, |state| state.position.step);
        let no_better = evaluation.and_then(|plan| plan.patience).zip(from.and_then(|state| state.best));
        if no_better.is_some_and(|(patience, best)| best.since >= patience) {
            return Self { steps: 0, evaluations: 0 };
        }
        let total = plan.total_steps;
        let evaluations = evaluation.map_or(0, |evaluation| {
            let interval = evaluation.every_epochs * plan.steps_per_epoch();
            let due = |step: u64| step > 0 && (step.is_multiple_of(interval) || step >= total);
            let ahead = (step + 1..=total).filter(|step| due(*step)).count() as u64;
            let missed = due(step) && from.is_some_and(|state| state.evaluated != Some(step));
            ahead + u64::from(missed)
        });
        Self { steps: total.saturating_sub(step), evaluations }
    }

    /// Seconds that it takes as steps did in a trial.
    fn seconds(&self, trial: &Trial, plan: &Plan, batch_size: usize, judged: usize) -> f64 {
        let batch_s = trial.batch_s * batch_size as f64 / trial.images as f64;
        let steps = self.steps as f64 * (plan.accumulate as f64 * batch_s + trial.update_s);
        let judged = judged as f64 / plan.processes as f64;
        steps + self.evaluations as f64 * judged * trial.judge_s
    }
}

impl<E: Experiment> Rehearsal<'_, E> {
    /// What the rest of the run takes, by steps that are tried unless nothing is left. The process holds
    /// `held` parameters already that the run will train.
    pub(crate) fn outlook(&self, cost: &E::Cost, left: Left, held: usize) -> Outlook {
        let batch_size = self.experiment.settings().train.batch_size;
        // Before anything is tried: what the process holds without a network.
        let memory = self.estimated_memory(cost.memory(), batch_size);
        let mut outlook = Outlook {
            timed_images: 0,
            batch_size,
            left,
            eta_s: None,
            memory_mib: memory.map(|bytes| bytes / MIB),
            not_timed: None,
        };
        if left == Left::default() {
            outlook.eta_s = Some(0.0);
            return outlook;
        }
        let tried = caught(DeviceName::of(self.device), || {
            let images = self.affordable(cost, batch_size)?;
            self.time(images).map_err(|error| error.to_string())
        });
        match tried.unwrap_or_else(|failure| Err(failure.to_string())) {
            Err(reason) => outlook.not_timed = Some(reason),
            Ok(trial) => {
                let judged = self.data.validation.as_ref().map_or(0, |images| images.len());
                outlook.timed_images = trial.images;
                outlook.eta_s = Some(left.seconds(&trial, self.plan, batch_size, judged));
                outlook.memory_mib =
                    self.measured_memory(cost.memory(), &trial, batch_size).or(outlook.memory_mib);
            }
        }
        let held = if is_on_host(self.device) { 4 * held as u64 / MIB } else { 0 };
        outlook.memory_mib = outlook.memory_mib.map(|mib| mib.saturating_sub(held));
        outlook
    }

    /// Images of a step that neither takes too long nor more memory than there is.
    fn affordable(&self, cost: &E::Cost, batch_size: usize) -> Result<usize, String> {
        // Forward and backward are three times the work of forward.
        let image_s = 3.0 * cost.forward_macs() as f64 / (matrix_speed(self.device) * USUAL_SHARE);
        let by_time = (LONGEST_STEP / image_s) as usize;
        let by_memory = match (cost.memory(), available()) {
            (Some(memory), Some(free)) if is_on_host(self.device) => {
                let free = (SPARE * free as f64) as u64;
                let spare = free.saturating_sub(memory.parameters);
                let images = spare / (memory.activations + 4 * self.loader.image_bytes() as u64).max(1);
                if images == 0 {
                    let needed = (memory.parameters + memory.activations) / MIB;
                    return Err(format!("it takes {needed} MiB and more, and {} are free", free / MIB));
                }
                images as usize
            }
            _ => batch_size,
        };
        Ok(batch_size.min(by_time.max(1)).min(by_memory))
    }

    /// Bytes of the process with a whole batch, or of the device that computes.
    fn estimated_memory(&self, memory: Option<Memory>, batch_size: usize) -> Option<u64> {
        let Memory { parameters, activations } = memory?;
        let network = parameters + batch_size as u64 * activations;
        if !is_on_host(self.device) {
            return Some(network);
        }
        // One batch is computed, and the next is put together.
        let images = (self.loader.images_ahead() + 2 * batch_size) as u64;
        Some(resident()? + network + images * self.loader.image_bytes() as u64)
    }

    /// MiB of the process with a whole batch, by those that a trial took; none where another device
    /// computes.
    fn measured_memory(&self, memory: Option<Memory>, trial: &Trial, batch_size: usize) -> Option<u64> {
        let missing = (batch_size - trial.images) as u64;
        let ahead = self.loader.images_ahead().saturating_sub(self.loader.apart(trial.images).images_ahead());
        let image = self.loader.image_bytes() as u64;
        let peak = trial.peak_mib.filter(|_| is_on_host(self.device))?;
        let activations = memory.map_or(0, |memory| memory.activations);
        Some(peak + (missing * (activations + 2 * image) + ahead as u64 * image) / MIB)
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mib) = self.memory_mib {
            writeln!(f, "memory       about {mib} MiB")?;
        }
        let Self { timed_images, batch_size, .. } = self;
        match (self.eta_s, &self.not_timed) {
            (None, None) => write!(f, "finish       not known"),
            (_, Some(reason)) => write!(f, "finish       not timed: {reason}"),
            (Some(_), _) if self.left == Left::default() => write!(f, "finish       nothing is left to do"),
            (Some(seconds), _) => {
                write!(f, "finish       roughly {} from now", duration(seconds))?;
                match timed_images < batch_size {
                    true => write!(f, ", by steps of {timed_images} of the {batch_size} images of a batch"),
                    false => Ok(()),
                }
            }
        }
    }
}

/// Multiply-adds a second of a large matrix product on the device.
fn matrix_speed(device: &Device) -> f64 {
    const SIDE: usize = 768;
    let matrix = Tensor::<2>::ones([SIDE, SIDE], &device.clone().inner());
    let product = || drop(matrix.clone().matmul(matrix.clone()).into_data());
    product();
    let start = Instant::now();
    (0..3).for_each(|_| product());
    3.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64()
}

/// `100 s`, `12 min`, `5.2 h` or `3.1 days`.
fn duration(seconds: f64) -> String {
    match seconds / 3600.0 {
        h if h < 1.0 / 30.0 => format!("{:.0} s", seconds.ceil()),
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.1} h"),
        h => format!("{:.1} days", h / 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::{Best, Pace, Position};

    const PLAN: Plan = Plan {
        batches_per_epoch: 6,
        accumulate: 3,
        processes: 2,
        effective_batch: 6,
        total_steps: 9,
        pace: Pace { batches_per_epoch: 6, accumulate: 3 },
    };

    fn at(step: u64, evaluated: Option<u64>, since: u64) -> RunState {
        let best = Some(Best { score: 0.5, step: 2, ema: false, since });
        RunState { position: Position { step, epoch: 0, batch: 0 }, best, evaluated, ..RunState::default() }
    }

    #[test]
    fn only_what_is_left_is_counted() {
        let evaluation = Some(EvaluationPlan { every_epochs: 2, patience: Some(2) });
        let left = |from: Option<&RunState>| {
            let Left { steps, evaluations } = Left::of(&PLAN, evaluation, from);
            (steps, evaluations)
        };
        // After 4, 8 and 9 updates.
        assert_eq!(left(None), (9, 3));
        assert_eq!(left(Some(&at(4, Some(4), 0))), (5, 2));
        assert_eq!(left(Some(&at(4, Some(2), 0))), (5, 3), "one is to be made up for");
        assert_eq!(left(Some(&at(9, Some(9), 0))), (0, 0));
        assert_eq!(left(Some(&at(9, None, 0))), (0, 1));
        assert_eq!(left(Some(&at(4, Some(4), 2))), (0, 0), "no patience any more");
        assert_eq!(Left::of(&PLAN, None, None), Left { steps: 9, evaluations: 0 });
    }

    #[test]
    fn a_run_takes_what_its_batches_updates_and_evaluations_take() {
        let trial = Trial { images: 2, batch_s: 10.0, update_s: 1.0, judge_s: 0.5, peak_mib: None };
        // Batches of eight images: 40 s each, three an update; each process judges half of 100 images.
        let seconds = Left { steps: 9, evaluations: 3 }.seconds(&trial, &PLAN, 8, 100);
        assert_eq!(seconds, 9.0 * (3.0 * 40.0 + 1.0) + 3.0 * 50.0 * 0.5);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!([duration(3.6), duration(108.0)], ["4 s", "108 s"]);
        assert_eq!(duration(720.0), "12 min");
        assert_eq!([duration(18_720.0), duration(267_840.0)], ["5.2 h".to_owned(), "3.1 days".to_owned()]);
    }
}
