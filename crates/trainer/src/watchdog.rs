//! Says what a run waits for when it does not move.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::progress::Screen;

/// Words for what batches wait for at present; empty where that is not known.
pub type BatchesWaitFor = dyn Fn() -> String + Send + Sync;

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits for a batch of the update of this number.
    Batch(u64),
    /// It computes the update of this number, and waits for the other processes.
    Update(u64),
    /// It judges the network.
    Evaluation,
    /// It looks at its health.
    Health,
    /// It draws, or writes a checkpoint.
    Writing,
}

/// Looks at a run from a thread of its own. Dropping it ends that.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    at: Mutex<At>,
    patience: Duration,
    /// Of several processes, which one this is.
    rank: Option<usize>,
    batches_wait_for: Arc<BatchesWaitFor>,
}

struct At {
    doing: Doing,
    since: Instant,
    /// How long it may last before something is said.
    patience: Duration,
}

impl Watchdog {
    /// Tells `screen` when a run does one thing for longer than `patience`; never if that is nothing. `rank`
    /// is that of one of several processes.
    pub(crate) fn start(
        patience: Duration,
        rank: Option<usize>,
        batches_wait_for: &Arc<BatchesWaitFor>,
        screen: Arc<dyn Screen>,
    ) -> Self {
        let at = Mutex::new(At { doing: Doing::Writing, since: Instant::now(), patience });
        let shared = Arc::new(Shared { at, patience, rank, batches_wait_for: Arc::clone(batches_wait_for) });
        if patience.is_zero() {
            return Self { shared, stop: None, thread: None };
        }
        let (stop, stopped) = channel();
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(patience / 4) == Err(RecvTimeoutError::Timeout) {
                if let Some(sentence) = watched.look(Instant::now()) {
                    screen.warn(&sentence);
                }
            }
        });
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The run goes on to something, or goes on with it.
    pub(crate) fn moves(&self, doing: Doing) {
        self.shared.moves(doing, Instant::now());
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn moves(&self, doing: Doing, now: Instant) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = At { doing, since: now, patience: self.patience };
    }

    /// What is to be said; the next time after twice as long.
    fn look(&self, now: Instant) -> Option<String> {
        let (doing, lasted) = {
            let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
            let lasted = now.saturating_duration_since(at.since);
            if lasted < at.patience {
                return None;
            }
            at.patience = 2 * lasted;
            (at.doing, lasted.as_secs())
        };
        let who = self.rank.map_or(String::new(), |rank| format!("rank {rank}: "));
        Some(match doing {
            Doing::Batch(step) => {
                let why = (self.batches_wait_for)();
                let why = if why.is_empty() { why } else { format!(": {why}") };
                format!("{who}step {step} has waited for its images for {lasted} s{why}")
            }
            Doing::Update(step) => match self.rank {
                None => format!("step {step} has been computed for {lasted} s"),
                Some(_) => {
                    format!(
                        "{who}step {step} has been computed, or has waited for the other ranks, for {lasted} s"
                    )
                }
            },
            Doing::Evaluation => format!("{who}the evaluation has not moved for {lasted} s"),
            Doing::Health => format!("{who}the look at the health of the run has taken {lasted} s"),
            Doing::Writing => format!("{who}the run directory has been written to for {lasted} s"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_move_is_said_and_said_again_after_twice_as_long() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let shared = Shared {
            at: Mutex::new(At { doing: Doing::Writing, since: begin, patience: 60 * second }),
            patience: 60 * second,
            rank: Some(3),
            batches_wait_for: Arc::new(|| "a.jpg".to_owned()),
        };
        shared.moves(Doing::Batch(7), begin);
        let said: Vec<_> = (0..300).filter(|at| shared.look(begin + *at * second).is_some()).collect();
        assert_eq!(said, [60, 120, 240]);
        let at = begin + 300 * second;
        shared.moves(Doing::Batch(7), at);
        assert_eq!(shared.look(at + 59 * second), None);
        let sentence = shared.look(at + 61 * second).unwrap();
        assert_eq!(sentence, "rank 3: step 7 has waited for its images for 61 s: a.jpg");
        shared.moves(Doing::Update(8), at);
        let sentence = shared.look(at + 60 * second).unwrap();
        assert!(sentence.contains("step 8 has been computed, or has waited for the other ranks, for 60 s"));
    }
}
