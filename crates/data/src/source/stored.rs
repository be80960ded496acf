//! An image as a source stores it.

use std::fs;
use std::path::Path;

use crate::any_image::AnyImage;
use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::picture::Picture;
use crate::source::{ImageSource, Sample};

/// An image as a source stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// Pixels.
    Decoded(AnyImage),
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

/// The image of a sample, decoded.
///
/// # Errors
/// What cannot be read or decoded, by name.
pub fn image_of(
    source: &(impl ImageSource + ?Sized),
    index: usize,
    options: DecodeOptions,
) -> Result<AnyImage, DataError> {
    let stored = source.read(index)?;
    let image = Picture::open(&stored, options).and_then(|picture| Ok(picture.whole()?.into_owned()));
    image.map_err(|reason| DataError::Decode { path: source.name(index).into(), reason })
}

/// A sample of a source, its image decoded as for a network of three channels: what [`Dataset::get`](burn_dataset::Dataset::get) gives.
///
/// # Errors
/// What cannot be read or decoded, by name.
pub(crate) fn decoded(source: &impl ImageSource, index: usize) -> Result<Sample, DataError> {
    let image = image_of(source, index, DecodeOptions::default())?;
    Ok(Sample { image, target: source.target(index) })
}
