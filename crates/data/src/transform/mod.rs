//! What happens to a decoded image before it becomes part of a batch.

mod color_jitter;
mod eval;
pub mod normalize;
pub mod pillow;
mod rand_augment;
mod random_erasing;
mod random_resized_crop;
mod raster;
mod resample;
mod resize;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::any_image::AnyImage;
use crate::picture::Picture;

pub use crate::crop_box::{CropBox, crop};
pub use color_jitter::ColorJitter;
pub use eval::{CropMode, EvalTransform};
pub(crate) use normalize::other_channels;
pub use normalize::{IMAGENET_MEAN, IMAGENET_STD, Normalize};
pub use rand_augment::{Operation, RandAugment};
pub use random_erasing::{Erased, RandomErasing};
pub use random_resized_crop::RandomResizedCrop;
pub use raster::Raster;
pub(crate) use resample::resample_plane;
pub use resample::{Interpolation, resample};
pub use resize::resize;

/// Turns an image of any size into one of the size that the network takes.
pub trait Transform: Send + Sync {
    /// Height and width of every result.
    fn size(&self) -> [usize; 2];

    /// Transforms one image; `rng` belongs to this sample and epoch alone.
    ///
    /// # Errors
    /// An image that is damaged, or of a kind that this cannot be done to.
    fn apply(&self, picture: &Picture<'_>, rng: &mut ChaCha8Rng) -> Result<AnyImage, String>;
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

    fn apply(&self, picture: &Picture<'_>, rng: &mut ChaCha8Rng) -> Result<AnyImage, String> {
        self.augment(self.crop.apply(picture, rng)?, rng)
    }
}

impl TrainTransform {
    /// What is done to an image after it was cut out and resized.
    ///
    /// # Errors
    /// Colours are to change of what is no 8-bit picture.
    pub(crate) fn augment(&self, mut cropped: AnyImage, rng: &mut ChaCha8Rng) -> Result<AnyImage, String> {
        if self.hflip && rng.random::<bool>() {
            cropped.mirror();
        }
        let mut image = match cropped {
            AnyImage::Bands(_) if self.color_jitter.is_some() || self.rand_augment.is_some() => {
                return Err(NO_COLOURS.to_owned());
            }
            AnyImage::Bands(bands) => return Ok(AnyImage::Bands(bands)),
            AnyImage::Rgb(image) => image,
        };
        if let Some(jitter) = self.color_jitter {
            image = jitter.apply(image, rng);
        }
        if let Some((augment, fill)) = self.rand_augment {
            image = augment.apply(image, fill, rng);
        }
        Ok(AnyImage::Rgb(image))
    }
}

/// Why colours of bands cannot change.
pub(crate) const NO_COLOURS: &str = "augment.rand_augment and augment.color_jitter change the colours of 8-bit \
                                     pictures, and images of other channels or more bits have none: leave \
                                     both out of the configuration";
