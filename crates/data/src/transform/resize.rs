//! Pillow's bicubic resizing.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

thread_local! {
    /// Keeps its buffers from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Bicubic (a = −0.5) with antialiasing to `[height, width]`, as Pillow computes it: columns
/// first, the result rounded to 8 bits, then rows.
pub fn resize(image: &RgbImage, [height, width]: [usize; 2]) -> RgbImage {
    let [height, width] = [height as u32, width as u32];
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3);
    // Two calls, because one would start with the rows, which moves single pixels.
    let wide = resize_once(&source.expect("an RGB image has three bytes a pixel"), width, image.height());
    let resized = if height == image.height() { wide } else { resize_once(&wide, width, height) };
    RgbImage::from_raw(width, height, resized.into_vec()).expect("as many bytes as pixels")
}

fn resize_once(source: &impl IntoImageView, width: u32, height: u32) -> Image<'static> {
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let done = RESIZER.with_borrow_mut(|resizer| resizer.resize(source, &mut resized, &options));
    done.expect("both images are 8-bit RGB");
    resized
}
