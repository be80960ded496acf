//! What a display is told of a run.

use std::sync::Arc;

use serde::Serialize;

use crate::health::Look;
use crate::plan::Plan;

/// One log interval: a line of `log.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// Updates done.
    pub step: u64,
    /// Epochs done, a fraction.
    pub epoch: f64,
    /// Mean loss over the interval.
    pub loss: f64,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Mean norm of the gradients over the interval, before clipping.
    pub grad_norm: f64,
    /// Images per second.
    pub img_per_s: f64,
    /// Share of time spent waiting for data, 0 to 1.
    pub data_wait: f64,
    /// Most memory held so far, in MiB, where the system tells.
    pub peak_rss_mib: Option<u64>,
    /// Most of the GPU's memory that was in tensors so far, in MiB; none without a GPU.
    pub gpu_peak_allocated_mib: Option<u64>,
    /// Most of the GPU's memory that the process held so far, in MiB.
    pub gpu_peak_reserved_mib: Option<u64>,
    /// Seconds to the end at this speed.
    pub eta_s: f64,
}

/// A display of a run.
pub trait Progress {
    /// The run begins, or goes on, after `step` updates of its plan.
    fn start(&mut self, plan: &Plan, step: u64);
    /// An update is done.
    fn step(&mut self, step: u64);
    /// An interval is over.
    fn report(&mut self, report: &StepReport);
    /// So many of so many images are judged; none of them yet when an evaluation begins.
    fn evaluating(&mut self, done: u64, total: u64);
    /// An evaluation is done.
    fn evaluation(&mut self, step: u64, metrics: &[(String, f64)]);
    /// The run was looked at, as it was before.
    fn health(&mut self, look: &Look, before: &[Look]);
    /// The run is over.
    fn finish(&mut self);
    /// What other threads reach it by.
    fn screen(&self) -> Arc<dyn Screen>;
}

/// A display as other threads reach it, while the run is busy.
pub trait Screen: Send + Sync {
    /// Says a sentence beside what is shown.
    fn say(&self, sentence: &str);
    /// Says what must not be missed, also where nothing else is shown.
    fn warn(&self, sentence: &str) {
        self.say(&format!("warning: {sentence}"));
    }
    /// Takes away what is shown, for a process that ends at once.
    fn restore(&self);
}
