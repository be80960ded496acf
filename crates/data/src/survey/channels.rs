//! Means and deviations of the channels of images.

use crate::any_image::AnyImage;
use crate::transform::Raster;
use crate::transform::pillow::luma;

/// Means and deviations over the pixels of images, of intensities from 0 to 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Channels {
    pixels: f64,
    of_each: Vec<Channel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Channel {
    mean: f64,
    /// Sum of the squared differences from the mean.
    spread: f64,
}

impl Channels {
    /// Those of one image, as a network of so many channels sees it.
    pub fn of(image: &AnyImage, channels: usize) -> Self {
        let of_each = match image {
            AnyImage::Rgb(image) if channels == 1 => of_bytes(image.pixels().map(|pixel| [luma(pixel)])),
            AnyImage::Rgb(image) => of_bytes(image.as_raw().as_chunks::<3>().0.iter().copied()),
            AnyImage::Bands(bands) => bands.planes().map(Channel::of_floats).collect(),
        };
        let (width, height) = image.dimensions();
        Self { pixels: f64::from(width) * f64::from(height), of_each }
    }

    /// Adds those of other images (Chan, Golub and LeVeque 1979). The last bits depend on the order in which
    /// images are added.
    pub fn add(&mut self, other: &Self) {
        let pixels = self.pixels + other.pixels;
        self.of_each.resize(self.of_each.len().max(other.of_each.len()), Channel::default());
        for (all, more) in self.of_each.iter_mut().zip(&other.of_each) {
            let apart = more.mean - all.mean;
            all.mean += apart * other.pixels / pixels;
            all.spread += more.spread + apart * apart * self.pixels * other.pixels / pixels;
        }
        self.pixels = pixels;
    }

    /// Mean of each channel over all pixels; none without a pixel.
    pub fn mean(&self) -> Option<Vec<f64>> {
        (self.pixels > 0.0).then(|| self.of_each.iter().map(|channel| channel.mean).collect())
    }

    /// Standard deviation of each channel over all pixels; none without a pixel.
    pub fn std(&self) -> Option<Vec<f64>> {
        let deviation = |channel: &Channel| (channel.spread / self.pixels).sqrt();
        (self.pixels > 0.0).then(|| self.of_each.iter().map(deviation).collect())
    }
}

impl Channel {
    fn of_floats(plane: &[f32]) -> Self {
        let mean = plane.iter().map(|value| f64::from(*value)).sum::<f64>() / plane.len() as f64;
        let spread = plane.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
        Self { mean, spread }
    }
}

/// Sums of bytes are whole numbers, and exact.
fn of_bytes<const N: usize>(pixels: impl Iterator<Item = [u8; N]>) -> Vec<Channel> {
    let (mut count, mut sums, mut squares) = (0u64, [0u64; N], [0u64; N]);
    for pixel in pixels {
        count += 1;
        for (channel, value) in pixel.map(u64::from).into_iter().enumerate() {
            sums[channel] += value;
            squares[channel] += value * value;
        }
    }
    let count_of_all = count as f64;
    let of = |(sum, squares): (u64, u64)| {
        let spread = u128::from(count) * u128::from(squares) - u128::from(sum) * u128::from(sum);
        let mean = sum as f64 / count_of_all / 255.0;
        Channel { mean, spread: spread as f64 / count_of_all / (255.0 * 255.0) }
    };
    sums.into_iter().zip(squares).map(of).collect()
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
