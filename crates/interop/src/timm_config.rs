//! `config.json` of timm.

use std::collections::BTreeMap;
use std::path::Path;

use model::activation::Activation;
use model::{ConvNextV2Config, Size};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::InteropError;
use crate::network::{Kind, Network, Preprocessing, decimals};
use crate::transformers_config::{in_order, read_json};

/// The part of `config.json` that is read.
#[derive(Deserialize)]
struct Config {
    architecture: String,
    #[serde(default)]
    pretrained_cfg: PretrainedCfg,
    #[serde(default)]
    label_names: Option<Labels>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PretrainedCfg {
    /// Channels, height, width.
    input_size: Option<[usize; 3]>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    crop_pct: Option<f64>,
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
    let cfg = theirs.pretrained_cfg;
    let usual = Preprocessing::default();
    if let Some([channels, height, width]) = cfg.input_size {
        if channels != network.config.num_channels {
            let found = network.config.num_channels;
            return Err(refuse(format!("input_size has {channels} channels, the tensors have {found}")));
        }
        network.config.image_size = height;
        network.preprocessing = Some(Preprocessing {
            image_size: [height, width],
            mean: cfg.mean.unwrap_or(usual.mean),
            std: cfg.std.unwrap_or(usual.std),
            crop_pct: cfg.crop_pct.unwrap_or(usual.crop_pct),
        });
        network.config.validate().map_err(|error| refuse(error.to_string()))?;
    }
    if network.kind == Kind::Classifier {
        network.labels = match theirs.label_names.or(cfg.label_names) {
            None => None,
            Some(Labels::List(names)) => Some(names),
            Some(Labels::ByNumber(names)) => Some(in_order(names).map_err(refuse)?),
        };
    }
    Ok(())
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
    let Preprocessing { image_size: [height, width], mean, std, crop_pct } = network.preprocessing();
    // From 384 pixels on, and where nothing is cropped away, the whole image is resized.
    let whole = height >= 384 || crop_pct >= 1.0;
    let mut config = json!({
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": ours.last_hidden_size(),
        "global_pool": "avg",
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [ours.num_channels, height, width],
            "fixed_input_size": false,
            "interpolation": "bicubic",
            "crop_pct": if whole { 1.0 } else { crop_pct },
            "crop_mode": if whole { "squash" } else { "center" },
            "mean": decimals(&mean),
            "std": decimals(&std),
            "num_classes": num_classes,
            "pool_size": [height.div_ceil(32), width.div_ceil(32)],
            "first_conv": "stem.0",
            "classifier": "head.fc",
        },
    });
    if args != json!({}) {
        config["model_args"] = args;
    }
    if let Some(labels) = network.labels.as_ref().filter(|_| classifier) {
        config["label_names"] = json!(labels);
    }
    Ok(config)
}
