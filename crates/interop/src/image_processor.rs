//! `preprocessor_config.json` of transformers.

use std::path::{Path, PathBuf};

use data::transform::{CropMode, Interpolation};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::InteropError;
use crate::network::{Network, decimals};
use crate::preprocessing::{Preprocessing, SQUASHED_FROM, name};
use crate::transformers_config::read_json;

/// Pillow's numbers of its filters.
const FILTERS: [Interpolation; 6] = [
    Interpolation::Nearest,
    Interpolation::Lanczos,
    Interpolation::Bilinear,
    Interpolation::Bicubic,
    Interpolation::Box,
    Interpolation::Hamming,
];
/// What the classes are called that do what [`Processor`] says, by the versions of transformers.
const CLASSES: [&str; 4] = [
    "ConvNextImageProcessor",
    "ConvNextImageProcessorFast",
    "ConvNextImageProcessorPil",
    "ConvNextFeatureExtractor",
];

/// The classes that squash an image to any size, by the versions of transformers.
const SQUASHING: [&str; 4] =
    ["ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor"];

/// What is read of it; what is left out or null is as in the class.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Processor {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Value>,
    crop_pct: Option<f64>,
    resample: Option<Value>,
    do_center_crop: Option<bool>,
    do_pad: Option<bool>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
}

/// A number for every channel, or one for all.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a list of numbers")]
enum Channels {
    All(f64),
    Each(Vec<f64>),
}

/// What a transformers directory says of preprocessing, for a network of so many channels that trains on
/// images of a size; none where it says nothing.
///
/// # Errors
/// A file that cannot be read, and by its name every setting that is not done here.
pub(crate) fn read(
    folder: &Path,
    channels: usize,
    image_size: [usize; 2],
) -> Result<Option<Preprocessing>, InteropError> {
    let Some((path, value)) = find(folder)? else { return Ok(None) };
    let refuse = |reason: String| InteropError::Config { path: path.clone(), reason };
    let processor: Processor = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
    processor.preprocessing(channels, image_size).map(Some).map_err(refuse)
}

/// The file that transformers would read, and the image processor in it.
fn find(folder: &Path) -> Result<Option<(PathBuf, Value)>, InteropError> {
    let nested = folder.join("processor_config.json");
    if nested.is_file()
        && let Some(processor) = read_json::<Value>(&nested)?.get_mut("image_processor")
    {
        return Ok(Some((nested, processor.take())));
    }
    let path = folder.join("preprocessor_config.json");
    Ok(if path.is_file() { Some((path.clone(), read_json(&path)?)) } else { None })
}

impl Processor {
    fn preprocessing(&self, channels: usize, image_size: [usize; 2]) -> Result<Preprocessing, String> {
        let squashes = self.check()?;
        let size = if squashes { self.sides()? } else { [self.side()?; 2] };
        let (crop_pct, crop_mode) = match size[0] < SQUASHED_FROM && !squashes {
            true => (self.crop_pct.unwrap_or(224.0 / 256.0), CropMode::CenterTruncated),
            false => (1.0, CropMode::Squash),
        };
        let usual = if squashes { Interpolation::Bilinear } else { Interpolation::Bicubic };
        let interpolation = self.interpolation(usual)?;
        let (mean, std) = self.statistics(channels)?;
        Preprocessing { image_size, size, crop_pct, crop_mode, interpolation, mean, std, range: None }
            .checked("image_mean", "image_std")
    }

    /// Refuses what would be another way of preprocessing. Whether the class squashes every image.
    fn check(&self) -> Result<bool, String> {
        let mut squashes = false;
        for (key, class) in [
            ("image_processor_type", &self.image_processor_type),
            ("feature_extractor_type", &self.feature_extractor_type),
        ] {
            match class.as_deref() {
                None => {}
                Some(class) if CLASSES.contains(&class) => break,
                Some(class) if SQUASHING.contains(&class) => {
                    squashes = true;
                    break;
                }
                Some(class) => {
                    return Err(format!(
                        "{key} is {class}, which prepares images in another way than ConvNextImageProcessor \
                         and ViTImageProcessor, the ones that are known here"
                    ));
                }
            }
        }
        for (key, value, wanted) in [
            ("do_resize", self.do_resize, true),
            ("do_center_crop", self.do_center_crop, false),
            ("do_pad", self.do_pad, false),
        ] {
            if value == Some(!wanted) {
                return Err(format!("{key} is {}, which is not done here; it has to be {wanted}", !wanted));
            }
        }
        Ok(squashes)
    }

    /// Height and width of a class that squashes.
    fn sides(&self) -> Result<[usize; 2], String> {
        let Some(size) = &self.size else { return Ok([224, 224]) };
        let side = |key: &str| size.get(key)?.as_u64();
        let sides = size
            .as_u64()
            .map(|side| [side, side])
            .or(side("height").zip(side("width")).map(<[u64; 2]>::from));
        let sides = sides.filter(|sides| !sides.contains(&0)).map(|sides| sides.map(|side| side as usize));
        sides.ok_or_else(|| format!("size is {size}; ViTImageProcessor takes height and width"))
    }

