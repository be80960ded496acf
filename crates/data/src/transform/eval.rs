//! The evaluation transform.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::any_image::AnyImage;
use crate::picture::Picture;
use crate::transform::raster::Raster;
use crate::transform::resample::Interpolation;
use crate::transform::{CropBox, Transform};

/// Share of the resized short side that the official crop keeps.
const CROP_PERCENT: f64 = 0.875;
/// From this size on, the official code warps the whole image to the square.
const WARP_FROM: usize = 384;
/// Up to this size, the image is taken whole: at CIFAR's 32 pixels nothing is left to crop away.
const WHOLE_UP_TO: usize = 32;

/// How an image of any shape becomes one of the size that the network takes. "Enlarged" is the size
/// divided by the share that the crop keeps, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropMode {
    /// The short side becomes the enlarged size, and the middle is cut out, as timm and the official
    /// code do. A margin of half a pixel is rounded to even.
    Center,
    /// The same, but a margin of half a pixel is rounded down, as transformers does.
    CenterTruncated,
    /// Both sides become the enlarged size, whatever the shape was, and the middle is cut out.
    Squash,
    /// The long side becomes the enlarged size; what is missing beside the short one has the colour of
    /// the mean.
    Border,
}

/// Resize and crop, as the official code, timm and transformers do for evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalTransform {
    /// Height and width of the result.
    pub size: [usize; 2],
    /// Share of the enlarged size that the crop keeps.
    pub crop_pct: f64,
    /// How shapes are made equal.
    pub crop_mode: CropMode,
    /// How pixels between pixels are found.
    pub interpolation: Interpolation,
    /// The colour beside an image, for [`CropMode::Border`]: from 0 to 1 in each channel.
    pub border: Vec<f32>,
}

impl EvalTransform {
    /// What the official `build_transform` does for evaluation. Sizes that are not square, which it does
    /// not have, are always cut from the middle.
    pub fn official(size: [usize; 2]) -> Self {
        let [height, width] = size;
        let is_whole = height == width && (height >= WARP_FROM || height <= WHOLE_UP_TO);
        let (crop_pct, crop_mode) =
            if is_whole { (1.0, CropMode::Squash) } else { (CROP_PERCENT, CropMode::Center) };
        Self { size, crop_pct, crop_mode, interpolation: Interpolation::Bicubic, border: Vec::new() }
    }

    /// The share that a crop of a mode keeps where nothing else is said.
    pub fn usual_crop_pct(mode: CropMode) -> f64 {
        match mode {
            CropMode::Center | CropMode::CenterTruncated => CROP_PERCENT,
            CropMode::Squash | CropMode::Border => 1.0,
        }
    }

    /// Height and width before the crop.
    fn resized(&self, image: &impl Raster) -> [usize; 2] {
        let enlarged = self.size.map(|side| ((side as f64 / self.crop_pct).floor() as usize).max(1));
        match self.crop_mode {
            CropMode::Squash => enlarged,
            CropMode::Border => in_proportion(image, enlarged, f64::max),
            CropMode::Center | CropMode::CenterTruncated if enlarged[0] == enlarged[1] => {
                with_short_side(image, enlarged[0])
            }
            CropMode::Center | CropMode::CenterTruncated => in_proportion(image, enlarged, f64::min),
        }
    }
}

impl Transform for EvalTransform {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn apply(&self, picture: &Picture<'_>, _rng: &mut ChaCha8Rng) -> Result<AnyImage, String> {
        Ok(self.prepare(&*picture.whole()?))
    }
}

impl EvalTransform {
    /// Transforms a decoded image.
    pub fn prepare<R: Raster>(&self, image: &R) -> R {
        let is_cut = matches!(self.crop_mode, CropMode::Center | CropMode::CenterTruncated);
        let image = if is_cut { without_far_ends(image) } else { Cow::Borrowed(image) };
        let resized = self.resized(&*image);
        let (area, at) = middle(resized, self.size, self.crop_mode == CropMode::CenterTruncated);
        let part = image.resample_part(resized, self.interpolation, area);
        if [area.height as usize, area.width as usize] == self.size {
            return part;
        }
        let fill = if self.crop_mode == CropMode::Border { &self.border[..] } else { &[] };
        part.on_canvas(self.size, at, fill)
    }
}

/// torchvision's `Resize` to a short side: the long one is truncated.
fn with_short_side(image: &impl Raster, short: usize) -> [usize; 2] {
    let (width, height) = image.dimensions();
    let (rows, columns) = (height as usize, width as usize);
    if columns <= rows { [short * rows / columns, short] } else { [short, short * columns / rows] }
}

