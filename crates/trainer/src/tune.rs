//! Finding settings by trying them: a range of learning rates, and sizes of batches.

use std::sync::Arc;

use burn::tensor::Device;
use distributed::Single;
use host::is_on_host;

use crate::error::TrainError;
use crate::experiment::{Context, Data, Experiment, Network};
use crate::memory::{available, resident};
use crate::objective::Objective;
use crate::spike::SpikeGuard;
use crate::stop::StopSignal;
use crate::trial::{Rehearsal, Trial, alone};
use crate::update::{Surroundings, Updater};

/// Share of the smoothed loss that each update keeps.
const SMOOTHING: f64 = 0.9;
/// How many times its least value the smoothed loss may reach before the test ends.
const DIVERGED: f64 = 4.0;
/// Updates before and behind one that its slope is taken over.
const REACH: usize = 2;
/// Share of itself that the loss has to fall by for a suggestion.
const FALL: f64 = 0.02;
/// Share of the memory that is free which a batch may take.
const SPARE: f64 = 0.9;
/// Seconds that a step with a batch may take for a larger one to be tried.
const PATIENCE: f64 = 10.0;

/// The learning rates that a range test goes through: from the first to the last, by equal factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateRange {
    /// The rate of the first update.
    pub from: f64,
    /// The rate of the last one.
    pub to: f64,
    /// Updates.
    pub steps: u64,
}

impl RateRange {
    fn rate(&self, step: u64) -> f64 {
        let share = step as f64 / (self.steps.max(2) - 1) as f64;
        self.from * (self.to / self.from).powf(share)
    }
}

/// An update of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateTrial {
    /// Its learning rate.
    pub lr: f64,
    /// The loss before it.
    pub loss: f64,
    /// The mean of the losses up to here, of which the last ones count most.
    pub smoothed: f64,
}

impl<E: Experiment> Rehearsal<'_, E> {
    /// Trains a network with rising rates, and ends early when the loss has risen far above its least value.
    /// `watch` is told of every update.
    ///
    /// # Errors
    /// Whatever can fail in a run, but for losses that are not finite.
    pub(crate) fn rates(
        &self,
        network: Network<E>,
        range: RateRange,
        watch: &mut dyn FnMut(u64),
    ) -> Result<Vec<RateTrial>, TrainError> {
        let context = Context { device: self.device.clone(), communicator: Arc::new(Single) };
        let data = Data {
            training: Arc::clone(&self.data.training),
            validation: self.data.validation.clone(),
            remarks: Vec::new(),
        };
        let objective = self.experiment.objective(&data, &context).map_err(TrainError::Experiment)?;
        let optim = self.experiment.settings().optim;
        let mut state = self.parts(None).fresh(network).state;
        let updater = Updater {
            objective: &objective,
            lists: objective.lists(self.device),
            clip_grad: optim.clip_grad,
            device: self.device,
            accumulate: self.plan.accumulate,
            by_layer: false,
        };
        let stop = StopSignal::new(&|| false, &Single);
        let (mut reducer, mut spikes) = (alone(), SpikeGuard::idle());
        let mut batches = self.loader.batches(0, 0);
        let mut next = || {
            let batch = batches.next().ok_or(TrainError::OutOfData { step: 0 })?;
            batch.map_err(|error| TrainError::Data(error.into()))
        };
        let mut losses = Smoothed::default();
        for step in 0..range.steps {
            let lr = range.rate(step);
            let (reducer, spikes) = (&mut reducer, &mut spikes);
            let around = Surroundings { reducer, spikes, stop: &stop, save: &|| false };
            let updated = updater.update(state, &mut next, lr, around);
            let made = match updated {
                // That is what rates that are too high come to.
                Err(TrainError::NotFinite { .. }) => break,
                updated => updated?,
            };
            state = made.0;
            let Some(report) = made.1 else { break };
            losses.add(lr, report.loss.read());
            watch(step + 1);
            if losses.has_diverged() {
                break;
            }
        }
        Ok(losses.trials)
    }

    /// Times steps with batches of one image, two, four and so on, as long as there are images, memory and
    /// patience for twice as many. `watch` is told of each size before it is tried.
    ///
    /// # Errors
    /// A device whose memory is not this process's; whatever can fail in a run.
    pub(crate) fn batch_sizes(&self, watch: &mut dyn FnMut(usize)) -> Result<BatchSizes, TrainError> {
        require_host(self.device)?;
        let (mut trials, mut images) = (Vec::new(), 1);
        while images <= self.loader.images() {
            watch(images);
            let trial = self.time(images)?;
            let step_s = trial.batch_s + trial.update_s;
            trials.push(trial);
            let fits = self.sizes(&trials).largest.is_none_or(|largest| 2 * images <= largest);
            if 2.0 * step_s > PATIENCE || !fits {
                break;
            }
            images *= 2;
        }
        Ok(self.sizes(&trials))
    }
}

impl<E: Experiment> Rehearsal<'_, E> {
    fn sizes(&self, trials: &[Trial]) -> BatchSizes {
        let tried = trials.iter().map(|trial| BatchTrial {
            images: trial.images,
            img_per_s: trial.images as f64 / (trial.batch_s + trial.update_s),
            peak_mib: trial.peak_mib,
        });
        let tried: Vec<_> = tried.collect();
        let room = available().zip(resident()).map(|(free, held)| (SPARE * free as f64) as u64 + held);
        let largest = room.and_then(|room| largest(&tried, room >> 20));
        BatchSizes { tried, largest: largest.map(|largest| largest.min(self.loader.images())) }
    }
}

