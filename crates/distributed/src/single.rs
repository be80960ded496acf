//! One process by itself.

use crate::communicator::{Bucket, Communicator, Pending};
use crate::error::DistributedError;

/// The only process there is: collectives have nothing to do.
#[derive(Debug, Clone, Copy)]
pub struct Single;

struct Done(Bucket);

impl Pending for Done {
    fn wait(self: Box<Self>) -> Result<Bucket, DistributedError> {
        Ok(self.0)
    }
}

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, bucket: Bucket) -> Result<Box<dyn Pending>, DistributedError> {
        Ok(Box::new(Done(bucket)))
    }

    fn broadcast(&self, _bytes: &mut [u8]) -> Result<(), DistributedError> {
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        Ok(vec![bytes.to_vec()])
    }

    fn fail(&self, _reason: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectives_of_one_process_change_nothing() {
        let world: &dyn Communicator = &Single;
        assert!(world.is_leader());
        let pending = world.all_reduce_sum(Bucket::Host(vec![1.0, -2.5])).unwrap();
        assert!(matches!(pending.wait().unwrap(), Bucket::Host(sum) if sum == [1.0, -2.5]));
        assert_eq!(world.broadcast_text("runs/ä").unwrap(), "runs/ä");
        assert_eq!(world.all_gather_f64(&[0.1, f64::NAN]).unwrap()[0][0], 0.1);
        assert_eq!(world.mean(&[0.1]).unwrap(), [0.1]);
        world.barrier().unwrap();
    }
}
