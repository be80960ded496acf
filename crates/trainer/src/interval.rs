//! What happened since the last log line.

use std::time::{Duration, Instant};

use distributed::{Communicator, DistributedError};

use crate::deferred::Deferred;
use crate::error::NotFiniteUpdate;
use crate::spike::{Spike, SpikeGuard};
use crate::update::UpdateReport;

/// Sums over the updates since the last log line.
pub(crate) struct Interval {
    since: Instant,
    /// Updates, also those that were skipped.
    steps: u64,
    /// Those that were not.
    made: u64,
    loss: f64,
    grad_norm: f64,
    /// The last updates whose losses and norms nobody has read yet.
    unread: Vec<Unread>,
    waiting: Duration,
}

struct Unread {
    step: u64,
    loss: Deferred,
    grad_norm: Deferred,
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
        Self { since, steps: 0, made: 0, loss: 0.0, grad_norm: 0.0, unread, waiting }
    }

    pub(crate) fn add(&mut self, step: u64, report: UpdateReport) {
        self.steps += 1;
        self.made += 1;
        self.unread.push(Unread { step, loss: report.loss, grad_norm: report.grad_norm });
    }

    /// An update was skipped; what it would have been counts for nothing.
    pub(crate) fn skip(&mut self) {
        self.steps += 1;
    }

    /// Whether every update since was skipped.
    pub(crate) fn has_skipped_all(&self) -> bool {
        self.steps > 0 && self.made == 0
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

    /// Reads what has not been read; on a GPU this waits for it. `steps`
    /// updates are done by now. Returns those that `spikes`, which only warns of them, finds unusual.
    ///
    /// # Errors
    /// Of the outer result, another process that has ended; of the inner one, the first update whose
    /// loss or norm is not finite.
    pub(crate) fn settle(
        &mut self,
        steps: u64,
        communicator: &dyn Communicator,
        spikes: &mut SpikeGuard,
    ) -> Result<Result<Vec<(u64, Spike)>, NotFiniteUpdate>, DistributedError> {
        let read = |unread: Unread| (unread.step, unread.loss.read(), unread.grad_norm.read());
        let updates: Vec<_> = self.unread.drain(..).map(read).collect();
        // What a failed collective left behind are no losses.
        communicator.check()?;
        let mut found = Vec::new();
        for (step, loss, grad_norm) in updates {
            if !loss.is_finite() || !grad_norm.is_finite() {
                return Ok(Err(NotFiniteUpdate { step, done: steps, loss, grad_norm, parameter: None }));
            }
            self.loss += loss;
            self.grad_norm += grad_norm;
            if !spikes.acts() {
                found.extend(spikes.judge(loss, grad_norm).map(|spike| (step, spike)));
            }
        }
        Ok(Ok(found))
    }

    /// The means of what has been settled.
    pub(crate) fn means(&self) -> IntervalMeans {
        let (made, seconds) = (self.made as f64, self.since.elapsed().as_secs_f64());
        IntervalMeans {
            loss: self.loss / made,
            grad_norm: self.grad_norm / made,
            seconds_per_step: seconds / self.steps as f64,
            data_wait: self.waiting.as_secs_f64() / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reducer::Wishes;
    use crate::spike::OnSpike;
    use burn::tensor::{Device, Tensor};

    fn report(loss: f32) -> UpdateReport {
        let pending = Deferred::Pending(Tensor::full([1], loss, &Device::flex()));
        UpdateReport {
            loss: pending,
            grad_norm: Deferred::Known(2.0),
            skipped: None,
            wishes: Wishes::default(),
            layers: None,
        }
    }

    #[test]
    fn means_are_those_of_settled_updates() {
        let (mut interval, alone) = (Interval::start(), distributed::Single);
        for (step, loss) in [(4, 1.0), (5, 2.0), (7, 6.0)] {
            interval.add(step, report(loss));
        }
        interval.skip();
        let mut spikes = SpikeGuard::new(OnSpike::Warn, 1.5, &[[2.0, 2.0]; 64], 0);
        let found = interval.settle(7, &alone, &mut spikes).unwrap().unwrap();
        assert!(matches!(&found[..], [(7, _)]), "{found:?}");
        let IntervalMeans { loss, grad_norm, .. } = interval.means();
        assert_eq!((loss, grad_norm), (3.0, 2.0));
    }

    #[test]
    fn the_first_update_that_is_not_finite_is_named() {
        let (mut interval, alone) = (Interval::start(), distributed::Single);
        for (step, loss) in [(7, 1.0), (8, f32::NAN), (9, f32::NAN)] {
            interval.add(step, report(loss));
        }
        let settled = interval.settle(9, &alone, &mut SpikeGuard::idle()).unwrap();
        let NotFiniteUpdate { step, done, loss, .. } = settled.unwrap_err();
        assert!(step == 8 && done == 9 && loss.is_nan(), "{step} {done} {loss}");
    }
}
