//! Pillow's bicubic resizing.

use std::cell::RefCell;

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::transform::CropBox;

thread_local! {
    /// Keeps its buffers from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Bicubic (a = −0.5) with antialiasing to `[height, width]`, as Pillow computes it: columns
/// first, the result rounded to 8 bits, then rows.
pub fn resize(image: &RgbImage, size: [usize; 2]) -> RgbImage {
    let (width, height) = image.dimensions();
    resize_part(image, CropBox { left: 0, top: 0, width, height }, size)
}

/// A box that lies within an image, cut out and [resized](resize): what lies around it does not count.
pub fn resize_part(image: &RgbImage, area: CropBox, [height, width]: [usize; 2]) -> RgbImage {
    let CropBox { left, top, .. } = area;
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3);
    let source = source.expect("an RGB image has three bytes a pixel");
    let source = CroppedImage::new(&source, left, top, area.width, area.height);
    // Two calls, because one would start with the rows, which moves single pixels.
    let wide = resize_once(&source.expect("the box lies within the image"), width as u32, area.height);
    let resized =
        if height as u32 == area.height { wide } else { resize_once(&wide, width as u32, height as u32) };
    RgbImage::from_raw(width as u32, height as u32, resized.into_vec()).expect("as many bytes as pixels")
}

fn resize_once(source: &impl IntoImageView, width: u32, height: u32) -> Image<'static> {
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let done = RESIZER.with_borrow_mut(|resizer| resizer.resize(source, &mut resized, &options));
    done.expect("both images are 8-bit RGB");
    resized
}

/// Cuts out a box that lies within the image.
pub fn crop(image: &RgbImage, area: CropBox) -> RgbImage {
    let CropBox { left, top, width, height } = area;
    image::imageops::crop_imm(image, left, top, width, height).to_image()
}
