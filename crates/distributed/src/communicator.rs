//! What processes that train together do with each other.

use crate::error::DistributedError;

/// Numbers that are added up over all processes.
#[derive(Debug)]
pub enum Bucket {
    /// Numbers in the memory of the host.
    Host(Vec<f32>),
    /// A contiguous tensor of libtorch, on a GPU or the host. The sums take its place.
    #[cfg(feature = "tch")]
    Tensor(tch::Tensor),
}

/// A collective that is under way.
pub trait Pending: Send {
    /// The sums. On the host this waits for them; on a GPU, where whatever is asked of it next comes after
    /// them, it does not, and [`Communicator::check`] knows of failures.
    ///
    /// # Errors
    /// As all collectives of [`Communicator`].
    fn wait(self: Box<Self>) -> Result<Bucket, DistributedError>;
}

/// The processes of a job, seen from one of them, its rank.
///
/// Collectives have to be called by all ranks, in the same order. Each has a timeout.
///
/// # Errors
/// All collectives fail when another rank has ended or does not answer; the message names it.
pub trait Communicator: Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn world_size(&self) -> usize;

    /// Whether there is nobody to add gradients up with. A group of one process adds them up all the same.
    fn is_alone(&self) -> bool {
        self.world_size() == 1
    }

    /// Begins to add up the buckets of all ranks, element by element. They have the same length.
    fn all_reduce_sum(&self, bucket: Bucket) -> Result<Box<dyn Pending>, DistributedError>;

    /// Gives all ranks the bytes of rank 0. They have the same length.
    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), DistributedError>;

    /// The bytes of every rank, which may differ in length, in the order of the ranks.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError>;

    /// Waits until all ranks are here.
    fn barrier(&self) -> Result<(), DistributedError> {
        self.all_gather(&[]).map(drop)
    }

    /// Looks at collectives that nobody waited for.
    ///
    /// # Errors
    /// One of them has failed.
    fn check(&self) -> Result<(), DistributedError> {
        Ok(())
    }

    /// Tells the other ranks why this one ends; they end at their next collective. Nothing works
    /// afterwards.
    fn fail(&self, reason: &str);

    /// Whether this is rank 0, which alone writes files and talks.
    fn is_leader(&self) -> bool {
        self.rank() == 0
    }

    /// The text of rank 0.
    fn broadcast_text(&self, text: &str) -> Result<String, DistributedError> {
        let mut length = (text.len() as u64).to_le_bytes();
        self.broadcast(&mut length)?;
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(u64::from_le_bytes(length) as usize, 0);
        self.broadcast(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| DistributedError::Disagreement)
    }

    /// The numbers of every rank, in the order of the ranks.
    fn all_gather_f64(&self, numbers: &[f64]) -> Result<Vec<Vec<f64>>, DistributedError> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let gathered = self.all_gather(&bytes)?.into_iter();
        Ok(gathered
            .map(|bytes| bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
            .collect())
    }

    /// The means of as many numbers of every rank. The same bits on all of them.
    fn mean(&self, numbers: &[f64]) -> Result<Vec<f64>, DistributedError> {
        if self.world_size() == 1 {
            return Ok(numbers.to_vec());
        }
        let ranks = self.all_gather_f64(numbers)?;
        if ranks.iter().any(|rank| rank.len() != numbers.len()) {
            return Err(DistributedError::Disagreement);
        }
        let mean = |i: usize| ranks.iter().map(|rank| rank[i]).sum::<f64>() / ranks.len() as f64;
        Ok((0..numbers.len()).map(mean).collect())
    }
}
