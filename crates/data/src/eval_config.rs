//! The `[eval]` section: what is done to an image before a trained network sees it.

use config::{SettingError, section};

use crate::data_config::{DataConfig, ImageSize};
use crate::statistics::{check_statistics, normalize};
use crate::transform::{CropMode, EvalTransform, Interpolation, Normalize};

section! {
    /// What is done to an image in evaluation, prediction and embedding. What is left out follows
    /// `[data]` and the official evaluation: the central 87.5 % of the short side; the whole image from
    /// 384 pixels on and up to 32. `crop_pct` alone crops the centre; `crop_mode` alone keeps 0.875 in a
    /// central crop and everything in the others.
    pub struct EvalConfig: "eval", together = together {
        /// Size of the images that the network gets, in pixels; that of `data.image_size` if left out.
        size: Option<ImageSize> = None, "one side, or `[height, width]`, at least 1"
            => |size| size.is_none_or(|size| !size.pixels().contains(&0));
        /// Share of the resized image that the crop keeps of each side: it is resized to `size` /
        /// `crop_pct` first.
        crop_pct: Option<f64> = None, "from 0.1 to 2"
            => |share| share.is_none_or(|share| (0.1..=2.0).contains(&share));
        /// How a shape becomes another: the middle of the image (`center_truncated` rounds its margins
        /// as transformers does), the image squashed, or with borders beside it.
        crop_mode: Option<CropMode> = None;
        /// Pillow's filter that resizes.
        interpolation: Interpolation = Interpolation::Bicubic;
        /// Mean of each channel, of intensities from 0 to 1; that of `data.mean` if left out.
        mean: Option<Vec<f32>> = None;
        /// Standard deviation of each channel, of intensities from 0 to 1; that of `data.std` if left
        /// out.
        std: Option<Vec<f32>> = None;
    }
    on resume { fixed: size, crop_pct, crop_mode, interpolation, mean, std; }
}

fn together(eval: &EvalConfig) -> Result<(), SettingError> {
    let of = |values: &Option<Vec<f32>>| values.clone().unwrap_or_default();
    check_statistics(("eval.mean", &of(&eval.mean)), ("eval.std", &of(&eval.std)))
}

impl EvalConfig {
    /// Height and width of the images that the network gets.
    pub fn size(&self, data: &DataConfig) -> [usize; 2] {
        self.size.unwrap_or(data.image_size).pixels()
    }

    /// Mean of each channel.
    pub fn mean<'a>(&'a self, data: &'a DataConfig) -> &'a [f32] {
        self.mean.as_deref().unwrap_or(&data.mean)
    }

    /// Standard deviation of each channel.
    pub fn std<'a>(&'a self, data: &'a DataConfig) -> &'a [f32] {
        self.std.as_deref().unwrap_or(&data.std)
    }

    /// Resizing and cropping.
    pub fn transform(&self, data: &DataConfig) -> EvalTransform {
        let official = EvalTransform::official(self.size(data));
        // A share says that there is a crop, and a mode that it is not the official one.
        let (crop_pct, crop_mode) = match (self.crop_pct, self.crop_mode) {
            (None, None) => (official.crop_pct, official.crop_mode),
            (Some(share), mode) => (share, mode.unwrap_or(CropMode::Center)),
            (None, Some(mode)) => (EvalTransform::usual_crop_pct(mode), mode),
        };
        let (interpolation, border) = (self.interpolation, self.mean(data).to_vec());
        EvalTransform { crop_pct, crop_mode, interpolation, border, ..official }
    }

    /// The normalisation for images of so many channels.
    ///
    /// # Errors
    /// Numbers that do not fit the channels or are not allowed.
    pub fn normalize(&self, data: &DataConfig, channels: usize) -> Result<Normalize, SettingError> {
        let key = |own: bool, eval, data| if own { eval } else { data };
        normalize(
            channels,
            (key(self.mean.is_some(), "eval.mean", "data.mean"), self.mean(data)),
            (key(self.std.is_some(), "eval.std", "data.std"), self.std(data)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::IMAGENET_MEAN;
    use config::Section;

    fn transform(eval: &EvalConfig, size: usize) -> (f64, CropMode) {
        let data = DataConfig { image_size: ImageSize::Square(size), ..DataConfig::default() };
        let EvalTransform { crop_pct, crop_mode, .. } = eval.transform(&data);
        (crop_pct, crop_mode)
    }

    #[test]
    fn what_is_left_out_is_official() {
        let eval = EvalConfig::default();
        assert_eq!(transform(&eval, 224), (0.875, CropMode::Center));
        assert_eq!(transform(&eval, 384), (1.0, CropMode::Squash));
        assert_eq!(transform(&eval, 32), (1.0, CropMode::Squash));
        let other = EvalConfig { size: Some(ImageSize::Square(384)), ..eval };
        assert_eq!(transform(&other, 224), (1.0, CropMode::Squash));
        assert_eq!(other.size(&DataConfig::default()), [384, 384]);
    }

    #[test]
    fn no_key_is_without_effect() {
        let cropped = EvalConfig { crop_pct: Some(0.9), ..EvalConfig::default() };
        assert_eq!(transform(&cropped, 384), (0.9, CropMode::Center));
        let whole = EvalConfig { crop_mode: Some(CropMode::Border), ..EvalConfig::default() };
        assert_eq!(transform(&whole, 224), (1.0, CropMode::Border));
        let data = DataConfig::default();
        let eval = EvalConfig { mean: Some(vec![0.5; 3]), std: Some(vec![1.0; 3]), ..whole };
        let normalize = eval.normalize(&data, 3).unwrap();
        assert_eq!((normalize.mean, normalize.std), (vec![0.5; 3], vec![1.0; 3]));
        assert_eq!(eval.transform(&data).border, [0.5; 3]);
        assert_eq!(EvalConfig::default().transform(&data).border, IMAGENET_MEAN);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |eval: EvalConfig| eval.check().unwrap_err().to_string();
        let usual = EvalConfig::default;
        assert!(refused(EvalConfig { crop_pct: Some(87.5), ..usual() }).contains("eval.crop_pct"));
        assert!(refused(EvalConfig { size: Some(ImageSize::Square(0)), ..usual() }).contains("eval.size"));
        let error = refused(EvalConfig { mean: Some(vec![127.5; 3]), ..usual() });
        assert!(error.contains("eval.mean") && error.contains("[0.5, 0.5, 0.5]"), "{error}");
        let error = refused(EvalConfig { std: Some(vec![-0.2; 3]), ..usual() });
        assert!(error.contains("eval.std"), "{error}");
        let data = DataConfig { std: vec![57.0; 3], ..DataConfig::default() };
        let error = usual().normalize(&data, 3).unwrap_err().to_string();
        assert!(error.contains("data.std"), "{error}");
    }
}
