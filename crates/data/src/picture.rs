//! An image that a transform is about to take what it needs of.

use std::borrow::Cow;

use crate::any_image::AnyImage;
use crate::crop_box::CropBox;
use crate::decode::{DecodeOptions, Encoded, bands};
use crate::source::Stored;
use crate::transform::{Raster, other_channels};

/// An image, of which only what is asked for is decoded.
pub enum Picture<'a> {
    /// The bytes of an 8-bit picture.
    Encoded(Encoded<'a>),
    /// Pixels.
    Decoded(Cow<'a, AnyImage>),
}

impl<'a> Picture<'a> {
    /// An image of a source.
    ///
    /// # Errors
    /// What is no image, too large a one, or one of other channels than are wanted.
    pub fn open(stored: &'a Stored, options: DecodeOptions) -> Result<Self, String> {
        Ok(match stored {
            Stored::Encoded(bytes) => return Self::of_bytes(bytes, options),
            Stored::Decoded(image) => Self::Decoded(Cow::Borrowed(image)),
        })
    }

    /// An image file.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn of_bytes(bytes: &'a [u8], options: DecodeOptions) -> Result<Self, String> {
        Ok(match bands::decode(bytes, options)? {
            Some(bands) => Self::Decoded(Cow::Owned(AnyImage::Bands(bands))),
            None => {
                let picture = Encoded::open(bytes, options)?;
                if !matches!(options.channels, 1 | 3) {
                    return Err(other_channels(3, options.channels));
                }
                Self::Encoded(picture)
            }
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
    pub fn whole(&self) -> Result<Cow<'_, AnyImage>, String> {
        match self {
            Self::Encoded(encoded) => Ok(Cow::Owned(AnyImage::Rgb(encoded.whole()?))),
            Self::Decoded(image) => Ok(Cow::Borrowed(image.as_ref())),
        }
    }

    /// A box of pixels, which may be smaller than they are stored, though not smaller than `wanted`.
    ///
    /// # Errors
    /// A damaged image.
    pub fn part(&self, area: CropBox, wanted: [usize; 2]) -> Result<AnyImage, String> {
        match self {
            Self::Encoded(encoded) => encoded.part(area, wanted).map(AnyImage::Rgb),
            Self::Decoded(image) => Ok(image.crop(area)),
        }
    }
}
