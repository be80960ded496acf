//! What happened since the last log line.

use std::time::{Duration, Instant};

use distributed::{Communicator, DistributedError};

use crate::deferred::Deferred;
use crate::error::NotFiniteUpdate;
use crate::update::UpdateReport;

/// Sums over the updates since the last log line.
pub(crate) struct Interval {
    since: Instant,
    steps: u64,
    loss: f64,
    grad_norm: f64,
    /// Losses and norms of the last updates that nobody has read yet.
    unread: Vec<(Deferred, Deferred)>,
    waiting: Duration,
}

/// Means over an interval.
pub(crate) struct IntervalMeans {
    pub(crate) loss: f64,
    pub(crate) grad_norm: f64,
    pub(crate) seconds_per_step: f64,
    /// Share of the time that went by waiting for data.
    pub(crate) data_wait: f64,
}

impl Interval {
    pub(crate) fn start() -> Self {
        let (since, waiting, unread) = (Instant::now(), Duration::ZERO, Vec::new());
        Self { since, steps: 0, loss: 0.0, grad_norm: 0.0, unread, waiting }
    }

    pub(crate) fn add(&mut self, report: UpdateReport) {
        self.steps += 1;
        self.unread.push((report.loss, report.grad_norm));
    }

    /// Whether no update has been made since.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Counts time spent waiting for data.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waiting += time;
    }

    /// Leaves out time that is not training's.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.since += time;
    }

    /// Reads what has not been read, averaged over all processes; on a GPU this waits for it. `steps`
    /// updates are done by now.
    ///
    /// # Errors
    /// Of the outer result, another process that has ended; of the inner one, the first update whose
    /// loss or norm is not finite.
    pub(crate) fn settle(
        &mut self,
        steps: u64,
        communicator: &dyn Communicator,
    ) -> Result<Result<(), NotFiniteUpdate>, DistributedError> {
        if self.unread.iter().any(|(loss, _)| matches!(loss, Deferred::Pending(_))) {
            let own: Vec<_> = self.unread.iter().map(|(loss, _)| loss.read()).collect();
            for ((loss, _), mean) in self.unread.iter_mut().zip(communicator.mean(&own)?) {
                *loss = Deferred::Known(mean);
            }
        }
        let first = steps + 1 - self.unread.len() as u64;
        for (step, (loss, grad_norm)) in (first..).zip(self.unread.drain(..)) {
            let (loss, grad_norm) = (loss.read(), grad_norm.read());
            if !loss.is_finite() || !grad_norm.is_finite() {
                return Ok(Err(NotFiniteUpdate { step, done: steps, loss, grad_norm, parameter: None }));
            }
            self.loss += loss;
            self.grad_norm += grad_norm;
        }
        Ok(Ok(()))
    }

    /// The means of what has been settled.
    pub(crate) fn means(&self) -> IntervalMeans {
        let (steps, seconds) = (self.steps as f64, self.since.elapsed().as_secs_f64());
        IntervalMeans {
            loss: self.loss / steps,
            grad_norm: self.grad_norm / steps,
            seconds_per_step: seconds / steps,
            data_wait: self.waiting.as_secs_f64() / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};

    fn report(loss: f32) -> UpdateReport {
        let pending = Deferred::Pending(Tensor::full([1], loss, &Device::flex()));
        UpdateReport { loss: pending, grad_norm: Deferred::Known(2.0), stop: false, save: false }
    }

    #[test]
    fn means_are_those_of_settled_updates() {
        let (mut interval, alone) = (Interval::start(), distributed::Single);
        for loss in [1.0, 2.0, 6.0] {
            interval.add(report(loss));
        }
        assert_eq!(interval.settle(7, &alone).unwrap(), Ok(()));
        let IntervalMeans { loss, grad_norm, .. } = interval.means();
        assert_eq!((loss, grad_norm), (3.0, 2.0));
    }

    #[test]
    fn the_first_update_that_is_not_finite_is_named() {
        let (mut interval, alone) = (Interval::start(), distributed::Single);
        for loss in [1.0, f32::NAN, f32::NAN] {
            interval.add(report(loss));
        }
        let NotFiniteUpdate { step, done, loss, .. } = interval.settle(9, &alone).unwrap().unwrap_err();
        assert!(step == 8 && done == 9 && loss.is_nan(), "{step} {done} {loss}");
    }
}