/// timm's `ResizeKeepRatio`: one side as wanted, the other one in proportion and rounded to even.
fn in_proportion(image: &impl Raster, wanted: [usize; 2], choose: fn(f64, f64) -> f64) -> [usize; 2] {
    let (width, height) = image.dimensions();
    let sides = [f64::from(height), f64::from(width)];
    let ratio = choose(sides[0] / wanted[0] as f64, sides[1] / wanted[1] as f64);
    sides.map(|side| ((side / ratio).round_ties_even() as usize).max(1))
}

/// The middle of an image, and where (column, row) that lies in one of the wanted size: what is missing comes
/// before and after it, the odd row and column after it.
fn middle(found: [usize; 2], wanted: [usize; 2], truncated: bool) -> (CropBox, (u32, u32)) {
    // First pixel that is kept, how many are, and where they go.
    let along = |axis: usize| {
        let (found, wanted) = (found[axis] as u32, wanted[axis] as u32);
        let half = f64::from(found.saturating_sub(wanted)) / 2.0;
        let margin = if truncated { half.floor() } else { half.round_ties_even() } as u32;
        (margin, found.min(wanted), wanted.saturating_sub(found) / 2)
    };
    let ((top, height, y), (left, width, x)) = (along(0), along(1));
    (CropBox { left, top, width, height }, (x, y))
}

/// The middle of an image that is very long: its ends lie outside the crop, but resizing them would
/// take memory in proportion.
fn without_far_ends<R: Raster>(image: &R) -> Cow<'_, R> {
    const LONGEST: u32 = 64;
    let (width, height) = image.dimensions();
    let (kept_width, kept_height) =
        (width.min(height.saturating_mul(LONGEST)), height.min(width.saturating_mul(LONGEST)));
    if (kept_width, kept_height) == (width, height) {
        return Cow::Borrowed(image);
    }
    let (left, top) = ((width - kept_width) / 2, (height - kept_height) / 2);
    Cow::Owned(image.crop(CropBox { left, top, width: kept_width, height: kept_height }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::IMAGENET_MEAN;
    use image::{Rgb, RgbImage};

    const MODES: [CropMode; 4] =
        [CropMode::Center, CropMode::CenterTruncated, CropMode::Squash, CropMode::Border];

    fn apply(transform: &EvalTransform, image: &RgbImage) -> RgbImage {
        transform.prepare(image)
    }

    /// A warp would show the marked edge columns of a wide image; a crop of the middle does not.
    #[test]
    fn large_non_square_sizes_are_cropped_not_warped() {
        let image = RgbImage::from_fn(900, 300, |x, _| image::Rgb([if x < 90 { 255 } else { 0 }, 0, 0]));
        let result = apply(&EvalTransform::official([400, 420]), &image);
        assert!(result.pixels().all(|pixel| pixel.0[0] == 0));
    }

    #[test]
    fn every_shape_becomes_the_asked_one() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (640, 480), (31, 33), (1, 60_000), (60_000, 1)] {
            for size in [[32, 32], [224, 224], [384, 384], [96, 160], [160, 96], [384, 96]] {
                let image = RgbImage::new(width, height);
                let official = EvalTransform::official(size);
                assert_eq!(apply(&official, &image).dimensions(), (size[1] as u32, size[0] as u32));
            }
            for (crop_mode, crop_pct) in MODES.into_iter().zip([0.3, 1.7, 0.9, 1.1]) {
                let transform = EvalTransform { crop_mode, crop_pct, ..EvalTransform::official([40, 24]) };
                let result = apply(&transform, &RgbImage::new(width, height));
                assert_eq!(result.dimensions(), (24, 40), "{transform:?}");
            }
        }
    }

    /// A margin of half a pixel: 7 columns of which 4 are kept.
    #[test]
    fn half_a_pixel_goes_to_even_or_is_dropped() {
        let first = |truncated| middle([4, 7], [4, 4], truncated).0.left;
        assert_eq!((first(false), first(true)), (2, 1));
    }

    #[test]
    fn a_border_has_its_colour_and_padding_is_black() {
        let white = RgbImage::from_pixel(40, 20, Rgb([255; 3]));
        let border = EvalTransform {
            crop_mode: CropMode::Border,
            crop_pct: 1.0,
            border: IMAGENET_MEAN.to_vec(),
            ..EvalTransform::official([40, 40])
        };
        let bordered = apply(&border, &white);
        assert_eq!((bordered.get_pixel(20, 9).0, bordered.get_pixel(20, 10).0), ([124, 116, 104], [255; 3]));
        // 40 / 1.25 = 32 pixels, 4 short on each side.
        let padded = apply(&EvalTransform { crop_mode: CropMode::Center, crop_pct: 1.25, ..border }, &white);
        assert_eq!((padded.get_pixel(20, 3).0, padded.get_pixel(20, 4).0), ([0; 3], [255; 3]));
    }
}
