//! Image files → RGB, the right way up.

mod cmyk;
mod header;
mod jpeg;
mod other;
mod turn;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::RgbImage;
use image::metadata::Orientation;

use crate::error::DataError;
use crate::transform::{CropBox, crop};
use jpeg::Jpeg;
use other::Other;

/// How images are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pixels of the largest image that is decoded: width × height, as its header says.
    pub max_pixels: u64,
    /// Whether a part is always cut out of the whole picture decoded at full size.
    pub exact: bool,
}

impl Default for DecodeOptions {
    /// The limit is the one beyond which Pillow refuses an image.
    fn default() -> Self {
        Self { max_pixels: 178_956_970, exact: false }
    }
}

/// Decodes an image file; see [`decode`].
///
/// # Errors
/// A file that is missing or no whole image, by path.
pub fn decode_file(path: &Path) -> Result<RgbImage, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    decode(&bytes).map_err(|reason| DataError::Decode { path: path.to_owned(), reason })
}

/// Decodes a whole image with the default options; see [`Encoded`].
///
/// # Errors
/// What [`Encoded::open`] and [`Encoded::whole`] refuse.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    Encoded::open(bytes, DecodeOptions::default())?.whole()
}

/// An image whose header has been read: JPEG, PNG, WebP, TIFF, BMP, PNM, QOI or the first frame of a
/// GIF, recognised by content.
///
/// The pixels are those of Pillow's `exif_transpose(image).convert("RGB")`: EXIF orientation is
/// applied, grey, palette and CMYK become 8-bit RGB, alpha is dropped. Of 16 bits the upper eight
/// are kept.
#[derive(Debug)]
pub struct Encoded<'a> {
    format: Format<'a>,
    /// Columns and rows as they are stored.
    stored: (u32, u32),
    orientation: Orientation,
    exact: bool,
}

#[derive(Debug)]
enum Format<'a> {
    Jpeg(Jpeg<'a>),
    Other(Other<'a>),
}

impl<'a> Encoded<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// An image that is of no known format, empty, cut short (as far as that can be told without
    /// decoding), or larger than the options allow.
    pub fn open(bytes: &'a [u8], options: DecodeOptions) -> Result<Self, String> {
        guarded(|| {
            let (format, stored, orientation) = if bytes.starts_with(&[0xff, 0xd8]) {
                let (jpeg, orientation) = Jpeg::open(bytes)?;
                let stored = jpeg.dimensions();
                (Format::Jpeg(jpeg), stored, orientation)
            } else {
                let (other, stored, orientation) = Other::open(bytes)?;
                (Format::Other(other), stored, orientation)
            };
            check_size(stored, options.max_pixels)?;
            Ok(Self { format, stored, orientation, exact: options.exact })
        })
    }

    /// (width, height), upright.
    pub fn dimensions(&self) -> (u32, u32) {
        turn::dimensions(self.stored, self.orientation)
    }

    /// All pixels.
    ///
    /// # Errors
    /// What the decoder says of an image that is damaged or cut short.
    pub fn whole(&self) -> Result<RgbImage, String> {
        guarded(|| {
            let image = match &self.format {
                Format::Jpeg(jpeg) => jpeg.whole()?,
                Format::Other(other) => other.whole()?,
            };
            Ok(turn::upright(image, self.orientation))
        })
    }

    /// The pixels of a box, possibly smaller than they are stored but at least `wanted`
    /// (height, width) pixels.
    ///
    /// # Errors
    /// What [`whole`](Self::whole) refuses, and a box that is empty or does not lie within the image.
    pub fn part(&self, area: CropBox, wanted: [usize; 2]) -> Result<RgbImage, String> {
        let _ = (wanted, self.exact);
        let (width, height) = self.dimensions();
        let inside = |first: u32, count: u32, all: u32| count > 0 && first.checked_add(count) <= Some(all);
        if !inside(area.left, area.width, width) || !inside(area.top, area.height, height) {
            return Err(format!("{area:?} does not lie within {width}×{height} pixels"));
        }
        self.whole().map(|image| crop(&image, area))
    }
}

fn check_size((width, height): (u32, u32), max_pixels: u64) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err("the image has no pixels".to_owned());
    }
    if pixels > max_pixels {
        return Err(format!(
            "the image has {width}×{height} pixels, more than data.max_pixels = {max_pixels} allows"
        ));
    }
    Ok(())
}

/// A decoder that panics on a damaged file costs one image, not the run.
fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err("the decoder panicked".to_owned()))
}

#[cfg(test)]
mod tests;
