//! Pictures inside the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};

use crate::error::ReportError;

/// A picture as an address that holds it.
pub(crate) fn data_url(picture: &RgbImage, quality: u8) -> Result<String, ReportError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(picture)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// A picture whose longer side has at most so many pixels.
pub(crate) fn shrunk(picture: RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= side {
        return picture;
    }
    let [width, height] = [width, height].map(|pixels| (pixels * side / longer).max(1));
    resize(&picture, width, height, FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_shrink_to_a_side_and_read_back() {
        let picture = RgbImage::from_fn(300, 150, |x, _| image::Rgb([if x < 150 { 250 } else { 5 }; 3]));
        assert_eq!(shrunk(picture.clone(), 300).dimensions(), (300, 150));
        let small = shrunk(picture, 100);
        assert_eq!(small.dimensions(), (100, 50));
        let url = data_url(&small, 80).unwrap();
        let bytes = STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let read = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert!(read.get_pixel(10, 20).0[0] > 230 && read.get_pixel(90, 20).0[0] < 25);
        assert_eq!(shrunk(RgbImage::new(5000, 1), 100).dimensions(), (100, 1));
    }
}
