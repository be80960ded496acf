//! Images of more channels or bits than pictures have: `.npy` arrays, TIFFs and 16-bit grey PNGs.

mod npy;
mod tiff;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader};

use super::{DecodeOptions, check_size, guarded};
use crate::bands::Bands;

/// Decodes an image whose numbers are more than those of a picture; none where it is a picture of 8 bits, in
/// grey or in colours, and the network takes such.
///
/// Numbers become those from 0 to 1 by [`DecodeOptions::range`], or by the largest that their type holds;
/// floats stay as they are where there is no range.
///
/// # Errors
/// A damaged file, too large an image, other channels than are wanted, values that are not finite.
pub(crate) fn decode(bytes: &[u8], options: DecodeOptions) -> Result<Option<Bands>, String> {
    guarded(|| {
        let numbers = match bytes {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(npy::read(bytes, options)?),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => tiff::read(bytes, options)?,
            _ if options.channels == 1 && is_grey_of_16_bits(bytes) => Some(png(bytes, options)?),
            _ => None,
        };
        numbers.map(|numbers| numbers.scaled(options.range)).transpose()
    })
}

/// The numbers of an image, as they are stored.
struct Numbers {
    /// (width, height).
    size: (u32, u32),
    /// `[C, H, W]`.
    values: Vec<f32>,
    /// What is 1 where nothing else is said.
    largest: f32,
}

impl Numbers {
    /// The image, of which one number is 0 and another one 1.
    fn scaled(self, range: Option<[f32; 2]>) -> Result<Bands, String> {
        let Self { size, mut values, largest } = self;
        let [low, high] = range.unwrap_or([0.0, largest]);
        if [low, high] != [0.0, 1.0] {
            values.iter_mut().for_each(|value| *value = (*value - low) / (high - low));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("holds {value}; fill what has no data with a number")),
            None => Bands::new(size, values),
        }
    }
}

/// Channel after channel, of numbers that stand pixel after pixel.
fn by_channel(values: &[f32], channels: usize) -> Vec<f32> {
    let of = |channel| values.iter().skip(channel).step_by(channels).copied();
    (0..channels).flat_map(of).collect()
}

/// Whether the header of a PNG says so.
fn is_grey_of_16_bits(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.get(24..26) == Some(&[16, 0])
}

fn png(bytes: &[u8], options: DecodeOptions) -> Result<Numbers, String> {
    let side =
        |at: usize| bytes.get(at..at + 4).and_then(|side| side.try_into().ok()).map(u32::from_be_bytes);
    let size = side(16).zip(side(20)).ok_or("the PNG data end in the header")?;
    check_size(size, options.max_pixels)?;
    let reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    match reader.decode().map_err(|error| error.to_string())? {
        DynamicImage::ImageLuma16(grey) => {
            let values = grey.iter().map(|value| f32::from(*value)).collect();
            Ok(Numbers { size: grey.dimensions(), values, largest: f32::from(u16::MAX) })
        }
        _ => Err("the PNG is not what its header says".to_owned()),
    }
}
