//! `config.json` of timm.

use std::collections::BTreeMap;
use std::path::Path;

use data::transform::{CropMode, Interpolation};
use model::activation::Activation;
use model::{ConvNextV2Config, Size};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::InteropError;
use crate::network::{Kind, Network, decimals};
use crate::preprocessing::{Preprocessing, name, named};
use crate::transformers_config::{in_order, read_json};

/// The part of `config.json` that is read.
#[derive(Deserialize)]
struct Config {
    architecture: String,
    /// Missing in files of earlier versions, where its keys stand beside the others.
    pretrained_cfg: Option<PretrainedCfg>,
    #[serde(default)]
    label_names: Option<Labels>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PretrainedCfg {
    /// Channels, height, width.
    input_size: Option<[usize; 3]>,
    /// That of evaluation, where it is another one; the same of its crop.
    test_input_size: Option<[usize; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    test_crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    #[serde(alias = "labels")]
    label_names: Option<Labels>,
}

/// `["cat", "dog"]` or `{"0": "cat", "1": "dog"}`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of class names, or names by number")]
enum Labels {
    List(Vec<String>),
    ByNumber(BTreeMap<String, String>),
}

/// Adds what a timm directory says to a network that was read from it.
///
/// # Errors
/// A file that cannot be read, or that describes another network.
pub(crate) fn complete(network: &mut Network, path: &Path) -> Result<(), InteropError> {
    let theirs: Config = read_json(path)?;
    let refuse = |reason: String| InteropError::Config { path: path.to_owned(), reason };
    if !theirs.architecture.starts_with("convnext") {
        return Err(refuse(format!("architecture is `{}`, not a ConvNeXt V2", theirs.architecture)));
    }
    let cfg = match theirs.pretrained_cfg {
        Some(cfg) => cfg,
        None => read_json(path)?,
    };
    let preprocessing = cfg.preprocessing(network.config.num_channels).map_err(refuse)?;
    network.config.image_size = preprocessing.image_size[0];
    network.preprocessing = Some(preprocessing);
    network.config.validate().map_err(|error| refuse(error.to_string()))?;
    if network.kind == Kind::Classifier {
        network.labels = match theirs.label_names.or(cfg.label_names) {
            None => None,
            Some(Labels::List(names)) => Some(names),
            Some(Labels::ByNumber(names)) => Some(in_order(names).map_err(refuse)?),
        };
    }
    Ok(())
}

impl PretrainedCfg {
    /// What timm's `validate.py` does to images for a network of so many channels; what is left out, or
    /// is null or 0, is as in `resolve_data_config`.
    fn preprocessing(&self, channels: usize) -> Result<Preprocessing, String> {
        let size = |key: &str, size: Option<[usize; 3]>| match size {
            Some([found, ..]) if found != channels => {
                Err(format!("{key} has {found} channels, the tensors have {channels}"))
            }
            size => Ok(size.map(|[_, height, width]| [height, width])),
        };
        let image_size = size("input_size", self.input_size)?.unwrap_or([224, 224]);
        let usual = Preprocessing::official(image_size);
        let crop_mode = self.crop_mode.as_deref().filter(|mode| !mode.is_empty()).unwrap_or("center");
        if crop_mode == name(CropMode::CenterTruncated) {
            return Err(format!("crop_mode is {crop_mode}, which timm does not have"));
        }
        let interpolation = self.interpolation.as_deref().filter(|filter| !filter.is_empty());
        let interpolation = match interpolation {
            Some(filter) => named("interpolation", filter)?,
            None => Interpolation::Bicubic,
        };
        let given = |share: Option<f64>| share.filter(|share| *share != 0.0);
        Preprocessing {
            image_size,
            size: size("test_input_size", self.test_input_size)?.unwrap_or(image_size),
            crop_pct: given(self.test_crop_pct).or(given(self.crop_pct)).unwrap_or(0.875),
            crop_mode: named("crop_mode", crop_mode)?,
            interpolation,
            mean: self.mean.clone().unwrap_or(usual.mean),
            std: self.std.clone().unwrap_or(usual.std),
            range: None,
        }
        .checked("mean", "std")
    }
}

/// timm's name of a size, and what differs from it.
fn architecture(ours: &ConvNextV2Config) -> (String, Value) {
    let is = |size: &Size| ours.depths == size.depths() && ours.hidden_sizes == size.hidden_sizes();
    let size = Size::ALL.into_iter().find(is);
    let mut args = json!({});
    if size.is_none() {
        args["depths"] = json!(ours.depths);
        args["dims"] = json!(ours.hidden_sizes);
    }
    if ours.num_channels != 3 {
        args["in_chans"] = json!(ours.num_channels);
    }
    match ours.hidden_act {
        Activation::Gelu => {}
        Activation::GeluNew => args["act_layer"] = json!("gelu_tanh"),
        Activation::Relu => args["act_layer"] = json!("relu"),
        Activation::Silu => args["act_layer"] = json!("silu"),
    }
    (format!("convnextv2_{}", size.unwrap_or(Size::Tiny)), args)
}

/// Whether timm's model of this size has 1×1 convolutions in place of linear layers.
pub(crate) fn conv_mlp(ours: &ConvNextV2Config) -> bool {
    let (name, _) = architecture(ours);
    ["atto", "femto", "pico", "nano"].iter().any(|size| name.ends_with(size))
}

/// `config.json` of a network.
///
/// # Errors
/// A network with other than four stages, or with another stem than of 4 pixels: timm strides those
/// differently.
pub(crate) fn config(network: &Network) -> Result<Value, InteropError> {
    let ours = &network.config;
    let format = "timm";
    if ours.num_stages != 4 {
        let reason = format!("it has {} stages, timm's ConvNeXt four", ours.num_stages);
        return Err(InteropError::Unsupported { format, reason });
    }
    if ours.patch_size != 4 {
        let reason = format!("its stem has a stride of {} pixels, timm's of 4", ours.patch_size);
        return Err(InteropError::Unsupported { format, reason });
    }
    let classifier = network.kind == Kind::Classifier;
    let num_classes = if classifier { ours.num_labels } else { 0 };
    let (architecture, args) = architecture(ours);
    let Preprocessing {
        image_size: [height, width],
        size,
        crop_pct,
        crop_mode,
        interpolation,
        mean,
        std,
        ..
    } = network.preprocessing();
    let crop_mode = if crop_mode == CropMode::CenterTruncated { CropMode::Center } else { crop_mode };
    let mut config = json!({
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": ours.last_hidden_size(),
        "global_pool": "avg",
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [ours.num_channels, height, width],
            "fixed_input_size": false,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "mean": decimals(&mean),
            "std": decimals(&std),
            "num_classes": num_classes,
            "pool_size": [height.div_ceil(32), width.div_ceil(32)],
            "first_conv": "stem.0",
            "classifier": "head.fc",
        },
    });
    if size != [height, width] {
        config["pretrained_cfg"]["test_input_size"] = json!([ours.num_channels, size[0], size[1]]);
        config["pretrained_cfg"]["test_crop_pct"] = json!(crop_pct);
    }
    if args != json!({}) {
        config["model_args"] = args;
    }
    if let Some(labels) = network.labels.as_ref().filter(|_| classifier) {
        config["label_names"] = json!(labels);
    }
    Ok(config)
}
