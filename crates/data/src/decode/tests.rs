use std::io::Cursor;

use super::*;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Rgb, Rgba};

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    Encoded::open(bytes, DecodeOptions::default())?.whole()
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
    let image = decode(include_bytes!("../../tests/goldens/cmyk.jpg")).unwrap();
    // What Pillow makes of it.
    let expected =
        image::load_from_memory(include_bytes!("../../tests/goldens/cmyk.png")).unwrap().into_rgb8();
    assert_eq!(image.dimensions(), expected.dimensions());
    for (a, b) in image.as_raw().iter().zip(expected.as_raw()) {
        assert!(a.abs_diff(*b) <= 3, "{a} {b}");
    }
}

#[test]
fn palette_png_becomes_rgb() {
    let image = decode(include_bytes!("../../tests/goldens/palette.png")).unwrap();
    assert_eq!(image.dimensions(), (2, 1));
    assert_eq!((image[(0, 0)], image[(1, 0)]), (Rgb([255, 0, 9]), Rgb([1, 200, 3])));
}

#[test]
fn a_jpeg_cut_short_is_an_error() {
    let whole = include_bytes!("../../tests/goldens/source.jpg");
    assert!(decode(whole).is_ok());
    for kept in [700, whole.len() / 2, whole.len() - 300, whole.len() - 1] {
        let error = decode(&whole[..kept]).unwrap_err();
        assert!(error.contains("end before the image"), "{kept} bytes: {error}");
    }
}

/// An end marker in an embedded thumbnail is not the end of the picture.
#[test]
fn a_thumbnail_does_not_hide_that_a_jpeg_is_cut_short() {
    let whole = include_bytes!("../../tests/goldens/source.jpg");
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
    assert!(decode(&png).unwrap_err().contains("data.max_pixels = 178956970"), "{:?}", decode(&png));
}

#[test]
fn damaged_images_are_errors() {
    let png = encode(&halves().into(), ImageFormat::Png);
    for bytes in [&png[..20], &png[..png.len() / 2], b"hello", b""] {
        assert!(decode(bytes).is_err());
    }
}

#[test]
fn an_image_of_more_pixels_than_allowed_is_refused_by_its_header() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::Pnm, ImageFormat::Qoi]
    {
        let bytes = encode(&halves().into(), format);
        let open =
            |max_pixels| Encoded::open(&bytes, DecodeOptions { max_pixels, ..DecodeOptions::default() });
        assert_eq!(open(128).unwrap().dimensions(), (16, 8), "{format:?}");
        let error = open(127).unwrap_err();
        assert_eq!(error, "the image has 16×8 pixels, more than data.max_pixels = 127 allows", "{format:?}");
    }
}

/// Every orientation, by a box that is nowhere symmetric.
#[test]
fn a_box_is_found_where_it_is_stored() {
    let picture = RgbImage::from_fn(7, 5, |x, y| Rgb([x as u8, y as u8, 0]));
    for exif in 1..=8 {
        let orientation = Orientation::from_exif(exif).unwrap();
        let upright = turn::upright(picture.clone(), orientation);
        assert_eq!(upright.dimensions(), turn::dimensions((7, 5), orientation));
        let area = CropBox { left: 1, top: 2, width: 3, height: 2 };
        let stored = crop(&picture, turn::stored_box(area, (7, 5), orientation));
        assert_eq!(turn::upright(stored, orientation), crop(&upright, area), "{exif}");
    }
}

/// The decoder would panic on them, or take one ink's rows for another's.
#[test]
fn inks_of_unusual_sizes_are_refused() {
    let whole = include_bytes!("../../tests/goldens/odd/cmyk-adobe.jpg");
    let frame = whole.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    assert!(decode(whole).is_ok());
    for component in 0..4 {
        let mut odd = whole.to_vec();
        // Behind marker, length, precision, height, width, number of components, and a name.
        odd[frame + 11 + 3 * component] = 0x21;
        assert!(decode(&odd).unwrap_err().contains("inks"), "{component}");
    }
}
