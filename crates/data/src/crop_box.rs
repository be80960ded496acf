//! Parts of images.

use image::RgbImage;

/// A box of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Cuts out a box that lies within the image.
pub fn crop(image: &RgbImage, area: CropBox) -> RgbImage {
    let CropBox { left, top, width, height } = area;
    let [first, bytes] = [left, width].map(|pixels| 3 * pixels as usize);
    let rows = image.as_raw().chunks_exact(3 * image.width().max(1) as usize);
    let mut pixels = Vec::with_capacity(bytes * height as usize);
    for row in rows.skip(top as usize).take(height as usize) {
        pixels.extend_from_slice(&row[first..first + bytes]);
    }
    RgbImage::from_raw(width, height, pixels).expect("the box lies within the image")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn a_box_is_cut_out() {
        let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 9]));
        let cut = crop(&image, CropBox { left: 1, top: 2, width: 3, height: 2 });
        assert_eq!(cut, RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8 + 1, y as u8 + 2, 9])));
        let none = crop(&image, CropBox { left: 5, top: 4, width: 0, height: 0 });
        assert_eq!(none.dimensions(), (0, 0));
    }
}
