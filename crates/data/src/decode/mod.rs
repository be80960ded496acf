//! Image files → pixels, the right way up.

pub(crate) mod bands;
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

use crate::any_image::AnyImage;
use crate::crop_box::{CropBox, crop};
use crate::error::DataError;
use crate::picture::Picture;
use jpeg::Jpeg;
use other::Other;

/// How images are decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeOptions {
    /// Pixels of the largest image that is decoded: width × height, as its header says.
    pub max_pixels: u64,
    /// Whether a part is always cut out of the whole picture decoded at full size.
    pub exact: bool,
    /// Channels that the network takes. A picture of 8 bits fits 1 (as grey) or 3; of other images, each
    /// must have as many.
    pub channels: usize,
    /// Which numbers of an image that is no picture of 8 bits become 0 and 1.
    pub range: Option<[f32; 2]>,
}

impl Default for DecodeOptions {
    /// The limit is the one beyond which Pillow refuses an image.
    fn default() -> Self {
        Self { max_pixels: 178_956_970, exact: false, channels: 3, range: None }
    }
}

/// Decodes an image file; see [`decode`].
///
/// # Errors
/// A file that is missing or no whole image, by path.
pub fn decode_file(path: &Path, options: DecodeOptions) -> Result<AnyImage, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    decode(&bytes, options).map_err(|reason| DataError::Decode { path: path.to_owned(), reason })
}

/// Decodes a whole image.
///
/// # Errors
/// What [`Picture::of_bytes`] and [`Picture::whole`] refuse.
pub fn decode(bytes: &[u8], options: DecodeOptions) -> Result<AnyImage, String> {
    Ok(Picture::of_bytes(bytes, options)?.whole()?.into_owned())
}

/// A picture of 8 bits whose header has been read: JPEG, PNG, WebP, TIFF, BMP, PNM, QOI or the first frame of a
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
    /// At full size they are bit for bit those of the box cut out of [`whole`](Self::whole). A JPEG
    /// whose box is at least twice 2, 4 or 8 times as large as wanted in both directions is decoded
    /// at that fraction of its size, unless [`DecodeOptions::exact`] is set; the edges of the box
    /// then move to the nearest pixels of the smaller picture, by no more than half of one.
    ///
    /// # Errors
    /// What [`whole`](Self::whole) refuses (all compressed data are read, wherever the box lies),
    /// and a box that is empty or does not lie within the image.
    pub fn part(&self, area: CropBox, wanted: [usize; 2]) -> Result<RgbImage, String> {
        let (width, height) = self.dimensions();
        let inside = |first: u32, count: u32, all: u32| {
            count > 0 && first.checked_add(count).is_some_and(|end| end <= all)
        };
        if !inside(area.left, area.width, width) || !inside(area.top, area.height, height) {
            return Err(format!("{area:?} does not lie within {width}×{height} pixels"));
        }
        let stored = turn::stored_box(area, self.stored, self.orientation);
        let reduction = if self.exact { 1 } else { reduction(area, wanted) };
        guarded(|| {
            let image = match &self.format {
                Format::Jpeg(jpeg) => jpeg.part(stored, reduction)?,
                Format::Other(other) => crop(&other.whole()?, stored),
            };
            Ok(turn::upright(image, self.orientation))
        })
    }
}

/// How much finer a box that is decoded smaller than it is stored remains than what is wanted.
///
/// Of 4000×3000 pixels resized to 224×224, twice leaves a mean difference of 0.3 to 1.0 of 255 and a
/// largest one of 6, most of it because the edges of the box move by up to a quarter of a pixel of
/// the result; once would leave 1.6 and 11.
const FINER: u64 = 2;

/// The fraction, one in 1, 2, 4 or 8, at which a box is decoded.
fn reduction(area: CropBox, [height, width]: [usize; 2]) -> u32 {
    let suffices = |pixels: u32, wanted: usize, by: u32| {
        u64::from(pixels) >= FINER.saturating_mul(u64::from(by)).saturating_mul(wanted as u64)
    };
    let fits = |&by: &u32| suffices(area.width, width, by) && suffices(area.height, height, by);
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
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
