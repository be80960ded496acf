//! What happens to a decoded image before it becomes part of a batch.

mod color_jitter;
mod eval;
pub mod normalize;
pub mod pillow;
mod rand_augment;
mod random_erasing;
mod random_resized_crop;
mod resample;
mod resize;

use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::picture::Picture;

pub use color_jitter::ColorJitter;
pub use eval::{CropMode, EvalTransform};
pub use normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
pub use rand_augment::{Operation, RandAugment};
pub use random_erasing::RandomErasing;
pub use random_resized_crop::{CropBox, RandomResizedCrop};
pub use resample::{Interpolation, resample};
pub use resize::{crop, resize, resize_part};

/// Turns an image of any size into one of the size that the network takes.
pub trait Transform: Send + Sync {
    /// Height and width of every result.
    fn size(&self) -> [usize; 2];

    /// Transforms one image; `rng` belongs to this sample and epoch alone.
    ///
    /// # Errors
    /// An image that is damaged.
    fn apply(&self, picture: &Picture<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, String>;
}

/// Augmentation in training: random resized crop, then mirrored every other time, then colour
/// jitter or RandAugment.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainTransform {
    /// The random crop.
    pub crop: RandomResizedCrop,
    /// Whether every other image is mirrored.
    pub hflip: bool,
    /// Random colours, for fine-tuning.
    pub color_jitter: Option<ColorJitter>,
    /// RandAugment, and the colour that comes in from outside the image.
    pub rand_augment: Option<(RandAugment, [u8; 3])>,
}

impl Transform for TrainTransform {
    fn size(&self) -> [usize; 2] {
        self.crop.size
    }

    fn apply(&self, picture: &Picture<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, String> {
        let mut cropped = self.crop.apply(picture, rng)?;
        if self.hflip && rng.random::<bool>() {
            image::imageops::flip_horizontal_in_place(&mut cropped);
        }
        if let Some(jitter) = self.color_jitter {
            cropped = jitter.apply(cropped, rng);
        }
        Ok(match self.rand_augment {
            Some((augment, fill)) => augment.apply(cropped, fill, rng),
            None => cropped,
        })
    }
}
