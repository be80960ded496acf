//! What the network makes of masked images, as a picture and as numbers.

use burn::tensor::{DataError, Tensor};
use data::transform::normalize::Normalize;
use image::{Rgb, RgbImage};
use model::{Execution, PatchMask, Predict};
use serde::Serialize;

use crate::network::Fcmae;
use crate::target::{patch_statistics, patchify, unpatchify};

/// Pixels between pictures.
const GAP: u32 = 2;
/// Smaller pictures are enlarged to about this side, so that something can be seen.
const READABLE: usize = 128;
/// Colour of hidden patches.
const HIDDEN: Rgb<u8> = Rgb([128, 128, 128]);
/// Colour between pictures.
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// How well the hidden patches of one image were predicted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Score {
    /// The training loss of this image: in normalised pixels, or patch-normalised ones.
    pub loss: f64,
    /// Mean squared error of hidden pixels, as fractions of full intensity.
    pub masked_mse: f64,
    /// Peak signal-to-noise ratio of hidden pixels, in decibels.
    pub psnr_db: f64,
}

/// Reconstructions of a batch.
#[derive(Debug)]
pub struct Reconstruction {
    /// A row an image: original, masked, reconstruction, reconstruction with the visible patches
    /// pasted in.
    pub picture: RgbImage,
    /// A score an image.
    pub scores: Vec<Score>,
    /// Whether predictions were turned into colours with the mean and variance of the true
    /// patches, because the network predicts patch-normalised pixels and cannot know them.
    pub used_target_statistics: bool,
}

/// Reconstructs normalised images `[N, C, H, W]` behind a mask. `model` is without autodiff.
///
/// # Errors
/// A device that does not give its data back.
pub fn reconstruct(
    model: &Fcmae,
    images: Tensor<4>,
    mask: &PatchMask,
    normalize: &Normalize,
) -> Result<Reconstruction, DataError> {
    let [batch, channels, height, width] = images.dims();
    let patch = model.patch_size();
    let pred = model.forward(images.clone(), mask, Execution::Compact, Predict::All, None);
    let losses = model.patch_loss(images.clone(), pred.clone()).into_data().try_into_vec::<f32>()?;
    let used_target_statistics = model.norm_pix_loss();
    let pred = if used_target_statistics {
        let (mean, std) = patch_statistics(patchify(images.clone(), patch));
        pred * std + mean
    } else {
        pred
    };
    let pred = unpatchify(pred, mask.grid(), patch).into_data().try_into_vec::<f32>()?;
    let truth = images.into_data().try_into_vec::<f32>()?;

    let size = channels * height * width;
    let (cell_width, cell_height) = (width as u32 + GAP, height as u32 + GAP);
    let (columns, rows) = (4 * cell_width - GAP, batch as u32 * cell_height - GAP);
    let mut picture = RgbImage::from_pixel(columns, rows, PAPER);
    let mut scores = Vec::with_capacity(batch);
    for sample in 0..batch {
        let view = |values| Pixels { values, height, width, normalize };
        let truth = view(&truth[sample * size..][..size]);
        let pred = view(&pred[sample * size..][..size]);
        let is_hidden = hidden_pixels(mask, sample, patch, width);
        for y in 0..height {
            for x in 0..width {
                let (seen, made) = (truth.rgb(y, x), pred.rgb(y, x));
                let row = match is_hidden(y, x) {
                    true => [seen, HIDDEN, made, made],
                    false => [seen, seen, made, seen],
                };
                for (column, colour) in row.into_iter().enumerate() {
                    let left = column as u32 * cell_width + x as u32;
                    picture.put_pixel(left, sample as u32 * cell_height + y as u32, colour);
                }
            }
        }
        let losses = &losses[sample * mask.patches()..];
        scores.push(score(&truth, &pred, &mask.hidden()[sample], losses, is_hidden));
    }
    Ok(Reconstruction { picture: enlarge(picture, width.min(height)), scores, used_target_statistics })
}

/// Repeats pixels of a picture of small images.
fn enlarge(picture: RgbImage, side: usize) -> RgbImage {
    let factor = (READABLE / side).max(1) as u32;
    let (width, height) = picture.dimensions();
    image::imageops::resize(&picture, width * factor, height * factor, image::imageops::FilterType::Nearest)
}

fn score(
    truth: &Pixels,
    pred: &Pixels,
    hidden: &[usize],
    losses: &[f32],
    is_hidden: impl Fn(usize, usize) -> bool,
) -> Score {
    let (mut squares, mut count) = (0.0, 0.0);
    for y in 0..truth.height {
        for x in (0..truth.width).filter(|&x| is_hidden(y, x)) {
            for channel in 0..truth.channels() {
                let difference = truth.intensity(channel, y, x) - pred.intensity(channel, y, x);
                squares += difference * difference;
                count += 1.0;
            }
        }
    }
    let masked_mse = squares / count;
    let loss = hidden.iter().map(|&l| f64::from(losses[l])).sum::<f64>() / hidden.len() as f64;
    Score { loss, masked_mse, psnr_db: -10.0 * masked_mse.log10() }
}

/// Whether the pixel at (row, column) of a sample is hidden.
fn hidden_pixels(
    mask: &PatchMask,
    sample: usize,
    patch: usize,
    width: usize,
) -> impl Fn(usize, usize) -> bool + Copy {
    let hidden = &mask.hidden()[sample];
    move |y, x| hidden.binary_search(&(y / patch * (width / patch) + x / patch)).is_ok()
}

/// One normalised image, `[C, H, W]`.
struct Pixels<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
    normalize: &'a Normalize,
}

impl Pixels<'_> {
    fn channels(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }

    /// 0 to 1 for a real image; predictions are clipped to what can be shown.
    fn intensity(&self, channel: usize, y: usize, x: usize) -> f64 {
        let value = self.values[(channel * self.height + y) * self.width + x];
        f64::from(value * self.normalize.std[channel] + self.normalize.mean[channel]).clamp(0.0, 1.0)
    }

    /// The first three channels, or the first one as grey.
    fn rgb(&self, y: usize, x: usize) -> Rgb<u8> {
        let channel = |wanted: usize| if self.channels() < 3 { 0 } else { wanted };
        Rgb([0, 1, 2].map(|c| (self.intensity(channel(c), y, x) * 255.0).round() as u8))
    }
}
