//! Image files → RGB, the right way up.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};

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
/// What the decoder says of an image that is damaged, unknown or too large for memory.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let text = |error: image::ImageError| error.to_string();
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut decoder = reader.into_decoder().map_err(text)?;
    let orientation = decoder.orientation().map_err(text)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(text)?;
    image.apply_orientation(orientation);
    Ok(to_rgb(image))
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
    fn damaged_images_are_errors() {
        let png = encode(&halves().into(), ImageFormat::Png);
        for bytes in [&png[..20], &png[..png.len() / 2], b"hello", b""] {
            assert!(decode(bytes).is_err());
        }
    }
}
