//! An image as a source stores it.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use image::RgbImage;

use crate::decode::{DecodeOptions, decode};
use crate::error::DataError;
use crate::picture::Picture;
use crate::source::{ImageSource, Sample};

/// An image as a source stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// Pixels.
    Decoded(RgbImage),
}

impl Stored {
    /// The bytes of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, DataError> {
        fs::read(path).map(Self::Encoded).map_err(DataError::io(path))
    }
}

/// A sample of a source, its image decoded: what [`Dataset::get`](burn_dataset::Dataset::get) gives.
///
/// # Errors
/// What cannot be read or decoded, by name.
pub(crate) fn decoded(source: &impl ImageSource, index: usize) -> Result<Sample, DataError> {
    let image = match source.read(index)? {
        Stored::Encoded(bytes) => {
            let named = |reason| DataError::Decode { path: source.name(index).into(), reason };
            decode(&bytes).map_err(named)?
        }
        Stored::Decoded(image) => image,
    };
    Ok(Sample { image, target: source.target(index) })
}

/// All pixels of an image of a source.
///
/// # Errors
/// What cannot be read or decoded, by name.
pub fn pixels(source: &dyn ImageSource, index: usize, options: DecodeOptions) -> Result<RgbImage, DataError> {
    let stored = source.read(index)?;
    let picture = Picture::open(&stored, options);
    let whole = picture.and_then(|picture| picture.whole().map(Cow::into_owned));
    whole.map_err(|reason| DataError::Decode { path: source.name(index).into(), reason })
}
