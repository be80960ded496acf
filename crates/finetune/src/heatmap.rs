//! Where in an image the score of a class comes from.

use burn::tensor::Tensor;
use drawing::{Block, Sheet, enlarge, enlargement, mix};
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Rgb, RgbImage};
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

/// The most images whose heat maps are drawn on one picture.
pub const MOST_HEATMAPS: usize = 100;
/// What the picture says below.
const NOTE: &str =
    "The brighter a place, the more it speaks for the class, compared with the rest of its image (Grad-CAM).";
/// Dark where a map says least, bright where most: as bright in print as on a screen.
const RAMP: [[f32; 3]; 8] = [
    [0.0, 0.0, 4.0],
    [40.0, 11.0, 84.0],
    [101.0, 21.0, 110.0],
    [159.0, 42.0, 99.0],
    [212.0, 72.0, 66.0],
    [245.0, 125.0, 21.0],
    [250.0, 193.0, 39.0],
    [252.0, 255.0, 164.0],
];

/// An image, and where the score of a class comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The part of the image that the network sees.
    pub photo: RgbImage,
    /// How much each site speaks for the class.
    pub map: Vec<f32>,
    /// `[rows, columns]` of the map.
    pub sites: [usize; 2],
    /// Class and score.
    pub caption: String,
    /// The name of the image.
    pub name: String,
}

/// Photos beside their overlays, with what they are taken for; one image or more, all of one size.
/// `strength`: how much of the photo the colours hide, from 0 to 1.
pub fn draw_heatmaps(images: &[Explained], strength: f32) -> RgbImage {
    let least = match images.len() {
        1 => 384,
        2..=6 => 224,
        _ => 160,
    };
    let blocks: Vec<_> = images.iter().map(|image| image.block(least, strength)).collect();
    let (width, height) = blocks[0].tiles[0].dimensions();
    // About twice as wide as high.
    let columns = (2.0 * images.len() as f32 * (height + 60) as f32 / (2 * width + 30) as f32).sqrt();
    let titles = ["photo", "heat map"].map(str::to_owned).to_vec();
    Sheet { titles, columns: columns.round() as usize, blocks, notes: vec![NOTE.to_owned()] }.draw()
}

impl Explained {
    fn block(&self, least: u32, strength: f32) -> Block {
        let (width, height) = self.photo.dimensions();
        let photo = enlarge(&self.photo, enlargement([width, height], least));
        let overlay = overlay(&photo, &self.map, self.sites, strength);
        let says_nothing = self.map.iter().all(|value| *value == 0.0);
        let remark = if says_nothing { " (no place speaks for it)" } else { "" };
        Block {
            tiles: vec![photo, overlay],
            caption: vec![format!("{}{remark}", self.caption), self.name.clone()],
        }
    }
}

/// A photo under a map of `[rows, columns]`, relative to its largest value.
fn overlay(photo: &RgbImage, map: &[f32], [rows, columns]: [usize; 2], strength: f32) -> RgbImage {
    let largest = map.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let map: ImageBuffer<Luma<f32>, _> = ImageBuffer::from_fn(columns as u32, rows as u32, |x, y| {
        Luma([map[y as usize * columns + x as usize] / largest])
    });
    let (width, height) = photo.dimensions();
    let map = imageops::resize(&map, width, height, FilterType::CatmullRom);
    RgbImage::from_fn(width, height, |x, y| {
        mix(*photo.get_pixel(x, y), colour(map.get_pixel(x, y)[0]), strength)
    })
}

/// Of a heat from 0 to 1.
fn colour(heat: f32) -> Rgb<u8> {
    let place = heat.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let below = (place as usize).min(RAMP.len() - 2);
    let share = place - below as f32;
    Rgb([0, 1, 2].map(|i| (RAMP[below][i] + share * (RAMP[below + 1][i] - RAMP[below][i])).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(map: [f32; 4]) -> Explained {
        let photo = RgbImage::from_fn(32, 32, |x, y| Rgb([100, 4 * x as u8, 4 * y as u8]));
        let (caption, name) = ("cat, 87.3 %".to_owned(), "000.png".to_owned());
        Explained { photo, map: map.to_vec(), sites: [2, 2], caption, name }
    }

    #[test]
    fn colours_lie_where_the_map_says_most() {
        let image = explained([0.0, 3.0, 0.0, 0.0]);
        let drawn = |strength| overlay(&image.photo, &image.map, [2, 2], strength);
        let full = drawn(1.0);
        assert_eq!(full.get_pixel(31, 0).0, [252, 255, 164]);
        assert!(full.get_pixel(0, 31).0.iter().all(|channel| *channel < 16));
        assert_eq!(drawn(0.0), image.photo);
        // Half of each.
        assert_eq!(drawn(0.5).get_pixel(31, 0).0, [176, 190, 82]);
        // A map of zeros says nothing, and the picture that it does.
        assert!(overlay(&image.photo, &[0.0; 4], [2, 2], 1.0).pixels().all(|pixel| pixel.0 == [0, 0, 4]));
        assert!(explained([0.0; 4]).block(160, 0.5).caption[0].ends_with("(no place speaks for it)"));
        assert_eq!(image.block(160, 0.5).caption, ["cat, 87.3 %", "000.png"]);
    }

    #[test]
    fn heatmaps_look_as_stored() {
        let images = [[0.0, 3.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.2], [0.0; 4]].map(explained);
        let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures/heatmaps.png");
        drawing::stored::compare(&draw_heatmaps(&images, 0.5), stored.as_ref()).unwrap();
        // A single one is as large as can be looked at.
        assert!(draw_heatmaps(&images[..1], 0.5).width() > 2 * 384);
    }
}
