//! `config.json` and `preprocessor_config.json` of transformers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::ConvNextV2Config;
use model::activation::Activation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::InteropError;
use crate::image_processor;
use crate::network::{Kind, Network};

/// What is read of `config.json`; the defaults are those of transformers' `ConvNextV2Config`, which
/// files of other programs may leave out.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    num_channels: usize,
    patch_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    hidden_act: Activation,
    initializer_range: f64,
    layer_norm_eps: f64,
    drop_path_rate: f64,
    image_size: Sides,
    id2label: Option<BTreeMap<String, String>>,
    problem_type: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let ours = ConvNextV2Config::default();
        Self {
            model_type: String::new(),
            num_channels: ours.num_channels,
            patch_size: ours.patch_size,
            hidden_sizes: ours.hidden_sizes,
            depths: ours.depths,
            hidden_act: ours.hidden_act,
            initializer_range: ours.initializer_range,
            layer_norm_eps: 1e-12,
            drop_path_rate: ours.drop_path_rate,
            image_size: Sides::One(ours.image_size),
            id2label: None,
            problem_type: None,
        }
    }
}

/// `224`, `[224, 224]`, `{"shortest_edge": 224}` or `{"height": 224, "width": 224}`.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected a side, [height, width], shortest_edge or height and width")]
enum Sides {
    One(usize),
    Two([usize; 2]),
    Shortest { shortest_edge: usize },
    Named { height: usize, width: usize },
}

impl Sides {
    fn pixels(self) -> [usize; 2] {
        match self {
            Self::One(side) | Self::Shortest { shortest_edge: side } => [side, side],
            Self::Two(sides) => sides,
            Self::Named { height, width } => [height, width],
        }
    }
}

/// Adds what a transformers directory says to a network that was read from it.
///
/// # Errors
/// Files that cannot be read, or that describe another network.
pub(crate) fn complete(network: &mut Network, folder: &Path, path: &Path) -> Result<(), InteropError> {
    let theirs: Config = read_json(path)?;
    let refuse = |reason: String| InteropError::Config { path: path.to_owned(), reason };
    if !["", "convnextv2"].contains(&theirs.model_type.as_str()) {
        return Err(refuse(format!("model_type is `{}`, not `convnextv2`", theirs.model_type)));
    }
    let ours = &mut network.config;
    for (key, said, found) in [
        ("depths", &theirs.depths, &ours.depths),
        ("hidden_sizes", &theirs.hidden_sizes, &ours.hidden_sizes),
        ("num_channels", &vec![theirs.num_channels], &vec![ours.num_channels]),
        ("patch_size", &vec![theirs.patch_size], &vec![ours.patch_size]),
    ] {
        if said != found {
            return Err(refuse(format!("{key} is {said:?}, the tensors have {found:?}")));
        }
    }
    ours.hidden_act = theirs.hidden_act;
    ours.initializer_range = theirs.initializer_range;
    ours.layer_norm_eps = theirs.layer_norm_eps;
    ours.drop_path_rate = theirs.drop_path_rate;
    ours.image_size = theirs.image_size.pixels()[0];
    ours.validate().map_err(|error| refuse(error.to_string()))?;
    if network.kind == Kind::Classifier {
        network.labels = theirs.id2label.map(in_order).transpose().map_err(refuse)?;
        network.problem_type = theirs.problem_type;
    }
    let (channels, image_size) = (network.config.num_channels, theirs.image_size.pixels());
    network.preprocessing = image_processor::read(folder, channels, image_size)?;
    Ok(())
}

/// `{"0": "cat", "1": "dog"}` as a list.
pub(crate) fn in_order(names: BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let name = |index: usize| {
        let missing = || format!("{} classes are named, but none is number {index}", names.len());
        names.get(&index.to_string()).cloned().ok_or_else(missing)
    };
    (0..names.len()).map(name).collect()
}

/// A JSON file.
///
/// # Errors
/// It cannot be read or means something else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, InteropError> {
    let text = fs::read_to_string(path).map_err(InteropError::io(path))?;
    serde_json::from_str(&text)
        .map_err(|error| InteropError::Config { path: path.to_owned(), reason: error.to_string() })
}

/// `config.json` of a network.
pub(crate) fn config(network: &Network) -> Value {
    let ours = &network.config;
    let classifier = network.kind == Kind::Classifier;
    let architecture = if classifier { "ConvNextV2ForImageClassification" } else { "ConvNextV2Model" };
    let mut config = json!({
        "architectures": [architecture],
        "model_type": "convnextv2",
        "num_channels": ours.num_channels,
        "patch_size": ours.patch_size,
        "num_stages": ours.num_stages,
        "hidden_sizes": ours.hidden_sizes,
        "depths": ours.depths,
        "hidden_act": ours.hidden_act,
        "initializer_range": ours.initializer_range,
        // Their default is 1e-12, and it reaches the final norm alone.
        "layer_norm_eps": ours.layer_norm_eps,
        "drop_path_rate": ours.drop_path_rate,
        "image_size": network.preprocessing().image_size[0],
        "torch_dtype": "float32",
    });
    if classifier {
        let labels = network.labels();
        let by_number = labels.iter().enumerate().map(|(i, name)| (i.to_string(), json!(name)));
        let by_name = labels.iter().enumerate().map(|(i, name)| (name.clone(), json!(i)));
        config["id2label"] = Value::Object(by_number.collect());
        config["label2id"] = Value::Object(by_name.collect());
        if let Some(problem_type) = &network.problem_type {
            config["problem_type"] = json!(problem_type);
        }
    }
    config
}
