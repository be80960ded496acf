//! Pictures as files.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageError, RgbImage};

/// Writes a PNG, as small as it gets.
///
/// # Errors
/// The file cannot be written.
pub fn save(picture: &RgbImage, path: &Path) -> Result<(), ImageError> {
    // Filters make photos smaller, and text and lines larger.
    let (photo, flat) = (encode(picture, FilterType::Adaptive)?, encode(picture, FilterType::NoFilter)?);
    let smaller = if photo.len() < flat.len() { photo } else { flat };
    Ok(std::fs::write(path, smaller)?)
}

fn encode(picture: &RgbImage, filter: FilterType) -> Result<Vec<u8>, ImageError> {
    let mut file = Vec::new();
    picture.write_with_encoder(PngEncoder::new_with_quality(&mut file, CompressionType::Best, filter))?;
    Ok(file)
}
