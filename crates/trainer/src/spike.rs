//! Updates that are much larger than usual.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Updates that the next one is compared with. With fewer nothing is judged: the first ones of a run, whose
/// rates rise from 0, say nothing of what is usual.
const MEMORY: usize = 64;
/// Updates that are skipped one after the other, at most: more are no spike but the state of the run.
const MOST_SKIPPED: u64 = 10;

/// What is done about an update whose loss or gradient norm is beyond what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSpike {
    /// It is made, and said.
    #[default]
    Warn,
    /// It is not made, and the run goes on with the next batches; so are updates that are not finite.
    Skip,
    /// The run stops before it.
    Stop,
}

/// An update beyond what is usual.
#[derive(Debug, Clone, PartialEq)]
pub struct Spike {
    what: &'static str,
    value: f64,
    median: f64,
}

impl Spike {
    /// Whether it is a number at all.
    pub(crate) fn is_finite(&self) -> bool {
        self.value.is_finite()
    }
}

impl fmt::Display for Spike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, median } = self;
        if !self.is_finite() {
            return write!(f, "the {what} is {value}");
        }
        write!(f, "the {what} is {value:.4}, {:.1} times its median of {median:.4}", value / median)
    }
}

/// Judges updates by those before them.
pub(crate) struct SpikeGuard {
    pub(crate) on_spike: OnSpike,
    factor: f64,
    /// Loss and gradient norm, oldest first.
    recent: VecDeque<[f64; 2]>,
    unusual_in_a_row: u64,
}

impl SpikeGuard {
    /// A guard that knows the last updates of a run, and how many of them were unusual up to the last.
    pub(crate) fn new(on_spike: OnSpike, factor: f64, recent: &[[f64; 2]], unusual_in_a_row: u64) -> Self {
        Self { on_spike, factor, recent: recent.iter().copied().collect(), unusual_in_a_row }
    }

    /// One that only warns, for updates that are none of a run.
    pub(crate) fn idle() -> Self {
        Self::new(OnSpike::Warn, f64::INFINITY, &[], 0)
    }

    /// Whether an update has to be judged before it is made.
    pub(crate) fn acts(&self) -> bool {
        self.on_spike != OnSpike::Warn
    }

    /// What a run needs to judge its next updates.
    pub(crate) fn recent(&self) -> Vec<[f64; 2]> {
        self.recent.iter().copied().collect()
    }

    /// How many updates were unusual, one after the other, up to the last.
    pub(crate) fn unusual_in_a_row(&self) -> u64 {
        self.unusual_in_a_row
    }

    /// Judges an update, and remembers it if it is finite.
    pub(crate) fn judge(&mut self, loss: f64, grad_norm: f64) -> Option<Spike> {
        let found = [("loss", loss), ("gradient norm", grad_norm)]
            .into_iter()
            .enumerate()
            .find_map(|(place, (what, value))| self.spike(place, what, value));
        if loss.is_finite() && grad_norm.is_finite() {
            self.recent.push_back([loss, grad_norm]);
            self.recent.drain(..self.recent.len().saturating_sub(MEMORY));
        }
        self.unusual_in_a_row = if found.is_some() { self.unusual_in_a_row + 1 } else { 0 };
        found
    }

    /// Whether so many updates were skipped, one after the other, that something else is wrong.
    pub(crate) fn has_skipped_enough(&self) -> bool {
        self.unusual_in_a_row > MOST_SKIPPED
    }

    fn spike(&self, place: usize, what: &'static str, value: f64) -> Option<Spike> {
        let median = median(self.recent.iter().map(|update| update[place]));
        if !value.is_finite() {
            // No number of updates is needed to know that.
            return Some(Spike { what, value, median: median.unwrap_or(f64::NAN) });
        }
        let median = median.filter(|_| self.recent.len() >= MEMORY)?;
        (value > self.factor * median && median > 0.0).then_some(Spike { what, value, median })
    }
}

/// The upper of two middle values.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(updates: usize) -> SpikeGuard {
        let mut guard = SpikeGuard::new(OnSpike::Skip, 4.0, &[], 0);
        for update in 0..updates {
            assert_eq!(guard.judge(1.0 + 0.1 * (update % 3) as f64, 0.5), None);
        }
        guard
    }

    #[test]
    fn an_update_is_judged_by_the_median_of_those_before_it() {
        assert_eq!(guard(MEMORY - 1).judge(100.0, 0.5), None, "too few to tell");
        let mut guard = guard(3 * MEMORY);
        assert_eq!(guard.recent().len(), MEMORY);
        assert_eq!(guard.judge(4.4, 2.0), None, "not beyond four times 1.1 and 0.5");
        assert_eq!(guard.judge(4.5, 0.5), Some(Spike { what: "loss", value: 4.5, median: 1.1 }));
        let found = guard.judge(1.0, 2.25).unwrap().to_string();
        assert_eq!(found, "the gradient norm is 2.2500, 4.5 times its median of 0.5000");
        // What a run goes on from judges alike.
        let mut again = SpikeGuard::new(OnSpike::Skip, 4.0, &guard.recent(), guard.unusual_in_a_row());
        assert_eq!(again.judge(5.0, 9.0), guard.judge(5.0, 9.0));
        assert_eq!(again.recent(), guard.recent());
    }

    #[test]
    fn what_is_not_finite_is_beyond_everything_and_not_remembered() {
        let mut guard = SpikeGuard::new(OnSpike::Skip, 4.0, &[], 0);
        for update in 0..=MOST_SKIPPED {
            assert!(!guard.has_skipped_enough(), "{update}");
            assert!(guard.judge(f64::NAN, 1.0).is_some() && guard.recent().is_empty());
        }
        assert!(guard.has_skipped_enough());
        assert!(guard.judge(1.0, f64::INFINITY).is_some());
        guard.judge(1.0, 1.0);
        assert!(!guard.has_skipped_enough());
    }

    #[test]
    fn a_new_level_is_usual_after_half_the_memory() {
        let mut guard = guard(MEMORY);
        let spikes = (0..MEMORY).filter(|_| guard.judge(10.0, 0.5).is_some()).count();
        assert_eq!(spikes, MEMORY / 2);
    }
}
