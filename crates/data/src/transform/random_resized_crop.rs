//! Random crops of random size and aspect.

use rand::{Rng, RngExt};

use crate::any_image::AnyImage;
use crate::crop_box::CropBox;
use crate::picture::Picture;
use crate::transform::Raster;

/// torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomResizedCrop {
    /// Height and width of the result.
    pub size: [usize; 2],
    /// Smallest and largest share of the image's area.
    pub scale: [f64; 2],
    /// Smallest and largest width by height, drawn log-uniformly.
    pub ratio: [f64; 2],
}

impl RandomResizedCrop {
    /// A random box, resized.
    ///
    /// # Errors
    /// An image that is damaged.
    pub fn apply(&self, picture: &Picture<'_>, rng: &mut impl Rng) -> Result<AnyImage, String> {
        let area = self.sample(picture.dimensions(), rng);
        Ok(picture.part(area, self.size)?.resize(self.size))
    }

    /// A random box within an image of (width, height): the first of ten draws that fits, else
    /// the largest centred one within the ratios (`RandomResizedCrop.get_params`).
    pub fn sample(&self, (width, height): (u32, u32), rng: &mut impl Rng) -> CropBox {
        let area = f64::from(width) * f64::from(height);
        let between = |[low, high]: [f64; 2], x: f64| low + (high - low) * x;
        for _ in 0..10 {
            let target = area * between(self.scale, rng.random());
            let ratio = between(self.ratio.map(f64::ln), rng.random()).exp();
            let w = (target * ratio).sqrt().round_ties_even() as u32;
            let h = (target / ratio).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return CropBox { left, top, width: w, height: h };
            }
        }
        self.central((width, height))
    }

    fn central(&self, (width, height): (u32, u32)) -> CropBox {
        let found = f64::from(width) / f64::from(height);
        let [low, high] = self.ratio;
        let (w, h) = if found < low {
            (width, (f64::from(width) / low).round_ties_even() as u32)
        } else if found > high {
            ((f64::from(height) * high).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        CropBox { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    fn crop() -> RandomResizedCrop {
        RandomResizedCrop { size: [8, 8], scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] }
    }

    #[test]
    fn boxes_lie_within_the_image_and_the_bounds() {
        let mut areas = Vec::new();
        for index in 0..2000 {
            let found = crop().sample((400, 300), &mut rng(0, Stream::Augment, 0, index));
            assert!(found.left + found.width <= 400 && found.top + found.height <= 300, "{found:?}");
            let (w, h) = (f64::from(found.width), f64::from(found.height));
            // Half a pixel of rounding on each side.
            assert!((0.195..=1.0).contains(&(w * h / 120_000.0)), "{found:?}");
            assert!((0.74..=1.345).contains(&(w / h)), "{found:?}");
            areas.push(w * h / 120_000.0);
        }
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        // 0.4957 ± 0.186 in 200,000 draws of torchvision's algorithm in Python: less than the middle
        // of 0.2 and 1, because large areas do not fit at extreme ratios. Five standard errors.
        assert!((mean - 0.4957).abs() < 5.0 * 0.186 / 2000f64.sqrt(), "{mean}");
    }

    #[test]
    fn an_extreme_image_falls_back_to_the_centre() {
        let found = crop().sample((1000, 10), &mut rng(0, Stream::Augment, 0, 0));
        assert_eq!(found, CropBox { left: 493, top: 0, width: 13, height: 10 });
        let found = crop().sample((10, 1000), &mut rng(0, Stream::Augment, 0, 0));
        assert_eq!(found, CropBox { left: 0, top: 493, width: 10, height: 13 });
        let found = crop().sample((1, 1), &mut rng(0, Stream::Augment, 0, 0));
        assert_eq!(found, CropBox { left: 0, top: 0, width: 1, height: 1 });
    }
}
