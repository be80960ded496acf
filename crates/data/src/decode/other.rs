//! Every format but JPEG.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{
    DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Luma, LumaA,
    Pixel, Rgb, RgbImage, Rgba,
};

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
            _ => image::guess_format(bytes).map_err(|_| {
                "no image of a known format, which are JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, QOI and .npy"
                    .to_owned()
            })?,
        };
        if format == ImageFormat::WebP && !chunks_are_whole(bytes) {
            return Err("the WebP data end before the image does".to_owned());
        }
        let image = Self { bytes, format };
        let mut decoder = image.decoder()?;
        // Damaged metadata do not make the pixels unusable.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((image, decoder.dimensions(), orientation))
    }

    /// All pixels, as stored.
    pub(super) fn whole(&self) -> Result<RgbImage, String> {
        let mut decoder = self.decoder()?;
        // The number of pixels has been checked; what TIFF and GIF take beside them is bounded here, what PNG
        // takes where the decoder is made.
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(decoder.total_bytes().saturating_mul(2).saturating_add(EXTRA_BYTES));
        decoder.set_limits(limits).map_err(text)?;
        DynamicImage::from_decoder(decoder).map(to_rgb).map_err(text)
    }

    fn decoder(&self) -> Result<impl ImageDecoder + use<'a>, String> {
        let mut reader = ImageReader::with_format(Cursor::new(self.bytes), self.format);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(EXTRA_BYTES);
        reader.limits(limits);
        reader.into_decoder().map_err(text)
    }
}

fn text(error: ImageError) -> String {
    error.to_string()
}

/// 16-bit intensities keep their upper byte, as in most other tools; `image` would round.
fn to_rgb(image: DynamicImage) -> RgbImage {
    let upper = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageLuma16(wide) => narrowed(&wide, |Luma([v])| [upper(v); 3]),
        DynamicImage::ImageLumaA16(wide) => narrowed(&wide, |LumaA([v, _])| [upper(v); 3]),
        DynamicImage::ImageRgb16(wide) => narrowed(&wide, |Rgb(rgb)| rgb.map(upper)),
        DynamicImage::ImageRgba16(wide) => narrowed(&wide, |Rgba([r, g, b, _])| [r, g, b].map(upper)),
        image => image.into_rgb8(),
    }
}

fn narrowed<P: Pixel<Subpixel = u16>>(
    wide: &ImageBuffer<P, Vec<u16>>,
    rgb: impl Fn(P) -> [u8; 3],
) -> RgbImage {
    RgbImage::from_fn(wide.width(), wide.height(), |x, y| Rgb(rgb(*wide.get_pixel(x, y))))
}

/// Whether no chunk of a WebP file claims to be longer than the file, since memory is taken for what it
/// claims.
fn chunks_are_whole(bytes: &[u8]) -> bool {
    let [_, _, _, _, a, b, c, d, ..] = bytes else { return false };
    // What follows the container is no part of it.
    let end = (u32::from_le_bytes([*a, *b, *c, *d]) as usize).saturating_add(8).min(bytes.len());
    let mut rest = bytes.get(12..end).unwrap_or_default();
    while let [_, _, _, _, a, b, c, d, content @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        match content.get(length..) {
            // Chunks begin at even bytes.
            Some(behind) => rest = behind.get(length % 2..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}
