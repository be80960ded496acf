//! What the network makes of masked images, as a picture and as numbers.

use std::fmt;

use burn::tensor::{DataError, Tensor};
use data::transform::normalize::Normalize;
use drawing::{Block, Sheet, enlarge, enlargement, mix};
use image::imageops::{crop_imm, grayscale, replace};
use image::{Luma, Rgb, RgbImage};
use model::{Execution, Observe, PatchMask, Predict, official_name};
use serde::Serialize;
use trainer::{NotFinite, readable};

use crate::network::Fcmae;
use crate::target::{patch_statistics, patchify, unpatchify};

/// Smaller images are enlarged to at least this side, so that something can be seen.
const READABLE: u32 = 160;
/// Colour of hidden patches.
const HIDDEN: Rgb<u8> = Rgb([168; 3]);
/// What visible patches fade to beside predictions, and how much of them is left.
const FADED: Rgb<u8> = Rgb([226; 3]);
const LEFT: f32 = 0.2;
/// What the picture says of predictions that were coloured with what the network cannot know.
const BORROWED: &str = "Borrowed from the original: brightness and contrast (mean and variance) of every \
                        hidden patch, to which this network's predictions are relative (norm_pix_loss).";

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
    /// A row an image: original, visible patches, predictions of the others, both together; with titles,
    /// the error of each image, and what was borrowed from it.
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

/// The channels that are shown as red, green and blue where nobody says which: the first three, or the first
/// one as grey.
pub fn usual_bands(channels: usize) -> [usize; 3] {
    if channels < 3 { [0; 3] } else { [0, 1, 2] }
}

/// Reconstructs normalised images `[N, C, H, W]` behind a mask, and shows three of the channels as red,
/// green and blue. `model` is without autodiff.
///
/// # Errors
/// A device that does not give its data back, a network that predicts what is not finite.
pub fn reconstruct(
    model: &Fcmae,
    images: Tensor<4>,
    mask: &PatchMask,
    normalize: &Normalize,
    shown: [usize; 3],
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
    let (mut blocks, mut scores) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
    for sample in 0..batch {
        let view = |values| Pixels { values, height, width, normalize };
        let truth = view(&truth[sample * size..][..size]);
        let pred = view(&pred[sample * size..][..size]);
        let losses = &losses[sample * mask.patches()..];
        let is_hidden = hidden_pixels(mask, sample, patch, width);
        let score = score(&truth, &pred, &mask.hidden()[sample], losses, is_hidden);
        let tiles = tiles(&truth.picture(shown), &pred.picture(shown), &mask.hidden()[sample], patch as u32);
        blocks.push(Block { tiles, caption: vec![score.to_string()] });
        scores.push(score);
    }
    let picture = sheet(blocks, mask, used_target_statistics);
    Ok(Reconstruction { picture, scores, used_target_statistics })
}

fn sheet(blocks: Vec<Block>, mask: &PatchMask, borrowed: bool) -> RgbImage {
    let visible = format!("visible: {} of {}", mask.visible()[0].len(), mask.patches());
    let titles = ["original", &visible, "predicted", "completed"].map(str::to_owned).to_vec();
    let notes = borrowed.then(|| BORROWED.to_owned()).into_iter().collect();
    Sheet { titles, columns: 1, blocks, notes }.draw()
}

/// Original, visible patches, predictions of the hidden ones, both together. Predictions are enlarged
/// patch by patch: nothing of their neighbours bleeds into them.
fn tiles(truth: &RgbImage, pred: &RgbImage, hidden: &[usize], patch: u32) -> Vec<RgbImage> {
    let (width, height) = truth.dimensions();
    let times = enlargement([width, height], READABLE);
    let original = enlarge(truth, times);
    let (mut visible, mut predicted, mut completed) = (original.clone(), muted(&original), original.clone());
    let covered = RgbImage::from_pixel(patch * times, patch * times, HIDDEN);
    for index in hidden {
        let (row, column) = (*index as u32 / (width / patch), *index as u32 % (width / patch));
        let made = enlarge(&crop_imm(pred, column * patch, row * patch, patch, patch).to_image(), times);
        let (x, y) = (i64::from(column * patch * times), i64::from(row * patch * times));
        replace(&mut visible, &covered, x, y);
        replace(&mut predicted, &made, x, y);
        replace(&mut completed, &made, x, y);
    }
    vec![original, visible, predicted, completed]
}

/// Pale and without colours.
fn muted(picture: &RgbImage) -> RgbImage {
    let grey = grayscale(picture);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let Luma([value]) = *grey.get_pixel(x, y);
        mix(FADED, Rgb([value; 3]), LEFT)
    })
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { masked_mse, psnr_db, .. } = self;
        match psnr_db {
            Some(psnr) => write!(f, "masked MSE {}, PSNR {psnr:.1} dB", readable(*masked_mse)),
            None => write!(f, "masked MSE {}, no pixel differs", readable(*masked_mse)),
        }
    }
}

