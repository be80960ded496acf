//! The evaluation transform.

use image::RgbImage;
use rand_chacha::ChaCha8Rng;

use crate::transform::{CropBox, Transform, crop, resize};

/// Share of the resized short side that the crop keeps.
const CROP_PERCENT: f64 = 0.875;
/// From this size on, the official code warps the whole image to the square.
const WARP_FROM: usize = 384;
/// Up to this size, the image is taken whole: at CIFAR's 32 pixels nothing is left to crop away.
const WHOLE_UP_TO: usize = 32;

/// Resize and centre crop, as the official `build_transform` does for evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalTransform {
    /// Height and width of the result.
    pub size: [usize; 2],
}

impl Transform for EvalTransform {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn apply(&self, image: &RgbImage, _rng: &mut ChaCha8Rng) -> RgbImage {
        let [height, width] = self.size;
        let largest = height.max(width);
        if largest >= WARP_FROM || largest <= WHOLE_UP_TO {
            return resize(image, self.size);
        }
        let resized = resize(image, covering(image, self.size));
        let margin = |side: u32, kept: usize| {
            (f64::from(side.saturating_sub(kept as u32)) / 2.0).round_ties_even() as u32
        };
        let (left, top) = (margin(resized.width(), width), margin(resized.height(), height));
        crop(&resized, CropBox { left, top, width: width as u32, height: height as u32 })
    }
}

/// Size of the image when its tighter side is `size / 0.875`, the other one in proportion; height
/// and width, truncated as torchvision does.
fn covering(image: &RgbImage, [height, width]: [usize; 2]) -> [usize; 2] {
    let enlarged = |side: usize| (side as f64 / CROP_PERCENT) as usize;
    let (rows, columns) = (image.height() as usize, image.width() as usize);
    let (tall, wide) = (enlarged(height), enlarged(width));
    // Which side is tighter: rows / tall against columns / wide.
    if rows * wide <= columns * tall {
        [tall, (tall * columns / rows).max(width)]
    } else {
        [(wide * rows / columns).max(height), wide]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    #[test]
    fn every_shape_becomes_the_asked_one() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (640, 480), (31, 33)] {
            for size in [[32, 32], [224, 224], [384, 384], [96, 160], [160, 96]] {
                let image = RgbImage::new(width, height);
                let result = EvalTransform { size }.apply(&image, &mut rng(0, Stream::Augment, 0, 0));
                assert_eq!(result.dimensions(), (size[1] as u32, size[0] as u32));
            }
        }
    }
}