fn require_host(device: &Device) -> Result<(), TrainError> {
    match is_on_host(device) {
        true => Ok(()),
        false => Err(TrainError::Experiment(
            "tune batch measures the memory of this process, and the batches would be in that of the device; \
             try sizes by `train-cli bench` there"
                .into(),
        )),
    }
}

/// The losses of a range test.
#[derive(Default)]
struct Smoothed {
    trials: Vec<RateTrial>,
    sum: f64,
    weight: f64,
}

impl Smoothed {
    fn add(&mut self, lr: f64, loss: f64) {
        self.sum = SMOOTHING * self.sum + (1.0 - SMOOTHING) * loss;
        self.weight = SMOOTHING * self.weight + (1.0 - SMOOTHING);
        self.trials.push(RateTrial { lr, loss, smoothed: self.sum / self.weight });
    }

    fn has_diverged(&self) -> bool {
        let least = self.trials.iter().map(|trial| trial.smoothed).fold(f64::INFINITY, f64::min);
        self.trials.last().is_some_and(|last| last.smoothed > DIVERGED * least)
    }
}

/// The peak learning rate that a range test suggests: the one at which the smoothed loss falls fastest. None
/// where it does not fall.
pub fn suggested_rate(trials: &[RateTrial]) -> Option<f64> {
    let smoothed = |at: usize| trials[at].smoothed;
    let lowest = (0..trials.len()).min_by(|a, b| smoothed(*a).total_cmp(&smoothed(*b)))?;
    if smoothed(lowest) > (1.0 - FALL) * trials.first()?.smoothed {
        return None;
    }
    let slope = |at: usize| {
        let (before, behind) = (at - REACH, at + REACH);
        (smoothed(behind) - smoothed(before)) / (trials[behind].lr / trials[before].lr).ln()
    };
    let last = (lowest + 1).min(trials.len().saturating_sub(REACH));
    (REACH..last).min_by(|a, b| slope(*a).total_cmp(&slope(*b))).map(|at| trials[at].lr)
}

/// Batches that were tried, and the largest that memory has room for.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSizes {
    /// Smallest first.
    pub tried: Vec<BatchTrial>,
    /// As many as there are at most; none where the system does not tell, or a larger batch took no more
    /// memory.
    pub largest: Option<usize>,
}

/// A step with a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchTrial {
    /// Images of the batch.
    pub images: usize,
    /// Images a second, from the data to the update.
    pub img_per_s: f64,
    /// The most memory that the process had held by then, in MiB.
    pub peak_mib: Option<u64>,
}

/// The largest batch in so many MiB, when memory grows as it did between the last two.
fn largest(tried: &[BatchTrial], room_mib: u64) -> Option<usize> {
    let [.., before, last] = tried else { return None };
    let (less, more) = (before.peak_mib?, last.peak_mib?);
    let image =
        (more.checked_sub(less).filter(|grown| *grown > 0)?) as f64 / (last.images - before.images) as f64;
    let spare = room_mib.saturating_sub(more) as f64;
    Some(last.images + (spare / image) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_equal_factors() {
        let range = RateRange { from: 1e-5, to: 1e-1, steps: 5 };
        let rates: Vec<_> = (0..5).map(|step| range.rate(step)).collect();
        for (found, expected) in rates.iter().zip([1e-5, 1e-4, 1e-3, 1e-2, 1e-1]) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
    }

    /// Losses as a range test gives them, at ten rates a decade from 1e-6 on.
    fn trials(loss: impl Fn(f64) -> f64) -> Vec<RateTrial> {
        let mut losses = Smoothed::default();
        for step in 0..60 {
            let lr = 1e-6 * 10f64.powf(f64::from(step) / 10.0);
            losses.add(lr, loss(lr.log10()));
            if losses.has_diverged() {
                break;
            }
        }
        losses.trials
    }

    #[test]
    fn the_rate_at_which_the_loss_falls_fastest_is_suggested() {
        // Falls around 1e-3, and rises steeply beyond 1e-2.
        let falling = |lr: f64| 2.0 - 1.0 / (1.0 + (-4.0 * (lr + 3.0)).exp()) + (5.0 * (lr + 1.5)).exp();
        let found = trials(falling);
        assert!(found.len() < 60, "goes on beyond what has diverged");
        let rate = suggested_rate(&found).unwrap();
        // Smoothing looks back over some ten updates, a decade.
        assert!((1e-3..1e-2).contains(&rate), "{rate}");
        assert_eq!(suggested_rate(&trials(|_| 1.0)), None);
        assert_eq!(suggested_rate(&trials(|lr| 10.0 + lr)), None);
        assert_eq!(suggested_rate(&[]), None);
    }

    #[test]
    fn smoothing_does_not_begin_at_zero() {
        let mut losses = Smoothed::default();
        losses.add(1.0, 3.0);
        losses.add(1.0, 1.0);
        // (0.9 · 3 + 1) / 1.9.
        assert!((losses.trials[1].smoothed - 3.7 / 1.9).abs() < 1e-12);
        assert_eq!(losses.trials[0].smoothed, 3.0);
    }

    #[test]
    fn the_largest_batch_is_where_memory_ends() {
        let trial = |images, peak_mib| BatchTrial { images, img_per_s: 1.0, peak_mib: Some(peak_mib) };
        let tried = [trial(1, 100), trial(2, 120), trial(4, 160)];
        assert_eq!(largest(&tried, 1000), Some(4 + 42));
        assert_eq!(largest(&tried, 100), Some(4));
        assert_eq!(largest(&[trial(1, 100), trial(2, 100)], 1000), None);
        assert_eq!(largest(&tried[..1], 1000), None);
    }
}
