//! Whether a run is asked to stop, as all its processes hear of it at the same point.

use std::cell::{Cell, RefCell};

use distributed::{Bucket, Communicator, DistributedError, Pending};

/// What a run asks between two batches: was any of its processes asked to stop?
///
/// All processes ask equally often. Several hear the answer to a question when they ask the next, so that
/// none waits for the others, and all hear it at the same point.
pub struct StopSignal<'a> {
    asked: &'a dyn Fn() -> bool,
    communicator: &'a dyn Communicator,
    /// The answers to the last question, on their way.
    under_way: RefCell<Option<Box<dyn Pending>>>,
    given: Cell<bool>,
}

impl<'a> StopSignal<'a> {
    /// A signal for the processes of a job; `asked` says whether this one was asked to stop.
    pub fn new(asked: &'a dyn Fn() -> bool, communicator: &'a dyn Communicator) -> Self {
        Self { asked, communicator, under_way: RefCell::default(), given: Cell::new(false) }
    }

    /// Whether to stop. Once it is so, it stays so.
    ///
    /// # Errors
    /// Another process has ended.
    pub fn is_given(&self) -> Result<bool, DistributedError> {
        if self.given.get() {
            return Ok(true);
        }
        if self.communicator.world_size() == 1 {
            self.given.set((self.asked)());
            return Ok(self.given.get());
        }
        let earlier = self.under_way.take().map(|answers| answers.wait()).transpose()?;
        self.given.set(earlier.is_some_and(|sum| is_positive(&sum)));
        if !self.given.get() {
            let own = Bucket::Host(vec![f32::from(u8::from((self.asked)()))]);
            self.under_way.replace(Some(self.communicator.all_reduce_sum(own)?));
        }
        Ok(self.given.get())
    }

    /// Whether this process was asked, whatever the others were.
    pub(crate) fn own(&self) -> bool {
        (self.asked)()
    }

    /// Whether the last question was answered by yes.
    pub(crate) fn was_given(&self) -> bool {
        self.given.get()
    }

    /// Takes note of what the processes have told each other otherwise.
    pub(crate) fn give(&self) {
        self.given.set(true);
    }
}

fn is_positive(sum: &Bucket) -> bool {
    #[allow(irrefutable_let_patterns, reason = "without libtorch there is no other")]
    let Bucket::Host(sum) = sum else { return false };
    sum.iter().any(|asked| *asked > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Other;

    #[test]
    fn one_process_hears_at_once_and_for_good() {
        let asked = Cell::new(false);
        let ask = || asked.replace(false);
        let signal = StopSignal::new(&ask, &distributed::Single);
        assert!(!signal.is_given().unwrap());
        asked.set(true);
        assert!(signal.is_given().unwrap() && signal.is_given().unwrap());
    }

    #[test]
    fn of_two_both_hear_at_the_question_after_the_one_that_was_asked() {
        let hear = |other: &Other, asked_at: usize| {
            let count = Cell::new(0);
            let ask = || count.replace(count.get() + 1) == asked_at;
            let signal = StopSignal::new(&ask, other);
            (0..4).map(|_| signal.is_given().unwrap()).collect::<Vec<_>>()
        };
        // Rank 1 runs first and hears nobody; rank 0 hears it.
        let first = Other::of_rank(1);
        hear(&first, 1);
        assert_eq!(hear(&first.answer(), usize::MAX), [false, false, true, true]);
    }
}
