//! What the network makes of masked images, as a picture and as numbers.

use burn::tensor::{DataError, Tensor};
use data::transform::normalize::Normalize;
use image::{Rgb, RgbImage};
use model::{Execution, Observe, PatchMask, Predict, official_name};
use serde::Serialize;
use trainer::NotFinite;

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
    /// Peak signal-to-noise ratio of hidden pixels, in decibels; none where not a pixel differs.
    pub psnr_db: Option<f64>,
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

/// Why images cannot be reconstructed.
#[derive(Debug, thiserror::Error)]
pub enum ReconstructError {
    /// A device that does not give its data back.
    #[error(transparent)]
    Device(#[from] DataError),
    /// A network that predicts what is not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// Reconstructs normalised images `[N, C, H, W]` behind a mask. `model` is without autodiff.
///
/// # Errors
/// A device that does not give its data back, a network that predicts what is not finite.
pub fn reconstruct(
    model: &Fcmae,
    images: Tensor<4>,
    mask: &PatchMask,
    normalize: &Normalize,
) -> Result<Reconstruction, ReconstructError> {
    let [batch, channels, height, width] = images.dims();
    let patch = model.patch_size();
    let pred = model.forward(images.clone(), mask, Execution::Compact, Predict::All, None);
    let losses = model.patch_loss(images.clone(), pred.clone()).into_data().try_into_vec::<f32>()?;
    if losses.iter().any(|loss| !loss.is_finite()) {
        let walk = |observe: &mut Observe| model.observe(images.clone(), mask, observe);
        return Err(NotFinite::find(model, &official_name, &images, walk).into());
    }
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
    let psnr_db = (masked_mse > 0.0).then(|| -10.0 * masked_mse.log10());
    Score { loss, masked_mse, psnr_db }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FcmaeConfig, random_mask};
    use burn::tensor::{Device, TensorData};
    use model::{Compute, ConvNextV2Config};

    const SHAPE: [usize; 4] = [1, 3, 16, 24];

    /// What a network of zeros makes of an image whose normalised values are these: the mean everywhere.
    fn of_zeros(values: f32) -> Result<Reconstruction, ReconstructError> {
        let device = Device::flex();
        let fcmae = FcmaeConfig { patch_size: 8, norm_pix_loss: false, ..FcmaeConfig::default() };
        let model = ConvNextV2Config {
            depths: vec![1, 1],
            hidden_sizes: vec![8, 16],
            num_stages: 2,
            patch_size: 2,
            ..ConvNextV2Config::default()
        };
        let network = Fcmae::zeros(&fcmae, &model, Compute::default(), &device).unwrap();
        let mask = random_mask(&fcmae.mask_shape(&model, [16, 24]).unwrap(), 0, 0, &[0]).unwrap();
        let images = TensorData::new(vec![values; SHAPE.iter().product()], SHAPE);
        let normalize = Normalize { mean: vec![0.5; 3], std: vec![0.25; 3] };
        reconstruct(&network, Tensor::from_data(images, &device), &mask, &normalize)
    }

    #[test]
    fn a_reconstruction_without_error_has_no_ratio_to_it() {
        let Score { masked_mse, psnr_db, .. } = of_zeros(0.0).unwrap().scores[0];
        assert_eq!((masked_mse, psnr_db), (0.0, None));
        let Score { masked_mse, psnr_db, .. } = of_zeros(0.4).unwrap().scores[0];
        assert!((masked_mse - 0.01).abs() < 1e-8 && (psnr_db.unwrap() - 20.0).abs() < 1e-5);
    }

    #[test]
    fn images_that_are_not_finite_are_an_error() {
        assert!(matches!(of_zeros(f32::NAN), Err(ReconstructError::NotFinite(NotFinite::Images))));
    }
}
