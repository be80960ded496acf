//! Pixels → numbers.

use image::RgbImage;

use crate::any_image::AnyImage;
use crate::transform::Raster;
use crate::transform::pillow::luma;

/// Mean of ImageNet's channels.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// (intensity − mean) / std per channel, of intensities from 0 to 1; one channel of a picture is its grey.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// Mean of each channel.
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
    ///
    /// # Errors
    /// An image of other channels.
    pub fn apply(&self, image: &AnyImage, values: &mut Vec<f32>) -> Result<(), String> {
        match image {
            AnyImage::Rgb(image) if matches!(self.channels(), 1 | 3) => self.append_picture(image, values),
            AnyImage::Bands(bands) if bands.channels() == self.channels() => {
                for (plane, (mean, std)) in bands.planes().zip(self.mean.iter().zip(&self.std)) {
                    values.extend(plane.iter().map(|value| (value - mean) / std));
                }
            }
            AnyImage::Rgb(_) => return Err(other_channels(3, self.channels())),
            AnyImage::Bands(bands) => return Err(other_channels(bands.channels(), self.channels())),
        }
        Ok(())
    }

    fn append_picture(&self, image: &RgbImage, values: &mut Vec<f32>) {
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
    ///
    /// # Errors
    /// An image of other channels than the network's, or of more than 8 bits.
    pub fn append_raw(&self, image: &AnyImage, intensities: &mut Vec<u8>) -> Result<(), String> {
        let (start, (width, height)) = (intensities.len(), image.dimensions());
        intensities.resize(start + self.channels() * (width * height) as usize, 0);
        let written = self.write_raw(image, &mut intensities[start..]);
        if written.is_err() {
            intensities.truncate(start);
        }
        written
    }

    /// Writes the intensities of an image, which are as many as there is room for.
    ///
    /// # Errors
    /// As [`Normalize::append_raw`].
    pub fn write_raw(&self, image: &AnyImage, intensities: &mut [u8]) -> Result<(), String> {
        match (image, self.channels()) {
            (AnyImage::Rgb(image), 1) => {
                intensities.iter_mut().zip(image.pixels()).for_each(|(v, pixel)| *v = luma(pixel));
            }
            (AnyImage::Rgb(image), 3) => write_planes(image, intensities, |_, v| v),
            (AnyImage::Rgb(_), channels) => return Err(other_channels(3, channels)),
            (AnyImage::Bands(_), _) => {
                return Err("the image has more than 8 bits or other channels than a picture, and the device normalises \
                            pictures only".to_owned());
            }
        }
        Ok(())
    }
}

/// Why an image does not fit a network.
pub(crate) fn other_channels(found: usize, wanted: usize) -> String {
    format!("the image has {found} channels and the network takes {wanted} (model.num_channels)")
}

/// Appends a function of every intensity, channel after channel.
fn append_planes<T: Copy + Default>(image: &RgbImage, values: &mut Vec<T>, of: impl Fn(usize, u8) -> T) {
    let (start, numbers) = (values.len(), image.as_raw().len());
    values.resize(start + numbers, T::default());
    write_planes(image, &mut values[start..], of);
}

/// Writes a function of every intensity, channel after channel, in one pass over the pixels.
fn write_planes<T>(image: &RgbImage, values: &mut [T], of: impl Fn(usize, u8) -> T) {
    let pixels = image.as_raw().as_chunks::<3>().0;
    let (red, rest) = values.split_at_mut(pixels.len());
    let (green, blue) = rest.split_at_mut(pixels.len());
    for (((&[r, g, b], red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (of(0, r), of(1, g), of(2, b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::Bands;
    use image::Rgb;

    #[test]
    fn one_channel_is_luma() {
        let normalize = Normalize { mean: vec![0.0], std: vec![1.0] };
        let mut values = Vec::new();
        normalize.apply(&RgbImage::from_pixel(1, 1, Rgb([255, 0, 0])).into(), &mut values).unwrap();
        assert_eq!(values, [76.0 / 255.0]);
    }

    #[test]
    fn three_channels_are_planes() {
        let normalize = Normalize { mean: vec![0.0, 0.5, 1.0], std: vec![1.0, 0.5, 2.0] };
        let mut values = Vec::new();
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8 * 255, 255, 0])).into();
        normalize.apply(&image, &mut values).unwrap();
        assert_eq!(values, [0.0, 1.0, 1.0, 1.0, -0.5, -0.5]);
        let mut raw = Vec::new();
        normalize.append_raw(&image, &mut raw).unwrap();
        assert_eq!(raw, [0, 255, 255, 255, 0, 0]);
    }

    #[test]
    fn bands_are_normalised_one_by_one_and_must_be_as_many() {
        let normalize = Normalize { mean: vec![0.5, 0.0], std: vec![0.25, 2.0] };
        let bands = |values| AnyImage::Bands(Bands::new((2, 1), values).unwrap());
        let mut values = Vec::new();
        normalize.apply(&bands(vec![0.5, 1.0, 4.0, -1.0]), &mut values).unwrap();
        assert_eq!(values, [0.0, 2.0, 2.0, -0.5]);
        let error = normalize.apply(&bands(vec![0.0; 6]), &mut values).unwrap_err();
        assert_eq!(error, "the image has 3 channels and the network takes 2 (model.num_channels)");
        assert!(normalize.apply(&RgbImage::new(2, 1).into(), &mut values).is_err());
        assert!(normalize.append_raw(&bands(vec![0.0; 4]), &mut Vec::new()).is_err());
    }
}
