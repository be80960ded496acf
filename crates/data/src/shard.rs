//! Which part of the data a process sees when several train together.
//!
//! In training, `world_size` batches of `batch_size` are one batch of all processes, cut into
//! equal slices: two processes with a batch of 16 see what one with a batch of 32 sees. In
//! evaluation, the batches are those of one process, dealt out in turn, so that an image is judged
//! among the same others.

/// A process among those that share the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
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

    /// Puts what every process found for its images in evaluation, one item an image, back into the
    /// order of the source.
    pub(crate) fn in_order<T>(found: Vec<Vec<T>>, batch_size: usize) -> Vec<T> {
        let mut all = Vec::with_capacity(found.iter().map(Vec::len).sum());
        let mut ranks: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
        while ranks.iter().any(|rank| rank.len() > 0) {
            for rank in &mut ranks {
                all.extend(rank.take(batch_size));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_dealt_out_come_back_in_order() {
        for images in [0usize, 1, 5, 6, 7, 23] {
            for (batch_size, world_size) in [(1, 1), (3, 1), (3, 2), (2, 3), (4, 5), (30, 2)] {
                let batches: Vec<_> =
                    (0..images).collect::<Vec<_>>().chunks(batch_size).map(<[_]>::to_vec).collect();
                let found: Vec<Vec<usize>> = (0..world_size)
                    .map(|rank| {
                        let own: Vec<_> = batches.iter().skip(rank).step_by(world_size).collect();
                        assert_eq!(Shard { rank, world_size }.share(batches.len()), own.len());
                        own.into_iter().flatten().copied().collect()
                    })
                    .collect();
                assert_eq!(Shard::in_order(found, batch_size), (0..images).collect::<Vec<_>>());
            }
        }
    }
}
