//! Cropping and Pillow's bicubic resizing.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::transform::CropBox;

/// Bicubic (a = −0.5) with antialiasing to `[height, width]`, as Pillow computes it: columns
/// first, the result rounded to 8 bits, then rows.
pub fn resize(image: &RgbImage, [height, width]: [usize; 2]) -> RgbImage {
    // Two calls, because one would start with the rows, which moves single pixels.
    let wide = resize_once(image, width as u32, image.height());
    resize_once(&wide, width as u32, height as u32)
}

fn resize_once(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3);
    let source = source.expect("an RGB image has three bytes a pixel");
    Resizer::new().resize(&source, &mut resized, &options).expect("both images are 8-bit RGB");
    RgbImage::from_raw(width, height, resized.into_vec()).expect("as many bytes as pixels")
}

/// Cuts out a box that lies within the image.
pub fn crop(image: &RgbImage, area: CropBox) -> RgbImage {
    let CropBox { left, top, width, height } = area;
    image::imageops::crop_imm(image, left, top, width, height).to_image()
}
