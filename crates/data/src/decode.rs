//! Image files → RGB, the right way up.

use std::fs;
use std::io::Cursor;
use std::panic::catch_unwind;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::DataError;

/// Decodes an image file; see [`decode`].
///
/// # Errors
/// A file that is missing or no whole image, by path.
pub fn decode_file(path: &Path) -> Result<RgbImage, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    decode(&bytes).map_err(|reason| DataError::Decode { path: path.to_owned(), reason })
}

/// Decodes JPEG, PNG, WebP, BMP or the first frame of a GIF, recognised by content.
///
/// EXIF orientation is applied. Grey, palette, CMYK and 16-bit pixels become 8-bit RGB; alpha is
/// dropped, as in Pillow's `convert("RGB")`.
///
/// # Errors
/// What the decoder says of an image that is damaged, cut short, unknown, empty or larger than 512 MiB.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    // A decoder that panics on a damaged file costs one image, not the run.
    catch_unwind(|| decode_unguarded(bytes)).unwrap_or_else(|_| Err("the decoder panicked".to_owned()))
}

fn decode_unguarded(bytes: &[u8]) -> Result<RgbImage, String> {
    let text = |error: image::ImageError| error.to_string();
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        return Err("the JPEG data end before the image does".to_owned());
    }
    let mut decoder = reader.into_decoder().map_err(text)?;
    // A header of a few bytes can claim any size: refuse before memory is taken for it.
    let mut limits = Limits::default();
    limits.reserve(decoder.total_bytes()).map_err(text)?;
    decoder.set_limits(limits).map_err(text)?;
    if decoder.total_bytes() == 0 {
        return Err("the image has no pixels".to_owned());
    }
    // Damaged metadata do not make the pixels unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(text)?;
    image.apply_orientation(orientation);
    Ok(to_rgb(image))
}

