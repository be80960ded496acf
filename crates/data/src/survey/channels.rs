//! Means and deviations of the channels of images.

use crate::any_image::AnyImage;
use crate::transform::Raster;
use crate::transform::pillow::luma;

/// Sums over the pixels of images, of intensities from 0 to 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Channels {
    pixels: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Channels {
    /// The sums of one image, as a network of so many channels sees it.
    pub fn of(image: &AnyImage, channels: usize) -> Self {
        let [sums, squares] = match image {
            AnyImage::Rgb(image) if channels == 1 => sums_of_bytes(image.pixels().map(|pixel| [luma(pixel)])),
            AnyImage::Rgb(image) => sums_of_bytes(image.as_raw().as_chunks::<3>().0.iter().copied()),
            AnyImage::Bands(bands) => {
                let sum = |power| move |plane: &[f32]| plane.iter().map(|v| f64::from(*v).powi(power)).sum();
                [1, 2].map(|power| bands.planes().map(sum(power)).collect())
            }
        };
        let (width, height) = image.dimensions();
        Self { pixels: f64::from(width) * f64::from(height), sums, squares }
    }

    /// Adds those of other images. The last bits of the sums depend on the order in which images are added.
    pub fn add(&mut self, other: &Self) {
        let channels = self.sums.len().max(other.sums.len());
        self.pixels += other.pixels;
        for (all, more) in [(&mut self.sums, &other.sums), (&mut self.squares, &other.squares)] {
            all.resize(channels, 0.0);
            all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
    }

    /// Mean of each channel over all pixels; none without a pixel.
    pub fn mean(&self) -> Option<Vec<f64>> {
        (self.pixels > 0.0).then(|| self.sums.iter().map(|sum| sum / self.pixels).collect())
    }

    /// Standard deviation of each channel over all pixels; none without a pixel.
    pub fn std(&self) -> Option<Vec<f64>> {
        let deviation = |(sum, squares): (&f64, &f64)| {
            let mean = sum / self.pixels;
            (squares / self.pixels - mean * mean).max(0.0).sqrt()
        };
        (self.pixels > 0.0).then(|| self.sums.iter().zip(&self.squares).map(deviation).collect())
    }
}

/// Sums and sums of squares of intensities in bytes, exact but for the last division.
fn sums_of_bytes<const N: usize>(pixels: impl Iterator<Item = [u8; N]>) -> [Vec<f64>; 2] {
    let (mut sums, mut squares) = ([0u64; N], [0u64; N]);
    for pixel in pixels {
        for (channel, value) in pixel.map(u64::from).into_iter().enumerate() {
            sums[channel] += value;
            squares[channel] += value * value;
        }
    }
    let scaled = |sums: [u64; N], largest: f64| sums.map(|sum| sum as f64 / largest).to_vec();
    [scaled(sums, 255.0), scaled(squares, 255.0 * 255.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::Bands;
    use image::{Rgb, RgbImage};

    fn near(found: Option<Vec<f64>>, right: &[f64]) {
        let found = found.unwrap();
        assert_eq!(found.len(), right.len());
        assert!(found.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn means_and_deviations_are_over_all_pixels() {
        assert_eq!((Channels::default().mean(), Channels::default().std()), (None, None));
        let mut channels = Channels::default();
        channels.add(&Channels::of(&RgbImage::from_pixel(3, 1, Rgb([0, 51, 255])).into(), 3));
        channels.add(&Channels::of(&RgbImage::from_pixel(1, 1, Rgb([255, 51, 0])).into(), 3));
        near(channels.mean(), &[0.25, 0.2, 0.75]);
        near(channels.std(), &[0.1875f64.sqrt(), 0.0, 0.1875f64.sqrt()]);
    }

    #[test]
    fn one_channel_is_grey_and_bands_are_as_many_as_they_are() {
        // Pillow's grey of pure red.
        let red = Channels::of(&RgbImage::from_pixel(2, 1, Rgb([255, 0, 0])).into(), 1);
        near(red.mean(), &[76.0 / 255.0]);
        let bands = Bands::new((2, 1), vec![0.25, 0.75, -1.0, -1.0]).unwrap();
        let bands = Channels::of(&AnyImage::Bands(bands), 2);
        near(bands.mean(), &[0.5, -1.0]);
        near(bands.std(), &[0.25, 0.0]);
    }
}
