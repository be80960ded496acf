//! Pictures that are stored lying on a side, or mirrored.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

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

/// Whether stored rows are upright columns.
fn is_on_a_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}
