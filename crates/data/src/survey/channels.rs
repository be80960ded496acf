//! Means and deviations of the channels of images.

use image::RgbImage;

/// Sums over the pixels of images. They are whole numbers, so that the order in which images are added
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Channels {
    pixels: u128,
    sums: [u128; 3],
    squares: [u128; 3],
}

impl Channels {
    /// The sums of one image.
    pub fn of(image: &RgbImage) -> Self {
        let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
        for pixel in image.as_raw().as_chunks::<3>().0 {
            for channel in 0..3 {
                let value = u64::from(pixel[channel]);
                sums[channel] += value;
                squares[channel] += value * value;
            }
        }
        let pixels = u128::from(image.width()) * u128::from(image.height());
        Self { pixels, sums: sums.map(u128::from), squares: squares.map(u128::from) }
    }

    /// Adds those of other images.
    pub fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        for channel in 0..3 {
            self.sums[channel] += other.sums[channel];
            self.squares[channel] += other.squares[channel];
        }
    }

    /// Mean of each channel over all pixels, of intensities from 0 to 1; none without a pixel.
    pub fn mean(&self) -> Option<[f64; 3]> {
        (self.pixels > 0).then(|| self.sums.map(|sum| sum as f64 / self.pixels as f64 / 255.0))
    }

    /// Standard deviation of each channel over all pixels, of intensities from 0 to 1; none without a pixel.
    pub fn std(&self) -> Option<[f64; 3]> {
        let deviation = |channel: usize| {
            // n² times the variance, which is exact.
            let variance = self.pixels * self.squares[channel] - self.sums[channel] * self.sums[channel];
            (variance as f64).sqrt() / self.pixels as f64 / 255.0
        };
        (self.pixels > 0).then(|| [0, 1, 2].map(deviation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn means_and_deviations_are_over_all_pixels() {
        assert_eq!((Channels::default().mean(), Channels::default().std()), (None, None));
        let mut channels = Channels::of(&RgbImage::from_pixel(3, 1, Rgb([0, 51, 255])));
        channels.add(&Channels::of(&RgbImage::from_pixel(1, 1, Rgb([255, 51, 0]))));
        let near = |found: [f64; 3], right: [f64; 3]| {
            assert!(found.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        near(channels.mean().unwrap(), [0.25, 0.2, 0.75]);
        near(channels.std().unwrap(), [0.1875f64.sqrt(), 0.0, 0.1875f64.sqrt()]);
    }
}
