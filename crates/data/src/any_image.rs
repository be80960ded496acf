//! An image as the network is to see it, of whatever kind.

use image::RgbImage;

use crate::bands::Bands;
use crate::crop_box::CropBox;
use crate::transform::{Interpolation, Raster};

/// An image: a picture of 8-bit colours, or numbers of any precision in any number of channels.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyImage {
    /// A picture.
    Rgb(RgbImage),
    /// Channels of numbers.
    Bands(Bands),
}

impl AnyImage {
    /// A black pixel for a network of so many channels.
    pub(crate) fn black(channels: usize) -> Self {
        match Bands::new((1, 1), vec![0.0; channels]) {
            Ok(bands) if !matches!(channels, 1 | 3) => Self::Bands(bands),
            _ => Self::Rgb(RgbImage::new(1, 1)),
        }
    }

    /// What can be shown of it; see [`Bands::to_rgb`].
    pub fn into_rgb(self) -> RgbImage {
        match self {
            Self::Rgb(image) => image,
            Self::Bands(bands) => bands.to_rgb(),
        }
    }
}

impl Raster for AnyImage {
    fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Rgb(image) => image.dimensions(),
            Self::Bands(bands) => bands.dimensions(),
        }
    }

    fn crop(&self, area: CropBox) -> Self {
        match self {
            Self::Rgb(image) => Self::Rgb(image.crop(area)),
            Self::Bands(bands) => Self::Bands(bands.crop(area)),
        }
    }

    fn resize(&self, size: [usize; 2]) -> Self {
        match self {
            Self::Rgb(image) => Self::Rgb(image.resize(size)),
            Self::Bands(bands) => Self::Bands(bands.resize(size)),
        }
    }

    fn resample(&self, size: [usize; 2], interpolation: Interpolation) -> Self {
        match self {
            Self::Rgb(image) => Self::Rgb(image.resample(size, interpolation)),
            Self::Bands(bands) => Self::Bands(bands.resample(size, interpolation)),
        }
    }

    fn resample_part(&self, size: [usize; 2], interpolation: Interpolation, area: CropBox) -> Self {
        match self {
            Self::Rgb(image) => Self::Rgb(image.resample_part(size, interpolation, area)),
            Self::Bands(bands) => Self::Bands(bands.resample_part(size, interpolation, area)),
        }
    }

    fn mirror(&mut self) {
        match self {
            Self::Rgb(image) => image.mirror(),
            Self::Bands(bands) => bands.mirror(),
        }
    }

    fn on_canvas(&self, size: [usize; 2], at: (u32, u32), colour: &[f32]) -> Self {
        match self {
            Self::Rgb(image) => Self::Rgb(image.on_canvas(size, at, colour)),
            Self::Bands(bands) => Self::Bands(bands.on_canvas(size, at, colour)),
        }
    }
}

impl From<RgbImage> for AnyImage {
    fn from(image: RgbImage) -> Self {
        Self::Rgb(image)
    }
}