fn score(
    truth: &Pixels,
    pred: &Pixels,
    hidden: &[usize],
    losses: &[f32],
    is_hidden: impl Fn(usize, usize) -> bool,
) -> Score {
    let (mut squares, mut count) = (0.0, 0.0);
    let [low, high] = truth.range();
    for y in 0..truth.height {
        for x in (0..truth.width).filter(|&x| is_hidden(y, x)) {
            for channel in 0..truth.channels() {
                let predicted = pred.intensity(channel, y, x).clamp(low, high);
                let difference = truth.intensity(channel, y, x) - predicted;
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

    /// What intensities can be: from 0 to 1, or further where the image goes beyond.
    fn range(&self) -> [f64; 2] {
        let places = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x)));
        let all = places.flat_map(|(y, x)| (0..self.channels()).map(move |c| self.intensity(c, y, x)));
        all.fold([0.0, 1.0], |[low, high], value| [low.min(value), high.max(value)])
    }

    /// From 0 to 1 for pictures.
    fn intensity(&self, channel: usize, y: usize, x: usize) -> f64 {
        let value = self.values[(channel * self.height + y) * self.width + x];
        f64::from(value * self.normalize.std[channel] + self.normalize.mean[channel])
    }

    /// Three of the channels.
    fn picture(&self, shown: [usize; 3]) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let level = |channel| (255.0 * self.intensity(channel, y as usize, x as usize)).round() as u8;
            Rgb(shown.map(level))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FcmaeConfig, random_mask};
    use burn::tensor::{Device, TensorData};
    use model::{Compute, ConvNextV2Config};

    /// Predictions are clipped to what can be, which is more than 0 to 1 where the image goes beyond.
    #[test]
    fn errors_beyond_what_can_be_do_not_count() {
        let normalize = Normalize { mean: vec![0.0], std: vec![1.0] };
        let of = |values: &'static [f32]| {
            let view = |values| Pixels { values, height: 1, width: 2, normalize: &normalize };
            score(&view(values), &view(&[3.0, 3.0]), &[0], &[1.0], |_, _| true).masked_mse
        };
        assert_eq!(of(&[0.5, 1.0]), 0.125);
        assert_eq!(of(&[1.0, 2.0]), 0.5);
    }

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
        reconstruct(&network, Tensor::from_data(images, &device), &mask, &normalize, usual_bands(3))
    }

    #[test]
    fn a_reconstruction_without_error_has_no_ratio_to_it() {
        let Score { masked_mse, psnr_db, .. } = of_zeros(0.0).unwrap().scores[0];
        assert_eq!((masked_mse, psnr_db), (0.0, None));
        let Score { masked_mse, psnr_db, .. } = of_zeros(0.4).unwrap().scores[0];
        assert!((masked_mse - 0.01).abs() < 1e-8 && (psnr_db.unwrap() - 20.0).abs() < 1e-5);
    }

    /// A mask of two of the six patches of a striped image, and other stripes as prediction.
    fn of_stripes() -> (RgbImage, RgbImage, [usize; 2]) {
        let stripes = |red| RgbImage::from_fn(24, 16, |x, y| Rgb([red, 10 * x as u8, 15 * y as u8]));
        (stripes(250), stripes(20), [1, 5])
    }

    #[test]
    fn predictions_are_shown_where_something_was_hidden_and_nowhere_else() {
        let (truth, pred, hidden) = of_stripes();
        let tiles = tiles(&truth, &pred, &hidden, 8);
        assert!(tiles.iter().all(|tile| tile.dimensions() == (240, 160)));
        for (x, y, is_hidden) in
            [(79, 10, false), (80, 0, true), (159, 79, true), (160, 80, true), (159, 80, false)]
        {
            let [original, visible, predicted, completed] =
                [0, 1, 2, 3].map(|i: usize| tiles[i].get_pixel(x, y).0);
            assert_eq!((original[0], completed[0]), (250, if is_hidden { 20 } else { 250 }), "{x} {y}");
            assert_eq!(visible == HIDDEN.0, is_hidden);
            // What is not predicted has no colour.
            assert_eq!(
                predicted[0] == predicted[1] && predicted[1] == predicted[2],
                !is_hidden,
                "{predicted:?}"
            );
            assert_eq!(predicted[0] == 20, is_hidden);
        }
    }

    #[test]
    fn a_reconstruction_looks_as_stored() {
        let (truth, pred, hidden) = of_stripes();
        let score = Score { loss: 0.5, masked_mse: 0.0123, psnr_db: Some(19.1) };
        let block = Block { tiles: tiles(&truth, &pred, &hidden, 8), caption: vec![score.to_string()] };
        let picture = sheet(vec![block], &PatchMask::new([2, 3], vec![vec![0, 2, 3, 4]]).unwrap(), true);
        let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures/reconstruction.png");
        drawing::stored::compare(&picture, stored.as_ref()).unwrap();
        // What was borrowed is said below.
        let same = of_zeros(0.4).unwrap();
        assert!(!same.used_target_statistics && picture.height() > same.picture.height() + 30);
    }

    #[test]
    fn images_that_are_not_finite_are_an_error() {
        assert!(matches!(of_zeros(f32::NAN), Err(ReconstructError::NotFinite(NotFinite::Images))));
    }
}
