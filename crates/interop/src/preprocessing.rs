//! What is done to an image before the network sees it, as it travels between formats.

use std::fmt;

use config::Section;
use data::transform::{CropMode, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Interpolation};
use data::{DataConfig, EvalConfig, ImageSize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::format::Format;

/// From this side on, transformers squashes the whole image, and crops below it.
pub(crate) const SQUASHED_FROM: usize = 384;

/// What is done to an image before the network sees it, every value of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    /// Height and width in training, in pixels.
    pub image_size: [usize; 2],
    /// Height and width in evaluation, in pixels.
    pub size: [usize; 2],
    /// Share of the resized image that the crop keeps of each side.
    pub crop_pct: f64,
    /// How a shape becomes another.
    pub crop_mode: CropMode,
    /// The filter that resizes.
    pub interpolation: Interpolation,
    /// Mean of each channel, of intensities from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of intensities from 0 to 1.
    pub std: Vec<f32>,
    /// Which numbers are the intensities 0 and 1, of images that are no pictures of 8 bits.
    pub range: Option<[f32; 2]>,
}

impl Preprocessing {
    /// That of the published checkpoints: the official evaluation, ImageNet's mean and deviation.
    pub fn official(size: [usize; 2]) -> Self {
        let EvalTransform { crop_pct, crop_mode, interpolation, .. } = EvalTransform::official(size);
        let (mean, std) = (IMAGENET_MEAN.to_vec(), IMAGENET_STD.to_vec());
        Self { image_size: size, size, crop_pct, crop_mode, interpolation, mean, std, range: None }
    }

    /// That of two sections of a configuration.
    pub fn of(data: &DataConfig, eval: &EvalConfig) -> Self {
        let EvalTransform { size, crop_pct, crop_mode, interpolation, .. } = eval.transform(data);
        let (mean, std, range) = (eval.mean(data).to_vec(), eval.std(data).to_vec(), data.range);
        let image_size = data.image_size.pixels();
        Self { image_size, size, crop_pct, crop_mode, interpolation, mean, std, range }
    }

    /// The section `[eval]` that says the same.
    pub fn eval(&self) -> EvalConfig {
        EvalConfig {
            size: Some(match self.size {
                [height, width] if height == width => ImageSize::Square(height),
                sides => ImageSize::Rectangle(sides),
            }),
            crop_pct: Some(self.crop_pct),
            crop_mode: Some(self.crop_mode),
            interpolation: self.interpolation,
            mean: Some(self.mean.clone()),
            std: Some(self.std.clone()),
        }
    }

    /// Checks what was read from a file of another program, whose keys of mean and deviation have these
    /// names.
    pub(crate) fn checked(self, mean: &str, std: &str) -> Result<Self, String> {
        data::check_statistics((mean, &self.mean), (std, &self.std)).map_err(|error| error.to_string())?;
        self.eval().check().map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// What the other program does differently after an export, in words.
    pub fn differences(&self, format: Format) -> Vec<String> {
        let mut found = Vec::new();
        match (format, self.crop_mode) {
            (Format::Transformers, CropMode::Center) => found.push(
                "transformers rounds a margin of half a pixel down, the evaluation here to even: for some \
                 shapes its crop lies one pixel beside",
            ),
            (Format::Timm, CropMode::CenterTruncated) => found.push(
                "timm rounds a margin of half a pixel to even, the evaluation here down: for some shapes \
                 its crop lies one pixel beside",
            ),
            (Format::Official, _) if self.eval() != Self::official([224, 224]).eval() => found.push(
                "the official format says nothing of images: whoever evaluates it has to know the size, \
                 the crop and the normalisation",
            ),
            _ => {}
        }
        let mut found: Vec<_> = found.into_iter().map(str::to_owned).collect();
        if let Some([low, high]) = self.range {
            found.push(format!(
                "no other program knows data.range: whoever uses the network has to bring numbers from {low} to \
                 {high} to 0 to 1, where a picture's are divided by 255"
            ));
        }
        if !matches!(self.mean.len(), 1 | 3) {
            found.push(format!(
                "no preprocessing of other programs reads images of {} channels: whoever uses the network has to \
                 resize and normalise them",
                self.mean.len()
            ));
        }
        found
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size: [height, width], crop_pct, crop_mode, interpolation, mean, std, .. } = self;
        let (crop_mode, interpolation) = (name(crop_mode), name(interpolation));
        write!(
            f,
            "{height}×{width} pixels, crop_mode {crop_mode}, crop_pct {crop_pct}, interpolation {interpolation}, \
             mean {mean:?}, deviation {std:?}"
        )
    }
}

/// The value of a name, and otherwise which key has it.
pub(crate) fn named<T: DeserializeOwned>(key: &str, name: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(name)).map_err(|error| format!("{key}: {error}"))
}

/// The name of a value.
pub(crate) fn name(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
