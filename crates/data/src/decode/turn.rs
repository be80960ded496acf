//! Pictures that are stored lying on a side, or mirrored.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use crate::crop_box::CropBox;

/// (width, height) of an upright picture, from those that are stored.
pub(super) fn dimensions((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    if is_on_a_side(orientation) { (height, width) } else { (width, height) }
}

/// Turns a stored picture.
pub(super) fn upright(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Where the pixels of an upright box are stored, in a picture of (width, height) stored pixels.
pub(super) fn stored_box(area: CropBox, (width, height): (u32, u32), orientation: Orientation) -> CropBox {
    use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
    let CropBox { left, top, width: columns, height: rows } = area;
    let mut stored = if is_on_a_side(orientation) {
        CropBox { left: top, top: left, width: rows, height: columns }
    } else {
        area
    };
    if matches!(orientation, FlipHorizontal | Rotate180 | Rotate270 | Rotate270FlipH) {
        stored.left = width - stored.left - stored.width;
    }
    if matches!(orientation, FlipVertical | Rotate180 | Rotate90 | Rotate270FlipH) {
        stored.top = height - stored.top - stored.height;
    }
    stored
}

/// Whether stored rows are upright columns.
fn is_on_a_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}
