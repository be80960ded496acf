//! Images of more channels or bits than pictures have: `.npy` arrays, TIFFs and 16-bit PNGs.

mod npy;
mod tiff;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader};

use super::{DecodeOptions, check_size, guarded};
use crate::bands::Bands;
use crate::transform::other_channels;

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
            _ if is_png_of_16_bits(bytes) => png(bytes, options)?,
            _ => None,
        };
        numbers.map(|numbers| numbers.scaled(options.range)).transpose()
    })
}

/// Floats beyond this are no intensities, nor what those become when they are standardised.
const LARGEST: f32 = 10.0;

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
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("holds {value}; fill what has no data with a number"));
        }
        if let Some(value) = values.iter().find(|value| range.is_none() && value.abs() > LARGEST) {
            return Err(format!(
                "holds {value}, and intensities are from 0 to 1: say by data.range which numbers are to be 0 \
                 and 1, such as [0, 255]"
            ));
        }
        Bands::new(size, values)
    }
}

/// Numbers of so many bytes each.
fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

/// Channel after channel, of numbers that stand pixel after pixel.
fn by_channel(values: &[f32], channels: usize) -> Vec<f32> {
    let of = |channel| values.iter().skip(channel).step_by(channels).copied();
    (0..channels).flat_map(of).collect()
}

/// Whether the header of a PNG says so.
pub(crate) fn is_png_of_16_bits(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.get(24) == Some(&16)
}

/// The numbers of a PNG of 16 bits, without alpha: of a grey one for a network of one channel, and of any where
/// a range says what its numbers are. None of others, which are pictures.
fn png(bytes: &[u8], options: DecodeOptions) -> Result<Option<Numbers>, String> {
    const GREY: u8 = 0;
    if options.range.is_none() && (options.channels != 1 || bytes.get(25) != Some(&GREY)) {
        return Ok(None);
    }
    let side =
        |at: usize| bytes.get(at..at + 4).and_then(|side| side.try_into().ok()).map(u32::from_be_bytes);
    let size = side(16).zip(side(20)).ok_or("the PNG data end in the header")?;
    check_size(size, options.max_pixels)?;
    let image = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png).decode();
    let (values, found): (Vec<u16>, _) = match image.map_err(|error| error.to_string())? {
        DynamicImage::ImageLuma16(grey) => (grey.into_raw(), 1),
        DynamicImage::ImageLumaA16(grey) => (grey.pixels().map(|pixel| pixel.0[0]).collect(), 1),
        DynamicImage::ImageRgb16(colours) => (colours.into_raw(), 3),
        DynamicImage::ImageRgba16(colours) => {
            (colours.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).collect(), 3)
        }
        _ => return Err("the PNG is not what its header says".to_owned()),
    };
    let values: Vec<_> = values.into_iter().map(f32::from).collect();
    let values = match (found, options.channels) {
        (1, 3) => values.repeat(3),
        (found, wanted) if found == wanted => by_channel(&values, found),
        (found, wanted) => return Err(other_channels(found, wanted)),
    };
    Ok(Some(Numbers { size, values, largest: f32::from(u16::MAX) }))
}
