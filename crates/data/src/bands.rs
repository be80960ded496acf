//! Images of any number of channels.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{Rgb, RgbImage};

use crate::crop_box::CropBox;
use crate::transform::{Interpolation, Raster, resample_plane};

thread_local! {
    /// Keeps its buffers from plane to plane.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// An image of any number of channels with as many bits as it was stored with: numbers from 0 (the smallest
/// that can be stored, or that `data.range` names) to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Bands {
    width: u32,
    height: u32,
    /// `[C, H, W]`.
    values: Vec<f32>,
}

impl Bands {
    /// The values, `[C, H, W]`, of an image of (width, height).
    ///
    /// # Errors
    /// No pixels, or no whole number of channels.
    pub fn new((width, height): (u32, u32), values: Vec<f32>) -> Result<Self, String> {
        let plane = width as usize * height as usize;
        if plane == 0 || values.is_empty() || !values.len().is_multiple_of(plane) {
            return Err(format!("{} numbers are no image of {width}×{height} pixels", values.len()));
        }
        Ok(Self { width, height, values })
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.values.len() / self.plane()
    }

    /// The values, `[C, H, W]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of each channel, row by row.
    pub fn planes(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.plane())
    }

    /// What can be shown of it: the first three channels, or the first one as grey.
    pub fn to_rgb(&self) -> RgbImage {
        let planes: Vec<_> = self.planes().collect();
        let channels = if planes.len() < 3 { [planes[0]; 3] } else { [planes[0], planes[1], planes[2]] };
        RgbImage::from_fn(self.width, self.height, |x, y| {
            let at = y as usize * self.width as usize + x as usize;
            Rgb(channels.map(|plane| (255.0 * plane[at].clamp(0.0, 1.0)).round() as u8))
        })
    }

    fn plane(&self) -> usize {
        self.width as usize * self.height as usize
    }
}

impl Raster for Bands {
    fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn crop(&self, area: CropBox) -> Self {
        let [left, top, columns, rows] =
            [area.left, area.top, area.width, area.height].map(|pixels| pixels as usize);
        let mut values = Vec::with_capacity(self.channels() * rows * columns);
        for plane in self.planes() {
            for row in plane.chunks_exact(self.width as usize).skip(top).take(rows) {
                values.extend(&row[left..left + columns]);
            }
        }
        Self { width: area.width, height: area.height, values }
    }

    fn resize(&self, [height, width]: [usize; 2]) -> Self {
        let (to_width, to_height) = (width as u32, height as u32);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        let mut values = vec![0.0f32; self.channels() * height * width];
        for (from, to) in self.planes().zip(values.chunks_exact_mut((height * width).max(1))) {
            let from = bytemuck::cast_slice(from);
            let from = ImageRef::new(self.width, self.height, from, PixelType::F32);
            let to = bytemuck::cast_slice_mut(to);
            let to = Image::from_slice_u8(to_width, to_height, to, PixelType::F32);
            let (from, mut to) = (from.expect("a plane of floats"), to.expect("a plane of floats"));
            let done = RESIZER.with_borrow_mut(|resizer| resizer.resize(&from, &mut to, &options));
            done.expect("both images are of floats");
        }
        Self { width: to_width, height: to_height, values }
    }

    fn resample(&self, size: [usize; 2], interpolation: Interpolation) -> Self {
        let [height, width] = size.map(|side| side as u32);
        if self.dimensions() == (width, height) {
            return self.clone();
        }
        let from = [self.height as usize, self.width as usize];
        let values = self.planes().flat_map(|plane| resample_plane(plane, from, size, interpolation));
        Self { width, height, values: values.collect() }
    }

    fn mirror(&mut self) {
        let width = self.width as usize;
        self.values.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    }

    fn on_canvas(&self, [height, width]: [usize; 2], (x, y): (u32, u32), colour: &[f32]) -> Self {
        let mut values = Vec::with_capacity(self.channels() * height * width);
        for (channel, plane) in self.planes().enumerate() {
            let start = values.len();
            let level = colour.get(channel).or(colour.first()).copied().unwrap_or_default();
            values.resize(start + height * width, level);
            let rows = values[start..].chunks_exact_mut(width).skip(y as usize);
            for (to, from) in rows.zip(plane.chunks_exact(self.width as usize)) {
                to[x as usize..][..from.len()].copy_from_slice(from);
            }
        }
        Self { width: width as u32, height: height as u32, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels of 3×2 pixels: 0 to 5 and 10 to 15.
    fn bands() -> Bands {
        Bands::new((3, 2), (0..6).chain(10..16).map(|v| v as f32).collect()).unwrap()
    }

    #[test]
    fn channels_are_cut_turned_and_laid_on_a_canvas_alike() {
        let cut = bands().crop(CropBox { left: 1, top: 1, width: 2, height: 1 });
        assert_eq!((cut.dimensions(), cut.values()), ((2, 1), &[4.0, 5.0, 14.0, 15.0][..]));
        let mut turned = bands();
        turned.mirror();
        assert_eq!(turned.values()[..4], [2.0, 1.0, 0.0, 5.0]);
        assert_eq!(turned.values()[9..], [15.0, 14.0, 13.0]);
        let laid = cut.on_canvas([2, 3], (1, 1), &[7.0, 8.0]);
        assert_eq!(laid.values(), [7.0, 7.0, 7.0, 7.0, 4.0, 5.0, 8.0, 8.0, 8.0, 8.0, 14.0, 15.0]);
    }

    #[test]
    fn nearest_takes_the_pixel_that_lies_there() {
        let small = bands().resample([1, 2], Interpolation::Nearest);
        assert_eq!(small.values(), [3.0, 5.0, 13.0, 15.0]);
    }

    #[test]
    fn values_that_are_no_image_are_refused() {
        assert!(Bands::new((3, 2), vec![0.0; 7]).is_err());
        assert!(Bands::new((0, 2), vec![0.0; 6]).is_err());
        assert!(Bands::new((3, 2), Vec::new()).is_err());
    }

    #[test]
    fn three_channels_are_colours_and_two_are_grey() {
        let three = Bands::new((1, 1), vec![0.0, 0.5, 1.5]).unwrap();
        assert_eq!(three.to_rgb().get_pixel(0, 0).0, [0, 128, 255]);
        assert_eq!(Bands::new((1, 1), vec![0.2, 1.0]).unwrap().to_rgb().get_pixel(0, 0).0, [51; 3]);
    }
}
