//! What transforms ask of an image, of whatever kind.

use image::{Rgb, RgbImage, imageops};

use crate::crop_box::{CropBox, crop};
use crate::transform::resample::{Interpolation, resample, resample_part};
use crate::transform::resize::resize;

/// An image that can be cut, resized and mirrored.
pub trait Raster: Clone {
    /// (width, height).
    fn dimensions(&self) -> (u32, u32);

    /// Cuts out a box that lies within the image.
    #[must_use]
    fn crop(&self, area: CropBox) -> Self;

    /// Bicubic resizing to `[height, width]`, for training.
    #[must_use]
    fn resize(&self, size: [usize; 2]) -> Self;

    /// Resizing to `[height, width]` as Pillow does, for evaluation.
    #[must_use]
    fn resample(&self, size: [usize; 2], interpolation: Interpolation) -> Self;

    /// A box of that, of which the rest need not be computed.
    #[must_use]
    fn resample_part(&self, size: [usize; 2], interpolation: Interpolation, area: CropBox) -> Self {
        self.resample(size, interpolation).crop(area)
    }

    /// Turns left and right round.
    fn mirror(&mut self);

    /// An image of `[height, width]` of one colour, from 0 to 1 in each channel, with this one on it at
    /// (column, row). No colour is black.
    #[must_use]
    fn on_canvas(&self, size: [usize; 2], at: (u32, u32), colour: &[f32]) -> Self;
}

impl Raster for RgbImage {
    fn dimensions(&self) -> (u32, u32) {
        self.dimensions()
    }

    fn crop(&self, area: CropBox) -> Self {
        crop(self, area)
    }

    fn resize(&self, size: [usize; 2]) -> Self {
        resize(self, size)
    }

    fn resample(&self, size: [usize; 2], interpolation: Interpolation) -> Self {
        resample(self, size, interpolation)
    }

    fn resample_part(&self, size: [usize; 2], interpolation: Interpolation, area: CropBox) -> Self {
        resample_part(self, size, interpolation, area)
    }

    fn mirror(&mut self) {
        let width = 3 * self.width() as usize;
        // An image without columns has no rows to turn.
        self.chunks_exact_mut(width.max(1)).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
    }

    fn on_canvas(&self, [height, width]: [usize; 2], (x, y): (u32, u32), colour: &[f32]) -> Self {
        let colour = Rgb(in_bytes(colour));
        let mut canvas = Self::from_pixel(width as u32, height as u32, colour);
        imageops::replace(&mut canvas, self, i64::from(x), i64::from(y));
        canvas
    }
}

/// A colour in bytes, rounded to even as timm does, of the numbers as they are written: 0.3 and not
/// 0.30000001. One number is a grey.
fn in_bytes(colour: &[f32]) -> [u8; 3] {
    let written = |mean: &f32| mean.to_string().parse().unwrap_or_else(|_| f64::from(*mean));
    let of = |index: usize| colour.get(index).or(colour.first()).map_or(0.0, written);
    [0, 1, 2].map(|index| (255.0 * of(index)).round_ties_even() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::IMAGENET_MEAN;

    #[test]
    fn colours_are_rounded_as_timm_does() {
        assert_eq!(in_bytes(&IMAGENET_MEAN), [124, 116, 104]);
        assert_eq!(in_bytes(&[0.1, 0.3, 0.5]), [26, 76, 128]);
        assert_eq!((in_bytes(&[0.5]), in_bytes(&[])), ([128; 3], [0; 3]));
    }
}
