//! The order of samples.

use rand::seq::SliceRandom;

use crate::rng::{Stream, rng};

/// Version of [`order`]: a run that stands within an epoch can go on with no other.
pub const ORDER_VERSION: u32 = 2;

/// The order of the samples in an epoch: a random permutation of 0..`count`.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut rng(seed, Stream::Order, epoch, 0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_an_order_of_its_own() {
        let mut sorted = order(1, 2, 100);
        assert_ne!(sorted, order(1, 3, 100));
        assert_eq!(sorted, order(1, 2, 100));
        assert_eq!(order(1, 2, 8), [4, 5, 7, 3, 2, 1, 0, 6], "another order takes another version");
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
