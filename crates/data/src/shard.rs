//! Which part of the data a process sees when several train together.
//!
//! In training, `world_size` batches of `batch_size` are one batch of all processes, cut into
//! equal slices: two processes with a batch of 16 see what one with a batch of 32 sees. In
//! evaluation, the batches are those of one process, dealt out in turn, so that an image is judged
//! among the same others.

/// A process among those that share the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Number of the process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { rank: 0, world_size: 1 }
    }
}

impl Shard {
    /// Where this process's part number `batch` begins, in an epoch's order: a slice of a training
    /// batch, or a batch of evaluation.
    pub(crate) fn start(&self, batch: usize, batch_size: usize) -> usize {
        (batch * self.world_size + self.rank) * batch_size
    }

    /// How many of `batches` are dealt to this process in evaluation.
    pub(crate) fn share(&self, batches: usize) -> usize {
        batches.saturating_sub(self.rank).div_ceil(self.world_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_is_dealt_to_one_process() {
        for (batches, world_size) in [(0, 2), (1, 3), (6, 3), (7, 3), (8, 3), (5, 1)] {
            let shares: Vec<_> =
                (0..world_size).map(|rank| Shard { rank, world_size }.share(batches)).collect();
            assert_eq!(shares.iter().sum::<usize>(), batches);
            assert!(shares.iter().all(|share| shares[0] - share <= 1), "{shares:?}");
        }
    }

    #[test]
    fn slices_follow_each_other() {
        let start = |rank, batch| Shard { rank, world_size: 3 }.start(batch, 4);
        assert_eq!([start(0, 0), start(1, 0), start(2, 0), start(0, 1)], [0, 4, 8, 12]);
    }
}
