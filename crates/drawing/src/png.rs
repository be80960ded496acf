//! Pictures as files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageError, RgbImage};

/// Writes a PNG, as small as it gets.
///
/// # Errors
/// The file cannot be written.
pub fn save(picture: &RgbImage, path: &Path) -> Result<(), ImageError> {
    let mut file = BufWriter::new(File::create(path)?);
    picture.write_with_encoder(PngEncoder::new_with_quality(
        &mut file,
        CompressionType::Best,
        FilterType::Adaptive,
    ))?;
    Ok(file.flush()?)
}
