//! Going on with other processes: an update keeps its images, whoever computes them.

use checkpoint::{RunState, Split};

use crate::error::TrainError;
use crate::sections::TrainConfig;

/// Makes the updates of a run that goes on from a state as large as they were. Where other processes
/// than before come, `accumulate` and, if need be, `batch_size` follow their number. Returns what is to
/// be said of it.
///
/// # Errors
/// The settings make updates of another size, or no whole batches do.
pub(crate) fn keep_update(
    train: &mut TrainConfig,
    state: &RunState,
    processes: usize,
) -> Result<Option<String>, TrainError> {
    let Some(Split { batch_size, accumulate }) = state.split else {
        // Former versions did not say what would be needed.
        let (before, now) = (state.processes, processes);
        return if before == now { Ok(None) } else { Err(TrainError::OtherWorld { before, now }) };
    };
    let before = Update { processes: state.processes, batch_size, accumulate };
    let asked = Update { processes, batch_size: train.batch_size, accumulate: train.accumulate };
    let images = before.images();
    let now = match asked.images() == images {
        true => asked,
        false if processes == before.processes => {
            let fitting = asked.of(images).map(Update::settings);
            return Err(TrainError::OtherBatch { images, asked: asked.images(), fitting });
        }
        false => asked.of(images).ok_or(TrainError::NoSplit { images, processes })?,
    };
    (train.batch_size, train.accumulate) = (now.batch_size, now.accumulate);
    let words = |update: Update| format!("{} of {}", update.settings(), update.workers());
    Ok((now != before).then(|| {
        format!("an update keeps its {images} images: {} before, {} from here on", words(before), words(now))
    }))
}

/// Who computes an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Update {
    processes: usize,
    batch_size: usize,
    accumulate: usize,
}

impl Update {
    fn images(self) -> usize {
        self.processes * self.batch_size * self.accumulate
    }

    /// One of so many images by the same processes, in batches that are as large as these or, where that
    /// does not come out even, as large as possible.
    fn of(self, images: usize) -> Option<Self> {
        let of_a_process = images.is_multiple_of(self.processes).then(|| images / self.processes)?;
        let batch_size = (1..=self.batch_size).rev().find(|size| of_a_process.is_multiple_of(*size))?;
        Some(Self { batch_size, accumulate: of_a_process / batch_size, ..self })
    }

    fn settings(self) -> String {
        format!("train.batch_size={} and train.accumulate={}", self.batch_size, self.accumulate)
    }

    fn workers(self) -> String {
        match self.processes {
            1 => "one process".to_owned(),
            processes => format!("{processes} processes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(processes: usize, batch_size: usize, accumulate: usize) -> RunState {
        RunState { processes, split: Some(Split { batch_size, accumulate }), ..RunState::default() }
    }

    fn kept(
        before: &RunState,
        processes: usize,
        batch_size: usize,
        accumulate: usize,
    ) -> Result<[usize; 2], String> {
        let mut train = TrainConfig { batch_size, accumulate, ..TrainConfig::default() };
        let said = keep_update(&mut train, before, processes).map_err(|error| error.to_string())?;
        let split = Split { batch_size: train.batch_size, accumulate: train.accumulate };
        let same = before.processes == processes && before.split.is_none_or(|before| before == split);
        assert_eq!(said.is_none(), same, "{said:?}");
        Ok([train.batch_size, train.accumulate])
    }

    #[test]
    fn an_update_is_divided_among_the_processes_that_are_there() {
        let before = state(4, 8, 1);
        assert_eq!(kept(&before, 4, 8, 1).unwrap(), [8, 1]);
        // As asked for, where that makes as many images.
        assert_eq!(kept(&before, 2, 16, 1).unwrap(), [16, 1]);
        assert_eq!(kept(&before, 1, 8, 4).unwrap(), [8, 4]);
        assert_eq!(kept(&before, 4, 4, 2).unwrap(), [4, 2]);
        // With the settings of before, fewer and more processes.
        assert_eq!(kept(&before, 2, 8, 1).unwrap(), [8, 2]);
        assert_eq!(kept(&before, 1, 8, 1).unwrap(), [8, 4]);
        assert_eq!(kept(&before, 8, 8, 1).unwrap(), [4, 1]);
        assert_eq!(
            kept(&state(4, 12, 1), 3, 12, 1).unwrap(),
            [8, 2],
            "16 images a process, 8 of 12 at a time"
        );
    }

    #[test]
    fn what_does_not_come_out_even_is_refused() {
        let before = state(4, 8, 1);
        let found = kept(&before, 3, 8, 1).unwrap_err();
        assert!(found.contains("32 images") && found.contains("3 processes"), "{found}");
        let found = kept(&before, 4, 16, 1).unwrap_err();
        assert!(found.contains("32 images") && found.contains("64"), "{found}");
        assert!(found.contains("train.batch_size=8 and train.accumulate=1"), "{found}");
        let old = RunState { split: None, ..before };
        assert_eq!(kept(&old, 4, 64, 1).unwrap(), [64, 1]);
        assert!(kept(&old, 2, 16, 1).unwrap_err().contains("written by 4 processes"));
    }
}
