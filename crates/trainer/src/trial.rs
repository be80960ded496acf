//! A few real steps before a run, to tell what it will take on this machine.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use data::{ImageSource, Loader, Subset};
use distributed::Single;
use host::Precision;

use crate::ema::EmaDecay;
use crate::error::TrainError;
use crate::experiment::{Context, Data, Experiment, Settings, Weights};
use crate::groups::ParameterGroup;
use crate::memory::peak_rss_mib;
use crate::objective::Objective;
use crate::plan::Plan;
use crate::reducer::Reducer;
use crate::saving::StateParts;
use crate::spike::SpikeGuard;
use crate::stop::StopSignal;
use crate::update::{Surroundings, Updater};

/// Seconds that quick steps are repeated for, and the share of the run that they may take.
const LONG_ENOUGH: (f64, f64) = (1.5, 0.03);

/// What steps took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trial {
    /// Images of a step.
    pub(crate) images: usize,
    /// Seconds for a batch of so many images: waiting for it, forward, backward.
    pub(crate) batch_s: f64,
    /// Seconds for an update from gradients: optimizer, moving average.
    pub(crate) update_s: f64,
    /// Seconds to judge an image, also by the moving average.
    pub(crate) judge_s: f64,
    /// The most memory that the process has held by then, in MiB, where the system tells.
    pub(crate) peak_mib: Option<u64>,
}

/// What steps are tried with: nothing of it changes.
pub(crate) struct Rehearsal<'a, E: Experiment> {
    pub(crate) experiment: &'a E,
    pub(crate) data: &'a Data,
    pub(crate) loader: &'a Loader,
    pub(crate) groups: &'a [ParameterGroup],
    pub(crate) plan: &'a Plan,
    pub(crate) device: &'a Device,
}

impl<E: Experiment> Rehearsal<'_, E> {
    /// Times steps of so many images with a network, an optimizer and batches of their own: two, of which
    /// the first only warms up, and more of quick ones. Other processes take no part in it.
    ///
    /// # Errors
    /// Whatever can fail in a run.
    pub(crate) fn time(&self, images: usize) -> Result<Trial, TrainError> {
        let context = Context { device: self.device.clone(), communicator: Arc::new(Single) };
        let validation = self.data.validation.as_ref().map(|all| first(all, 2 * images));
        let judged = validation.as_ref().map_or(0, |images| images.len());
        let data = Data { training: Arc::clone(&self.data.training), validation, remarks: Vec::new() };
        let objective = self.experiment.objective(&data, &context).map_err(TrainError::Experiment)?;
        let network = self.experiment.network(Weights::Zero, self.device).map_err(TrainError::Experiment)?;
        let (optim, ema) = (self.experiment.settings().optim, self.experiment.ema());
        let mut state = self.parts(ema).fresh(network).state;
        let updater = Updater {
            objective: &objective,
            lists: objective.lists(self.device),
            clip_grad: optim.clip_grad,
            device: self.device,
            accumulate: 1,
            by_layer: false,
        };
        let stop = StopSignal::new(&|| false, &Single);
        let mut batches = self.loader.apart(images).batches(0, 0);
        let mut next = || {
            let batch = batches.next().ok_or(TrainError::OutOfData { step: 0 })?;
            batch.map_err(|error| TrainError::Data(error.into()))
        };
        let (mut reducer, mut spikes) = (alone(), SpikeGuard::idle());
        let mut steps: Vec<(f64, f64)> = Vec::new();
        while !self.is_enough(&steps) {
            let (begin, report) = (Instant::now(), Cell::new(None));
            let computed = || {
                report.set(Some(begin.elapsed().as_secs_f64()));
                false
            };
            let made;
            let (reducer, spikes) = (&mut reducer, &mut spikes);
            let around = Surroundings { reducer, spikes, stop: &stop, save: &computed };
            (state, made) = updater.update(state, &mut next, optim.peak_lr(images), around)?;
            // Waits for the device.
            if let Some(made) = made {
                let _ = (made.loss.read(), made.grad_norm.read());
            }
            let batch = report.get().unwrap_or_default();
            steps.push((batch, begin.elapsed().as_secs_f64() - batch));
        }
        let begin = Instant::now();
        if judged > 0 && self.experiment.evaluation().is_some() {
            // What fails here will say so when it is due; the plan only needs the time.
            let _ = objective.evaluate(&state.model.valid(), &stop, &mut |_, _| {});
        }
        let networks = if ema.is_some() { 2.0 } else { 1.0 };
        let judge_s = networks * begin.elapsed().as_secs_f64() / judged.max(1) as f64;
        let (batch_s, update_s) = steady(&steps);
        Ok(Trial { images, batch_s, update_s, judge_s, peak_mib: peak_rss_mib() })
    }

    /// What a state is built with.
    pub(crate) fn parts(&self, ema: Option<EmaDecay>) -> StateParts<'_> {
        let Settings { optim, train, .. } = self.experiment.settings();
        StateParts { groups: self.groups, optim, precision: train.precision, ema }
    }

    /// Whether the steps behind the first have taken long enough to tell.
    fn is_enough(&self, steps: &[(f64, f64)]) -> bool {
        let Some((_, [first, more @ ..])) = steps.split_first() else { return false };
        let spent: f64 = first.0 + first.1 + more.iter().map(|(batch, update)| batch + update).sum::<f64>();
        let Plan { accumulate, total_steps, .. } = self.plan;
        let run = *total_steps as f64 * (*accumulate as f64 * first.0 + first.1);
        let (seconds, share) = LONG_ENOUGH;
        spent >= seconds.min(share * run)
    }
}

/// Gradients of one process by itself.
pub(crate) fn alone() -> Reducer {
    Reducer::new(Arc::new(Single), Precision::F32)
}

/// Means over the later half of the steps behind the first: before it, they lived on what had been made
/// ahead.
fn steady(steps: &[(f64, f64)]) -> (f64, f64) {
    let later = &steps[1 + (steps.len() - 1) / 2..];
    let mean = |of: fn(&(f64, f64)) -> f64| later.iter().map(of).sum::<f64>() / later.len() as f64;
    (mean(|step| step.0), mean(|step| step.1))
}

fn first(images: &Arc<dyn ImageSource>, count: usize) -> Arc<dyn ImageSource> {
    Arc::new(Subset::new(images, |index| index < count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_steps_do_not_count() {
        assert_eq!(steady(&[(9.0, 9.0), (2.0, 1.0)]), (2.0, 1.0));
        assert_eq!(steady(&[(9.0, 9.0), (1.0, 1.0), (1.0, 1.0), (2.0, 4.0), (4.0, 6.0)]), (3.0, 5.0));
    }
}
