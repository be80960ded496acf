//! Parts of images.

use image::{RgbImage, imageops};

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
    imageops::crop_imm(image, left, top, width, height).to_image()
}
