//! Random masking (paper, section 3: a fixed share of patches, uniformly at random).

use data::rng::{Stream, rng};
use model::PatchMask;
use model::patch_mask::MaskError;
use rand::RngExt;

use crate::section::MaskShape;

/// The masks of a batch. A sample's mask depends on (`seed`, `epoch`, its index in the data set)
/// and on nothing else: not on its batch mates, the process or the worker.
///
/// # Errors
/// Only for a shape without visible or hidden patches.
pub fn random_mask(
    shape: &MaskShape,
    seed: u64,
    epoch: u64,
    indices: &[u64],
) -> Result<PatchMask, MaskError> {
    let visible = indices.iter().map(|&index| {
        let mut rng = rng(seed, Stream::Mask, epoch, index);
        let noise: Vec<f64> = (0..shape.patches()).map(|_| rng.random()).collect();
        smallest(&noise, shape.visible)
    });
    PatchMask::new(shape.grid, visible.collect())
}

/// The patches with the smallest noise: those that stay visible.
fn smallest(noise: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..noise.len()).collect();
    order.sort_by(|&a, &b| noise[a].total_cmp(&noise[b]));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: MaskShape = MaskShape { grid: [7, 7], visible: 19 };

    #[test]
    fn a_mask_depends_on_seed_epoch_and_index_only() {
        let batch = random_mask(&SHAPE, 1, 2, &[5, 9]).unwrap();
        let other = random_mask(&SHAPE, 1, 2, &[9, 3, 5]).unwrap();
        assert_eq!(batch.visible()[0], other.visible()[2]);
        assert_eq!(batch.visible()[1], other.visible()[0]);
        for (seed, epoch, index) in [(0, 2, 5), (1, 3, 5), (1, 2, 6)] {
            let changed = random_mask(&SHAPE, seed, epoch, &[index]).unwrap();
            assert_ne!(batch.visible()[0], changed.visible()[0]);
        }
    }

    #[test]
    fn every_patch_is_visible_equally_often() {
        let indices: Vec<u64> = (0..4000).collect();
        let mask = random_mask(&SHAPE, 0, 0, &indices).unwrap();
        let mut counts = [0; 49];
        mask.visible().iter().flatten().for_each(|&patch| counts[patch] += 1);
        let expected: f64 = 4000.0 * 19.0 / 49.0;
        // Five standard deviations of a binomial count.
        let bound = 5.0 * (expected * (1.0 - 19.0 / 49.0)).sqrt();
        assert!(counts.iter().all(|&count| (f64::from(count) - expected).abs() < bound), "{counts:?}");
    }

    #[test]
    fn the_smallest_noise_stays_visible() {
        assert_eq!(smallest(&[0.3, -1.0, 0.2, 5.0], 2), [1, 2]);
    }
}