    fn side(&self) -> Result<usize, String> {
        let Some(size) = &self.size else { return Ok(SQUASHED_FROM) };
        let side = size.as_u64().or_else(|| match size.as_object() {
            Some(sides) if sides.len() == 1 => sides.get("shortest_edge")?.as_u64(),
            _ => None,
        });
        let side = side.filter(|side| *side > 0).and_then(|side| usize::try_from(side).ok());
        side.ok_or_else(|| format!("size is {size}; ConvNextImageProcessor takes shortest_edge alone"))
    }

    fn interpolation(&self, usual: Interpolation) -> Result<Interpolation, String> {
        let Some(number) = &self.resample else { return Ok(usual) };
        let filter = number.as_u64().and_then(|number| FILTERS.get(usize::try_from(number).ok()?));
        filter
            .copied()
            .ok_or_else(|| format!("resample is {number}; Pillow's filters are numbered from 0 to 5"))
    }

    /// Mean and deviation of intensities from 0 to 1. What rescales intensities otherwise, or not at all,
    /// is a matter of these: x·r normalised by m and s is x/255 normalised by m/255r and s/255r.
    fn statistics(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>), String> {
        let factor = match self.do_rescale {
            Some(false) => 1.0,
            _ => self.rescale_factor.unwrap_or(1.0 / 255.0),
        };
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(format!("rescale_factor is {factor}; it has to be positive"));
        }
        // Rounding would spoil 0.485.
        let unit = if (255.0 * factor - 1.0).abs() < 1e-9 { 1.0 } else { 255.0 * factor };
        let of = |given: &Option<Channels>, without: f64| {
            let values = match given {
                _ if self.do_normalize == Some(false) => vec![without; channels],
                // Not ImageNet's mean: transformers' `IMAGENET_STANDARD_MEAN` is something else.
                None => vec![0.5; channels],
                Some(Channels::All(value)) => vec![*value; channels],
                Some(Channels::Each(values)) => values.clone(),
            };
            values.into_iter().map(|value| (value / unit) as f32).collect::<Vec<_>>()
        };
        let (mean, std) = (of(&self.image_mean, 0.0), of(&self.image_std, 1.0));
        if unit != 1.0 {
            let rescaled = |key: &str| format!("{key} of intensities rescaled by {factor}");
            data::check_statistics((&rescaled("image_mean"), &mean), (&rescaled("image_std"), &std))
                .map_err(|error| error.to_string())?;
        }
        Ok((mean, std))
    }
}

/// `preprocessor_config.json` of a network: the processor of ConvNext, which crops the centre of square
/// images below 384 pixels and squashes them from there on, or that of ViT, which squashes to any size.
///
/// # Errors
/// Preprocessing that neither does.
pub(crate) fn write(network: &Network) -> Result<Value, InteropError> {
    let Preprocessing { size: [height, width], crop_pct, crop_mode, interpolation, mean, std, .. } =
        network.preprocessing();
    let (is_square, is_large) = (height == width, height >= SQUASHED_FROM);
    let convnext = |crop_pct: f64| {
        let size = json!({ "shortest_edge": height });
        json!({ "image_processor_type": CLASSES[0], "size": size, "crop_pct": crop_pct })
    };
    let mut processor = match crop_mode {
        CropMode::Center | CropMode::CenterTruncated if is_square && !is_large => convnext(crop_pct),
        CropMode::Squash if crop_pct == 1.0 && is_square && is_large => convnext(1.0),
        CropMode::Squash if crop_pct == 1.0 => {
            json!({ "image_processor_type": SQUASHING[0], "size": { "height": height, "width": width } })
        }
        _ => {
            let reason = format!(
                "none of its image processors that are known here does eval.crop_mode = {} with eval.crop_pct = \
                 {crop_pct} at {height}×{width} pixels; they crop the centre of square images below \
                 {SQUASHED_FROM} pixels, or squash the whole image: --set eval.crop_mode=squash --set \
                 eval.crop_pct=1",
                name(crop_mode)
            );
            return Err(InteropError::Unsupported { format: "transformers", reason });
        }
    };
    for (key, value) in [
        ("do_resize", json!(true)),
        ("resample", json!(FILTERS.iter().position(|filter| *filter == interpolation))),
        ("do_rescale", json!(true)),
        ("rescale_factor", json!(1.0 / 255.0)),
        ("do_normalize", json!(true)),
        ("image_mean", json!(decimals(&mean))),
        ("image_std", json!(decimals(&std))),
    ] {
        processor[key] = value;
    }
    Ok(processor)
}
