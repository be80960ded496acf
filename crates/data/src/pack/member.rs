//! An image as it is packed.

use std::io::Cursor;
use std::path::Path;

use image::ImageFormat;
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};

use super::keys::is_image_ending;
use super::{PackOptions, Resize};
use crate::any_image::AnyImage;
use crate::decode::DecodeOptions;
use crate::decode::bands::is_png_of_16_bits;
use crate::error::DataError;
use crate::picture::Picture;
use crate::source::{ImageSource, Stored};
use crate::transform::{Interpolation, resample};

/// An image file, as it is packed.
pub(super) struct Member {
    pub(super) ending: String,
    pub(super) bytes: Vec<u8>,
    pub(super) changed: Changed,
}

/// What was done to an image.
pub(super) enum Changed {
    /// Nothing.
    No,
    /// It was made smaller.
    Resized,
    /// It would have been made smaller, but cannot be.
    Kept(String),
}

impl Member {
    /// An image of a source.
    ///
    /// # Errors
    /// One that cannot be read, or is of no known kind.
    pub(super) fn of(
        images: &dyn ImageSource,
        index: usize,
        options: &PackOptions,
    ) -> Result<Self, DataError> {
        let stored = images.read(index)?;
        let changed = match options.resize.map(|resize| resize.apply(&stored, options.decode)) {
            Some(Ok(Some(bytes))) => {
                return Ok(Self { ending: "jpg".to_owned(), bytes, changed: Changed::Resized });
            }
            Some(Err(reason)) => Changed::Kept(reason),
            Some(Ok(None)) | None => Changed::No,
        };
        let name = images.name(index);
        let refuse = |reason: &str| {
            let path = (&name).into();
            Err(DataError::Shard { path, reason: format!("cannot be packed: {reason}") })
        };
        match stored {
            Stored::Encoded(bytes) => match ending(&name, &bytes) {
                Some(ending) => Ok(Self { ending, bytes, changed }),
                None => refuse("its bytes are those of no known image"),
            },
            Stored::Decoded(image) => match png(&image) {
                Ok(bytes) => Ok(Self { ending: "png".to_owned(), bytes, changed }),
                Err(reason) => refuse(&reason),
            },
        }
    }
}

/// The ending of an image file: that of its name, or else that of its content.
fn ending(name: &str, bytes: &[u8]) -> Option<String> {
    let named = Path::new(name).extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    let of_content = || match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some("npy".to_owned()),
        // BigTIFF, which `image` does not recognise.
        [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => Some("tif".to_owned()),
        _ => image::guess_format(bytes).ok()?.extensions_str().first().map(|&ending| ending.to_owned()),
    };
    named
        .filter(|ending| is_image_ending(ending))
        .or_else(of_content)
        .filter(|ending| is_image_ending(ending))
}

/// Why an image is not written anew.
const NO_PICTURE: &str = "it has more bits or other channels than a picture";

fn png(image: &AnyImage) -> Result<Vec<u8>, String> {
    let AnyImage::Rgb(image) = image else { return Err(NO_PICTURE.to_owned()) };
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| error.to_string())?;
    Ok(bytes.into_inner())
}

impl Resize {
    /// A smaller image as a JPEG; none of one that is small enough.
    fn apply(self, stored: &Stored, options: DecodeOptions) -> Result<Option<Vec<u8>>, String> {
        if matches!(stored, Stored::Encoded(bytes) if is_png_of_16_bits(bytes)) {
            return Err(NO_PICTURE.to_owned());
        }
        let picture = Picture::open(stored, options)?;
        let (width, height) = picture.dimensions();
        let short = width.min(height);
        if short <= self.short_side {
            return Ok(None);
        }
        let scaled = |side: u32| {
            let exact = f64::from(side) * f64::from(self.short_side) / f64::from(short);
            (exact.round() as usize).max(1)
        };
        let whole = picture.whole()?;
        let AnyImage::Rgb(image) = &*whole else { return Err(NO_PICTURE.to_owned()) };
        let image = resample(image, [scaled(height), scaled(width)], Interpolation::Bicubic);
        let [width, height] = [image.width() as usize, image.height() as usize];
        compress(image.as_raw(), width, height, PixelFormat::Rgb, self.quality, Subsampling::S420)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}
