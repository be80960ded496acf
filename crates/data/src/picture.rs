//! An image that a transform is about to take what it needs of.

use std::borrow::Cow;

use image::RgbImage;

use crate::crop_box::{CropBox, crop};
use crate::decode::{DecodeOptions, Encoded};
use crate::source::Stored;

/// An image, of which only what is asked for is decoded.
pub enum Picture<'a> {
    /// The bytes of an image file.
    Encoded(Encoded<'a>),
    /// Pixels.
    Decoded(&'a RgbImage),
}

impl<'a> Picture<'a> {
    /// An image of a source.
    ///
    /// # Errors
    /// What is no image, or too large a one.
    pub fn open(stored: &'a Stored, options: DecodeOptions) -> Result<Self, String> {
        Ok(match stored {
            Stored::Encoded(bytes) => Self::Encoded(Encoded::open(bytes, options)?),
            Stored::Decoded(image) => Self::Decoded(image),
        })
    }

    /// Width and height.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Encoded(encoded) => encoded.dimensions(),
            Self::Decoded(image) => image.dimensions(),
        }
    }

    /// All pixels.
    ///
    /// # Errors
    /// A damaged image.
    pub fn whole(&self) -> Result<Cow<'_, RgbImage>, String> {
        match self {
            Self::Encoded(encoded) => encoded.whole().map(Cow::Owned),
            Self::Decoded(image) => Ok(Cow::Borrowed(image)),
        }
    }

    /// A box of pixels, which may be smaller than they are stored, though not smaller than `wanted`.
    ///
    /// # Errors
    /// A damaged image.
    pub fn part(&self, area: CropBox, wanted: [usize; 2]) -> Result<RgbImage, String> {
        match self {
            Self::Encoded(encoded) => encoded.part(area, wanted),
            Self::Decoded(image) => Ok(crop(image, area)),
        }
    }
}
