//! Where in an image the score of a class comes from.

use burn::tensor::Tensor;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, Rgb, RgbImage};
use model::{ConvNextV2ForImageClassification, Sites};
use trainer::NotFinite;

use crate::error::FinetuneError;

/// Grad-CAM (arXiv:1610.02391) on the output of the last stage: rows, columns, and for every site
/// how much it speaks for `class`, 0 or more.
///
/// `image`: `[1, C, H, W]`, on a device with autodiff, like the network.
///
/// # Errors
/// A network without a head, a map that is not finite.
pub fn heatmap(
    network: &ConvNextV2ForImageClassification,
    image: Tensor<4>,
    class: usize,
) -> Result<([usize; 2], Vec<f32>), FinetuneError> {
    let head = network.head.as_ref().ok_or(FinetuneError::NoHead)?;
    let [_, _, height, width] = image.dims();
    let sites = Sites::all(1, [height, width]);
    let last = network.convnextv2.encoder.forward(image, &sites, None).pop().ok_or(FinetuneError::NoHead)?;
    let map = last.sites.map();
    let tokens = last.tokens.detach().require_grad(); // [1, T, C]
    let channels = tokens.dims()[2];
    let pooled = tokens.clone().mean_dim(1).reshape([1, channels]);
    let score = head.forward(network.convnextv2.norm.forward(pooled)).slice([0..1, class..class + 1]);
    // [1, T, C], without autodiff
    let gradient = tokens.grad(&score.sum().backward()).ok_or(FinetuneError::NoHead)?;
    let weights = gradient.mean_dim(1);
    let cam = (tokens.inner() * weights).sum_dim(2);
    let cam: Vec<f32> = cam.into_data().iter().collect();
    match cam.iter().all(|value| value.is_finite()) {
        true => Ok((map, cam.into_iter().map(|value| value.max(0.0)).collect())),
        false => Err(NotFinite::Outputs.into()),
    }
}

/// A picture under a map of `[rows, columns]`: blue where it says least, green, red where most.
pub fn overlay(picture: &RgbImage, map: &[f32], [rows, columns]: [usize; 2]) -> RgbImage {
    let largest = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let map = GrayImage::from_fn(columns as u32, rows as u32, |x, y| {
        Luma([(255.0 * map[y as usize * columns + x as usize] / largest) as u8])
    });
    let (width, height) = picture.dimensions();
    let map = imageops::resize(&map, width, height, FilterType::CatmullRom);
    RgbImage::from_fn(width, height, |x, y| {
        let (heat, Rgb(pixel)) = (f32::from(map.get_pixel(x, y)[0]) / 255.0, picture.get_pixel(x, y));
        let colour = [2.0 * heat - 1.0, 1.0 - (2.0 * heat - 1.0).abs(), 1.0 - 2.0 * heat];
        let blend = |i: usize| 0.5 * f32::from(pixel[i]) + 127.5 * colour[i].max(0.0);
        Rgb([blend(0) as u8, blend(1) as u8, blend(2) as u8])
    })
}
