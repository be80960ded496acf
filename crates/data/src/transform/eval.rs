//! The evaluation transform.

use std::borrow::Cow;

use image::RgbImage;
use rand_chacha::ChaCha8Rng;

use crate::transform::{CropBox, Transform, crop, resize};

/// Share of the resized short side that the crop keeps.
const CROP_PERCENT: f64 = 0.875;
/// From this size on, the official code warps the whole image to the square.
const WARP_FROM: usize = 384;
/// Up to this size, the image is taken whole: at CIFAR's 32 pixels nothing is left to crop away.
const WHOLE_UP_TO: usize = 32;

/// Resize and centre crop, as the official `build_transform` does for evaluation. Non-square sizes,
/// which it does not have, are always cut from a resized image that covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalTransform {
    /// Height and width of the result.
    pub size: [usize; 2],
}

impl EvalTransform {
    /// Share of the resized short side that the crop keeps.
    pub fn crop_pct(&self) -> f64 {
        if self.is_whole() { 1.0 } else { CROP_PERCENT }
    }

    /// Whether the whole image is resized to the size, without a crop.
    fn is_whole(&self) -> bool {
        let [height, width] = self.size;
        height == width && (height >= WARP_FROM || height <= WHOLE_UP_TO)
    }
}

impl Transform for EvalTransform {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn apply(&self, image: &RgbImage, _rng: &mut ChaCha8Rng) -> RgbImage {
        let [height, width] = self.size;
        if self.is_whole() {
            return resize(image, self.size);
        }
        let image = &without_far_ends(image);
        let resized = resize(image, covering(image, self.size));
        let margin = |side: u32, kept: usize| {
            (f64::from(side.saturating_sub(kept as u32)) / 2.0).round_ties_even() as u32
        };
        let (left, top) = (margin(resized.width(), width), margin(resized.height(), height));
        crop(&resized, CropBox { left, top, width: width as u32, height: height as u32 })
    }
}

/// The middle of an image that is very long: its ends lie outside the crop, but resizing them would
/// take memory in proportion.
fn without_far_ends(image: &RgbImage) -> Cow<'_, RgbImage> {
    const LONGEST: u32 = 64;
    let (width, height) = image.dimensions();
    let (kept_width, kept_height) =
        (width.min(height.saturating_mul(LONGEST)), height.min(width.saturating_mul(LONGEST)));
    if (kept_width, kept_height) == (width, height) {
        return Cow::Borrowed(image);
    }
    let (left, top) = ((width - kept_width) / 2, (height - kept_height) / 2);
    Cow::Owned(crop(image, CropBox { left, top, width: kept_width, height: kept_height }))
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

    /// A warp would show the marked edge columns of a wide image; a crop of the middle does not.
    #[test]
    fn large_non_square_sizes_are_cropped_not_warped() {
        let image = RgbImage::from_fn(900, 300, |x, _| image::Rgb([if x < 90 { 255 } else { 0 }, 0, 0]));
        let result = EvalTransform { size: [400, 420] }.apply(&image, &mut rng(0, Stream::Augment, 0, 0));
        assert!(result.pixels().all(|pixel| pixel.0[0] == 0));
    }

    #[test]
    fn every_shape_becomes_the_asked_one() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (640, 480), (31, 33), (1, 60_000), (60_000, 1)] {
            for size in [[32, 32], [224, 224], [384, 384], [96, 160], [160, 96], [384, 96]] {
                let image = RgbImage::new(width, height);
                let result = EvalTransform { size }.apply(&image, &mut rng(0, Stream::Augment, 0, 0));
                assert_eq!(result.dimensions(), (size[1] as u32, size[0] as u32));
            }
        }
    }
}
