//! The order of samples.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::rng::{Stream, rng};

/// Version of [`order`], [`balanced_order`] and [`shard_order`]: a run that stands within an epoch can go on
/// with no other.
pub const ORDER_VERSION: u32 = 2;

/// How often the images of an epoch are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Every image once.
    #[default]
    Uniform,
    /// The images of every class equally often.
    Balanced,
}

/// In which order the images of an epoch are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// In any order: every image is read wherever it lies.
    #[default]
    Images,
    /// Shard after shard, in any order, mixed within a [buffer](SHUFFLE_BUFFER): for disks that are slow
    /// when they are read here and there, and for Parquet files, whose shards are their row groups.
    Shards,
}

/// Images among which the next one is drawn if they are shuffled shard by shard: as many as a computer
/// keeps in memory after it read ahead.
pub const SHUFFLE_BUFFER: usize = 4096;

/// The order of the samples in an epoch: a random permutation of 0..`count`.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut rng(seed, Stream::Order, epoch, 0));
    order
}

/// The order of the samples in an epoch that goes through shards of so many images one after the other,
/// in a random order. The next image is drawn among `buffer` of them, whose place the next one of the
/// shards takes.
pub fn shard_order(seed: u64, epoch: u64, shards: &[usize], buffer: usize) -> Vec<u32> {
    let mut rng = rng(seed, Stream::Order, epoch, 2);
    let mut end = 0;
    let range = |images: &usize| {
        end += *images as u32;
        end - *images as u32..end
    };
    let mut ranges: Vec<_> = shards.iter().map(range).collect();
    ranges.shuffle(&mut rng);
    let mut order: Vec<u32> = ranges.into_iter().flatten().collect();
    // In place: those from `at` on to `at + buffer` are the buffer when number `at` is drawn.
    for at in 0..order.len() {
        let buffered = at..(at + buffer.max(1)).min(order.len());
        order.swap(at, rng.random_range(buffered));
    }
    order
}

/// The order of the samples in an epoch that shows every class equally often, up to one image, and as
/// many images as there are labels. Within a class, no image is shown again before all others were; of
/// a class with more images than places, chance takes some.
///
/// An image that is shown for the r-th time (from 0) stands there as index + r · number of images, so
/// that random choices can tell it from the times before.
pub fn balanced_order(seed: u64, epoch: u64, labels: &[u32]) -> Vec<u64> {
    let mut rng = rng(seed, Stream::Order, epoch, 1);
    let mut by_class: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (index, label) in labels.iter().enumerate() {
        by_class.entry(*label).or_default().push(index as u64);
    }
    let mut classes: Vec<_> = by_class.into_values().collect();
    // The first classes of a random order get what is left over.
    classes.shuffle(&mut rng);
    let (each, left_over) = (labels.len() / classes.len().max(1), labels.len() % classes.len().max(1));
    let mut order = Vec::with_capacity(labels.len());
    for (number, mut images) in classes.into_iter().enumerate() {
        let end = order.len() + each + usize::from(number < left_over);
        let mut repeat = 0;
        while order.len() < end {
            images.shuffle(&mut rng);
            let shown = images.iter().take(end - order.len());
            order.extend(shown.map(|index| index + repeat * labels.len() as u64));
            repeat += 1;
        }
    }
    order.shuffle(&mut rng);
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

    #[test]
    fn shards_are_gone_through_one_after_the_other() {
        let shards = [5, 0, 40, 7, 30];
        let mut starts = BTreeMap::new();
        for epoch in 0..50 {
            let order = shard_order(1, epoch, &shards, 4);
            assert_eq!(order, shard_order(1, epoch, &shards, 4));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..82).collect::<Vec<_>>());
            // None is shown before what lies a buffer earlier in its shard was read.
            for (place, image) in order.iter().enumerate().filter(|(_, image)| (5..45).contains(*image)) {
                let earlier = order[..place].iter().filter(|other| (5..*image).contains(*other)).count();
                assert!(earlier + 4 > (*image - 5) as usize, "{image} at {place} of {order:?}");
            }
            *starts.entry(order[0] / 5).or_insert(0) += 1;
        }
        assert!(starts.len() > 3, "{starts:?}");
        assert_ne!(shard_order(1, 2, &shards, 4), shard_order(2, 2, &shards, 4));
        let unmixed = shard_order(1, 2, &[3, 2], 1);
        assert!(unmixed == [0, 1, 2, 3, 4] || unmixed == [3, 4, 0, 1, 2], "{unmixed:?}");
        assert_eq!(shard_order(1, 2, &[], 4), [0u32; 0]);
        assert_eq!(
            shard_order(1, 2, &[3, 5], 3),
            [2, 1, 3, 4, 6, 0, 7, 5],
            "another order takes another version"
        );
    }

    #[test]
    fn a_balanced_epoch_shows_every_class_equally_often() {
        // 2 images of one class, 90 of another, 11 of the last: 103 places, 34 or 35 each.
        let labels: Vec<u32> = (0..103).map(|i| if i < 2 { 7 } else { u32::from(i < 92) }).collect();
        let mut extra = [0; 8];
        for epoch in 0..300 {
            let order = balanced_order(5, epoch, &labels);
            assert_eq!(order.len(), 103);
            let mut distinct = order.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 103, "two places make the same random choices");
            for class in [0, 1, 7] {
                let places: Vec<_> =
                    order.iter().filter(|key| labels[(**key % 103) as usize] == class).collect();
                assert!((34..=35).contains(&places.len()), "{class}: {}", places.len());
                extra[class as usize] += places.len() - 34;
                // No image twice more than another.
                let images = labels.iter().filter(|label| **label == class).count();
                assert_eq!(
                    places.iter().map(|key| **key / 103).max().unwrap() as usize,
                    (places.len() - 1) / images
                );
            }
        }
        assert!([0, 1, 7].iter().all(|class| (60..140).contains(&extra[*class])), "{extra:?}");
        assert_eq!(balanced_order(5, 1, &labels), balanced_order(5, 1, &labels));
        assert_ne!(balanced_order(5, 1, &labels), balanced_order(5, 2, &labels));
        assert_ne!(balanced_order(5, 1, &labels), balanced_order(6, 1, &labels));
        let few = balanced_order(1, 2, &[0, 0, 0, 1]);
        assert_eq!(few, [0, 7, 3, 1], "another order takes another version");
        assert_eq!(balanced_order(1, 2, &[]), [0u64; 0]);
    }
}