/// Whether an end marker follows the first scan. The decoder fills what is missing with grey and
/// says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, ..] = *rest {
        if marker == START_OF_SCAN {
            return rest.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        // Any number of 0xff may stand before a marker.
        let skipped = if marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    true // no scan at all: the decoder reports it
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

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat, Rgb, Rgba};

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Left half dark, right half bright, 16×8.
    fn halves() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, _| if x < 8 { Rgb([10, 20, 30]) } else { Rgb([200, 210, 220]) })
    }

    #[test]
    fn lossless_formats_keep_every_pixel() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
            let bytes = encode(&halves().into(), format);
            assert_eq!(decode(&bytes).unwrap(), halves(), "{format:?}");
        }
    }

    #[test]
    fn grey_alpha_and_sixteen_bits_become_rgb() {
        let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(2, 2, image::Luma([77])));
        assert_eq!(decode(&encode(&grey, ImageFormat::Png)).unwrap()[(0, 0)], Rgb([77; 3]));
        let alpha = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0])));
        assert_eq!(decode(&encode(&alpha, ImageFormat::Png)).unwrap()[(1, 1)], Rgb([1, 2, 3]));
        let wide = image::ImageBuffer::from_pixel(2, 2, Rgb([0x12ffu16, 0xff80, 0x0001]));
        let bytes = encode(&DynamicImage::ImageRgb16(wide), ImageFormat::Png);
        assert_eq!(decode(&bytes).unwrap()[(0, 1)], Rgb([0x12, 0xff, 0x00]));
    }

    #[test]
    fn exif_orientation_is_applied() {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 95)
            .write_image(&halves(), 16, 8, ExtendedColorType::Rgb8)
            .unwrap();
        assert!(decode(&jpeg).unwrap()[(1, 4)].0[0] < 60);
        // Orientation 6: the stored image has to be turned by 90° clockwise.
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut segment = vec![0xff, 0xe1];
        segment.extend(((exif.len() + 2) as u16).to_be_bytes());
        segment.append(&mut exif);
        jpeg.splice(2..2, segment);
        let turned = decode(&jpeg).unwrap();
        assert_eq!(turned.dimensions(), (8, 16));
        assert!(turned[(4, 1)].0[0] < 60 && turned[(4, 14)].0[0] > 150);
    }

    #[test]
    fn cmyk_jpeg_becomes_rgb() {
        let image = decode(include_bytes!("../tests/goldens/cmyk.jpg")).unwrap();
        // What Pillow makes of it.
        let expected =
            image::load_from_memory(include_bytes!("../tests/goldens/cmyk.png")).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), expected.dimensions());
        for (a, b) in image.as_raw().iter().zip(expected.as_raw()) {
            assert!(a.abs_diff(*b) <= 3, "{a} {b}");
        }
    }

    #[test]
    fn palette_png_becomes_rgb() {
        let image = decode(include_bytes!("../tests/goldens/palette.png")).unwrap();
        assert_eq!(image.dimensions(), (2, 1));
        assert_eq!((image[(0, 0)], image[(1, 0)]), (Rgb([255, 0, 9]), Rgb([1, 200, 3])));
    }

    #[test]
    fn a_jpeg_cut_short_is_an_error() {
        let whole = include_bytes!("../tests/goldens/source.jpg");
        assert!(decode(whole).is_ok());
        for kept in [700, whole.len() / 2, whole.len() - 300, whole.len() - 1] {
            let error = decode(&whole[..kept]).unwrap_err();
            assert!(error.contains("end before the image"), "{kept} bytes: {error}");
        }
    }

    /// An end marker in an embedded thumbnail is not the end of the picture.
    #[test]
    fn a_thumbnail_does_not_hide_that_a_jpeg_is_cut_short() {
        let whole = include_bytes!("../tests/goldens/source.jpg");
        let segment = [&[0xff, 0xe1, 0, 8][..], b"Exif", &[0xff, 0xd9]].concat();
        let with_thumbnail = [&whole[..2], &segment, &whole[2..]].concat();
        assert!(decode(&with_thumbnail).is_ok());
        assert!(decode(&with_thumbnail[..with_thumbnail.len() - 300]).is_err());
    }

    #[test]
    fn a_header_that_claims_a_huge_image_is_refused_before_memory_is_taken() {
        let chunk = |kind: &[u8], data: &[u8]| {
            let body = [kind, data].concat();
            let mut crc = flate2::Crc::new();
            crc.update(&body);
            [&(data.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
        };
        let side = 60_000u32.to_be_bytes();
        let header = chunk(b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat());
        let data = chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]);
        let png = [b"\x89PNG\r\n\x1a\n", &header[..], &data, &chunk(b"IEND", b"")].concat();
        assert!(decode(&png).unwrap_err().contains("imit"), "{:?}", decode(&png));
    }

    #[test]
    fn damaged_images_are_errors() {
        let png = encode(&halves().into(), ImageFormat::Png);
        for bytes in [&png[..20], &png[..png.len() / 2], b"hello", b""] {
            assert!(decode(bytes).is_err());
        }
    }
}

/// How images are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pixels of the largest image.
    pub max_pixels: u64,
    /// Whether a part is always cut out of the whole picture decoded at full size.
    pub exact: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: 178_956_970, exact: false }
    }
}

/// An image whose header has been read.
pub struct Encoded<'a>(&'a [u8], RgbImage);

impl<'a> Encoded<'a> {
    /// x
    pub fn open(bytes: &'a [u8], _options: DecodeOptions) -> Result<Self, String> {
        Ok(Self(bytes, decode(bytes)?))
    }
    /// x
    pub fn dimensions(&self) -> (u32, u32) {
        self.1.dimensions()
    }
    /// x
    pub fn whole(&self) -> Result<RgbImage, String> {
        decode(self.0)
    }
    /// x
    pub fn part(&self, area: crate::transform::CropBox, _: [usize; 2]) -> Result<RgbImage, String> {
        Ok(crate::transform::crop(&self.1, area))
    }
}
