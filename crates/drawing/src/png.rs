//! Pictures as files.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageError, RgbImage};

/// Writes a PNG as a whole.
///
/// # Errors
/// The file cannot be written; an earlier one is then as it was.
pub fn save(picture: &RgbImage, path: &Path) -> Result<(), ImageError> {
    let file = png(picture)?;
    whole::write(path, &file).map_err(|unwritten| ImageError::IoError(unwritten.error))
}

/// The bytes of a PNG, as small as it gets.
///
/// # Errors
/// A picture without pixels.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, ImageError> {
    // Filters make photos smaller, and text and lines larger.
    let (photo, flat) = (encode(picture, FilterType::Adaptive)?, encode(picture, FilterType::NoFilter)?);
    Ok(if photo.len() < flat.len() { photo } else { flat })
}

fn encode(picture: &RgbImage, filter: FilterType) -> Result<Vec<u8>, ImageError> {
    let mut file = Vec::new();
    picture.write_with_encoder(PngEncoder::new_with_quality(&mut file, CompressionType::Best, filter))?;
    Ok(file)
}
