//! The order of samples.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::rng::{Stream, rng};

/// Version of [`order`] and [`balanced_order`]: a run that stands within an epoch can go on with no other.
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

/// The order of the samples in an epoch: a random permutation of 0..`count`.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut rng(seed, Stream::Order, epoch, 0));
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
