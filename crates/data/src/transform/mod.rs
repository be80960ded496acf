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

pub use crate::crop_box::{CropBox, crop};
pub use color_jitter::ColorJitter;
pub use eval::{CropMode, EvalTransform};
pub use normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
pub use rand_augment::{Operation, RandAugment};
pub use random_erasing::RandomErasing;
pub use random_resized_crop::RandomResizedCrop;
pub use resample::{Interpolation, resample};
pub use resize::resize;

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
        Ok(self.augment(self.crop.apply(picture, rng)?, rng))
    }
}

impl TrainTransform {
    /// What is done to an image after it was cut out and resized.
    pub(crate) fn augment(&self, mut cropped: RgbImage, rng: &mut ChaCha8Rng) -> RgbImage {
        if self.hflip && rng.random::<bool>() {
            mirror(&mut cropped);
        }
        if let Some(jitter) = self.color_jitter {
            cropped = jitter.apply(cropped, rng);
        }
        match self.rand_augment {
            Some((augment, fill)) => augment.apply(cropped, fill, rng),
            None => cropped,
        }
    }
}

/// Turns left and right round.
fn mirror(image: &mut RgbImage) {
    let width = 3 * image.width() as usize;
    // An image without columns has no rows to turn.
    image.chunks_exact_mut(width.max(1)).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
}
