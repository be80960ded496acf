//! Random brightness, contrast and saturation.

use image::RgbImage;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::transform::pillow;

/// torchvision's `ColorJitter` as timm sets it up: brightness, contrast and saturation each by a
/// factor from 1 − strength (at least 0) to 1 + strength, in random order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorJitter {
    /// The largest change, as a share.
    pub strength: f64,
}

impl ColorJitter {
    /// Draws order and factors, and applies them.
    pub fn apply(&self, image: RgbImage, rng: &mut impl Rng) -> RgbImage {
        let mut operations = [pillow::brightness, pillow::contrast, pillow::color];
        operations.shuffle(rng);
        let least = (1.0 - self.strength).max(0.0);
        operations
            .into_iter()
            .fold(image, |image, operation| operation(&image, rng.random_range(least..=1.0 + self.strength)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    #[test]
    fn colours_change_as_much_as_told() {
        // Grey, so that saturation changes nothing and contrast keeps the mean.
        let image = RgbImage::from_fn(8, 8, |x, y| image::Rgb([90 + 4 * x as u8 + 2 * y as u8; 3]));
        let jittered = |strength: f64, index: u64| {
            ColorJitter { strength }.apply(image.clone(), &mut rng(0, Stream::Augment, 0, index))
        };
        assert_eq!(jittered(0.0, 0), image);
        let mean = |image: &RgbImage| image.iter().map(|v| f64::from(*v)).sum::<f64>() / 192.0;
        let means: Vec<f64> = (0..400).map(|index| mean(&jittered(0.4, index)) / mean(&image)).collect();
        assert!(means.iter().all(|m| (0.59..1.41).contains(m)));
        assert!(means.iter().any(|m| *m < 0.63) && means.iter().any(|m| *m > 1.37));
        assert_eq!(jittered(0.4, 7), jittered(0.4, 7));
    }
}
