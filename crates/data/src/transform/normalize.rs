//! Pixels → numbers.

use image::RgbImage;

use crate::transform::pillow::luma;

/// Mean of ImageNet's channels.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// (intensity / 255 − mean) / std per channel; one channel means grey.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// Mean of each channel; one channel is grey, three are colour.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalize {
    /// Channels of the result.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Appends the values of an image, `[C, H, W]`.
    pub fn apply(&self, image: &RgbImage, values: &mut Vec<f32>) {
        // There are fewer intensities than pixels.
        let of_channel = |(mean, std): (&f32, &f32)| -> [f32; 256] {
            std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std)
        };
        let tables: Vec<_> = self.mean.iter().zip(&self.std).map(of_channel).collect();
        match &tables[..] {
            [grey] => values.extend(image.pixels().map(|pixel| grey[usize::from(luma(pixel))])),
            tables => {
                append_planes(image, values, |channel, v| tables[channel][usize::from(v)]);
            }
        }
    }

    /// Appends the intensities themselves in the same order, for a device that normalises.
    pub fn append_raw(&self, image: &RgbImage, intensities: &mut Vec<u8>) {
        match self.channels() {
            1 => intensities.extend(image.pixels().map(luma)),
            _ => append_planes(image, intensities, |_, v| v),
        }
    }
}

/// Appends a function of every intensity, channel after channel, in one pass over the pixels.
fn append_planes<T: Copy + Default>(image: &RgbImage, values: &mut Vec<T>, of: impl Fn(usize, u8) -> T) {
    let (start, pixels) = (values.len(), image.as_raw().as_chunks::<3>().0);
    values.resize(start + 3 * pixels.len(), T::default());
    let (red, rest) = values[start..].split_at_mut(pixels.len());
    let (green, blue) = rest.split_at_mut(pixels.len());
    for (((&[r, g, b], red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (of(0, r), of(1, g), of(2, b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn one_channel_is_luma() {
        let normalize = Normalize { mean: vec![0.0], std: vec![1.0] };
        let mut values = Vec::new();
        normalize.apply(&RgbImage::from_pixel(1, 1, Rgb([255, 0, 0])), &mut values);
        assert_eq!(values, [76.0 / 255.0]);
    }

    #[test]
    fn three_channels_are_planes() {
        let normalize = Normalize { mean: vec![0.0, 0.5, 1.0], std: vec![1.0, 0.5, 2.0] };
        let mut values = Vec::new();
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8 * 255, 255, 0]));
        normalize.apply(&image, &mut values);
        assert_eq!(values, [0.0, 1.0, 1.0, 1.0, -0.5, -0.5]);
        let mut raw = Vec::new();
        normalize.append_raw(&image, &mut raw);
        assert_eq!(raw, [0, 255, 255, 255, 0, 0]);
    }
}
