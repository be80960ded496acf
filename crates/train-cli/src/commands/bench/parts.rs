//! What the parts of a step take: time, and operations of libtorch.

use std::time::Instant;

use host::Operations;
use host::libtorch::counter;

use crate::output::out;

/// A part of a step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Forward,
    Backward,
    Optimizer,
}

/// Operations of the parts, in the order of [`Part`].
pub(super) type Counts = [Operations; 3];

/// Names of the parts, in the same order.
const NAMES: [&str; 3] = ["forward", "backward", "optimizer"];

/// Seconds of the parts of a step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    pub(super) forward: f64,
    pub(super) backward: f64,
    pub(super) optimizer: f64,
}

impl Step {
    pub(super) fn total(&self) -> f64 {
        self.forward + self.backward + self.optimizer
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            forward: self.forward + other.forward,
            backward: self.backward + other.backward,
            optimizer: self.optimizer + other.optimizer,
        }
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self {
            forward: factor * self.forward,
            backward: factor * self.backward,
            optimizer: factor * self.optimizer,
        }
    }
}

/// Takes the time of the parts of a step, and counts their operations where that is wanted.
#[derive(Debug)]
pub(super) struct Parts {
    seconds: [f64; 3],
    counts: Option<Counts>,
}

impl Parts {
    pub(super) fn new(counts: bool) -> Self {
        Self { seconds: [0.0; 3], counts: counts.then(Default::default) }
    }

    /// A part of the step.
    pub(super) fn take<T>(&mut self, part: Part, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = match &mut self.counts {
            None => run(),
            Some(counts) => {
                let (result, found) = counter::count(run);
                counts[part as usize] += found;
                result
            }
        };
        self.seconds[part as usize] += start.elapsed().as_secs_f64();
        result
    }

    pub(super) fn step(&self) -> Step {
        let [forward, backward, optimizer] = self.seconds;
        Step { forward, backward, optimizer }
    }

    pub(super) fn into_counts(self) -> Option<Counts> {
        self.counts
    }
}

/// Operations of all parts.
pub(super) fn total(counts: &Counts) -> Operations {
    let mut all = Operations::default();
    counts.iter().for_each(|part| all += part.clone());
    all
}

/// The operations by part, the most frequent first.
pub(super) fn tell(counts: &Counts) {
    let all = total(counts);
    let columns = |name: &str, of: &dyn Fn(&Operations) -> u64| {
        let [forward, backward, optimizer] = counts.each_ref().map(of);
        out!("{name:<36} {forward:>8} {backward:>8} {optimizer:>9} {:>6}", of(&all));
    };
    out!("");
    out!("{:<36} {:>8} {:>8} {:>9} {:>6}", "operations of a step", NAMES[0], NAMES[1], NAMES[2], "all");
    columns("all", &Operations::dispatched);
    columns("copies", &|part| part.copies);
    columns("synchronising", &Operations::synchronising);
    let mut names: Vec<_> = all.by_name.iter().collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    for (name, _) in names {
        columns(name, &|part| part.by_name.get(name).copied().unwrap_or(0));
    }
}
