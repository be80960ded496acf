//! The `[augment]` section: what is done to training images.

use config::{SettingError, section};

use crate::mixup::Mixup;
use crate::transform::{
    ColorJitter, NO_COLOURS, RandAugment, RandomErasing, RandomResizedCrop, TrainTransform,
};

fn is_share(value: &f64) -> bool {
    (0.0..=1.0).contains(value)
}

fn is_amount(value: &f64) -> bool {
    *value >= 0.0 && value.is_finite()
}

fn rises([low, high]: &[f64; 2]) -> bool {
    0.0 < *low && low <= high && high.is_finite()
}

section! {
    /// What is done to training images.
    pub struct AugmentConfig: "augment", together = together {
        /// Share of the image's area that a random crop covers, smallest and largest.
        crop_scale: [f64; 2] = [0.2, 1.0], "two rising shares in (0, 1]"
            => |scale| rises(scale) && scale[1] <= 1.0;
        /// Width by height of a random crop, smallest and largest.
        crop_ratio: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0], "two rising positive numbers" => rises;
        /// Whether every other image is mirrored.
        hflip: bool = true;
        /// Random brightness, contrast and saturation, by up to so much; instead of RandAugment.
        color_jitter: f64 = 0.0, "0 or more" => is_amount;
        /// RandAugment in timm's notation, as in `rand-m9-mstd0.5-inc1`.
        rand_augment: Option<RandAugment> = None;
        /// Share of images that lose a box.
        random_erasing: f64 = 0.0, "in [0, 1]" => is_share;
        /// Parameter of mixup's Beta distribution; 0 for none.
        mixup: f64 = 0.0, "0 or more" => is_amount;
        /// Parameter of CutMix's Beta distribution; 0 for none.
        cutmix: f64 = 0.0, "0 or more" => is_amount;
        /// Share of batches that are mixed.
        mixup_prob: f64 = 1.0, "in [0, 1]" => is_share;
        /// Share of CutMix among the mixed batches, where both are on.
        mixup_switch_prob: f64 = 0.5, "in [0, 1]" => is_share;
    }
    on resume {
        fixed: crop_scale, crop_ratio, hflip, color_jitter, rand_augment, random_erasing, mixup, cutmix,
            mixup_prob, mixup_switch_prob;
    }
}

/// Keys that were in another section once: old and new name.
pub const MOVED_KEYS: &[(&str, &str)] = &[
    ("data.crop_scale", "augment.crop_scale"),
    ("data.crop_ratio", "augment.crop_ratio"),
    ("data.hflip", "augment.hflip"),
];

fn together(augment: &AugmentConfig) -> Result<(), SettingError> {
    if augment.color_jitter > 0.0 && augment.rand_augment.is_some() {
        return Err(SettingError::Together(
            "augment.color_jitter and augment.rand_augment both change colours; leave one of them out"
                .to_owned(),
        ));
    }
    Ok(())
}

impl AugmentConfig {
    /// Crop, mirror and colours for images of `[height, width]` pixels. What comes in from outside an
    /// image has the colour of `mean`.
    pub fn transform(&self, size: [usize; 2], mean: &[f32]) -> TrainTransform {
        let colour = |mean: f32| (255.0 * mean).round().clamp(0.0, 255.0) as u8;
        let fill =
            std::array::from_fn(|channel| mean.get(channel % mean.len().max(1)).map_or(0, |m| colour(*m)));
        TrainTransform {
            crop: RandomResizedCrop { size, scale: self.crop_scale, ratio: self.crop_ratio },
            hflip: self.hflip,
            color_jitter: Some(self.color_jitter)
                .filter(|strength| *strength > 0.0)
                .map(|strength| ColorJitter { strength }),
            rand_augment: self.rand_augment.map(|augment| (augment, fill)),
        }
    }

    /// Refuses to change colours where there are none.
    ///
    /// # Errors
    /// RandAugment or colour jitter for images of other channels than pictures.
    pub(crate) fn check_channels(&self, channels: usize) -> Result<(), SettingError> {
        let changes_colours = self.rand_augment.is_some() || self.color_jitter > 0.0;
        if changes_colours && !matches!(channels, 1 | 3) {
            return Err(SettingError::Together(NO_COLOURS.to_owned()));
        }
        Ok(())
    }

    /// What erases boxes of normalised images; none where none is erased.
    pub fn erase(&self) -> Option<RandomErasing> {
        (self.random_erasing > 0.0).then_some(RandomErasing { probability: self.random_erasing })
    }

    /// Whether images of a batch are mixed with each other.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// How batches are mixed.
    pub fn mixup(&self) -> Mixup {
        Mixup {
            mixup_alpha: self.mixup,
            cutmix_alpha: self.cutmix,
            probability: self.mixup_prob,
            switch_probability: self.mixup_switch_prob,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Section;

    #[test]
    fn two_ways_to_change_colours_are_refused() {
        let augment = AugmentConfig {
            color_jitter: 0.4,
            rand_augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
            ..AugmentConfig::default()
        };
        assert!(augment.check().unwrap_err().to_string().contains("leave one of them out"));
    }

    #[test]
    fn crops_rise_and_grey_fills_all_channels() {
        let augment = AugmentConfig { crop_scale: [0.9, 0.2], ..AugmentConfig::default() };
        let error = augment.check().unwrap_err().to_string();
        assert_eq!(error, "augment.crop_scale must be two rising shares in (0, 1], found [0.9, 0.2]");
        let augment = AugmentConfig {
            rand_augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
            ..AugmentConfig::default()
        };
        assert_eq!(augment.transform([8, 8], &[0.5]).rand_augment.unwrap().1, [128; 3]);
        assert_eq!(augment.transform([8, 8], &[0.0, 0.5, 1.0]).rand_augment.unwrap().1, [0, 128, 255]);
    }
}
