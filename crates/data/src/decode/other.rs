//! Every format but JPEG.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

/// Bytes that a decoder may take beside the pixels, for colour profiles and the like.
const EXTRA_BYTES: u64 = 64 << 20;

/// An image that is no JPEG.
#[derive(Debug)]
pub(super) struct Other<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
}

impl<'a> Other<'a> {
    /// The image, its (width, height) as stored, and how it has to be turned.
    pub(super) fn open(bytes: &'a [u8]) -> Result<(Self, (u32, u32), Orientation), String> {
        let format = match bytes {
            // BigTIFF, which `image` reads but does not recognise.
            [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => ImageFormat::Tiff,
            _ => image::guess_format(bytes).map_err(|_| "no image of a known format".to_owned())?,
        };
        let image = Self { bytes, format };
        let mut decoder = image.decoder()?;
        // Damaged metadata do not make the pixels unusable.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((image, decoder.dimensions(), orientation))
    }

    /// All pixels, as stored.
    pub(super) fn whole(&self) -> Result<RgbImage, String> {
        let mut decoder = self.decoder()?;
        // The number of pixels has been checked; what a decoder takes beside them is bounded here.
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(decoder.total_bytes().saturating_mul(2).saturating_add(EXTRA_BYTES));
        decoder.set_limits(limits).map_err(text)?;
        DynamicImage::from_decoder(decoder).map(to_rgb).map_err(text)
    }

    fn decoder(&self) -> Result<impl ImageDecoder + use<'a>, String> {
        ImageReader::with_format(Cursor::new(self.bytes), self.format).into_decoder().map_err(text)
    }
}

fn text(error: ImageError) -> String {
    error.to_string()
}

/// 16-bit intensities keep their upper byte, as in most other tools; `image` would round.
fn to_rgb(image: DynamicImage) -> RgbImage {
    let upper = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = image.into_rgb16();
            let (width, height) = wide.dimensions();
            let values = wide.into_raw().into_iter().map(upper).collect();
            RgbImage::from_raw(width, height, values).unwrap_or_default()
        }
        image => image.into_rgb8(),
    }
}
