//! From a network to a directory that another program opens.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use checkpoint::{Entry, MODEL_FILE, StateDict};
use model::{ConvNextV2Config, is_encoder};
use serde_json::Value;
use whole::NewFolder;

use crate::error::InteropError;
use crate::format::Format;
use crate::model_card::{CARD_FILE, CURVES_FILE, ModelCard};
use crate::network::{Kind, Network};
use crate::onnx::{self, Metadata};
use crate::preprocessing::Preprocessing;
use crate::{image_processor, pickle_writer, sparse, timm, timm_config, transformers, transformers_config};

/// Writes a network into a new or empty directory, with its card, and returns the files.
///
/// Only `official` takes the decoder along; the others hold a pretrained encoder, whose final norm
/// starts as the identity, as it does when the official code fine-tunes it.
///
/// # Errors
/// A network that the format cannot hold, a directory that is in use, a full disk; nothing is there then.
pub fn export(
    network: &Network,
    format: Format,
    card: &ModelCard,
    folder: &Path,
) -> Result<Vec<PathBuf>, InteropError> {
    let mut files = match format {
        Format::Transformers => transformers_files(network)?,
        Format::Timm => timm_files(network)?,
        Format::Official => official_files(network),
        Format::Onnx => onnx_files(network),
    };
    files.push((CARD_FILE, Content::Text(card.text(network, format))));
    if let Some(curves) = &card.curves {
        files.push((CURVES_FILE, Content::Copy(curves.clone())));
    }
    let new = NewFolder::create(folder).map_err(|refused| match refused.error.kind() {
        ErrorKind::DirectoryNotEmpty => InteropError::NoCheckpoint {
            path: folder.to_owned(),
            reason: "is not empty; name a new directory".to_owned(),
        },
        _ => refused.into(),
    })?;
    let mut written: Vec<_> = files.iter().map(|(name, _)| folder.join(name)).collect();
    for (name, content) in files {
        write(&new.part().join(name), content)
            .map_err(|error| InteropError::Export { folder: folder.to_owned(), error: Box::new(error) })?;
    }
    // What a large ONNX file keeps its weights in.
    let outside = Some("model.onnx.data").filter(|name| new.part().join(name).is_file());
    written.extend(outside.map(|name| folder.join(name)));
    new.finish()?;
    Ok(written)
}

/// What a file holds.
enum Content {
    Tensors(StateDict),
    /// The weights of a PyTorch file, under `model`.
    Pickle(StateDict),
    Onnx(Box<ConvNextV2Config>, StateDict, Metadata),
    Json(Value),
    Text(String),
    /// What another file holds.
    Copy(PathBuf),
}

fn transformers_files(network: &Network) -> Result<Vec<(&'static str, Content)>, InteropError> {
    let classifier = network.kind == Kind::Classifier;
    let rename = |name: &str, entry: Entry| Some((transformers::from_dense(name, classifier)?, entry));
    Ok(vec![
        ("config.json", Content::Json(transformers_config::config(network))),
        ("preprocessor_config.json", Content::Json(image_processor::write(network)?)),
        (MODEL_FILE, Content::Tensors(renamed(with_norm(network), rename))),
    ])
}

fn timm_files(network: &Network) -> Result<Vec<(&'static str, Content)>, InteropError> {
    let config = timm_config::config(network)?;
    let conv_mlp = timm_config::conv_mlp(&network.config);
    let rename = |name: &str, entry: Entry| timm::from_dense(name, &entry, conv_mlp);
    Ok(vec![
        ("config.json", Content::Json(config)),
        (MODEL_FILE, Content::Tensors(renamed(with_norm(network), rename))),
    ])
}

fn official_files(network: &Network) -> Vec<(&'static str, Content)> {
    // The official fine-tuning code expects an encoder as its pretraining code wrote it.
    let pickle = match network.kind {
        Kind::Classifier => network.weights.clone(),
        _ => renamed(network.weights.clone(), |name, entry| Some(sparse::from_dense(name, &entry))),
    };
    vec![("checkpoint.pth", Content::Pickle(pickle)), (MODEL_FILE, Content::Tensors(network.weights.clone()))]
}

/// A classifier with its logits; an encoder with its features.
fn onnx_files(network: &Network) -> Vec<(&'static str, Content)> {
    let Preprocessing { size, mean, std, .. } = network.preprocessing();
    let labels = network.labels.clone().unwrap_or_default();
    let metadata = Metadata { labels, image_size: Some(size), image_mean: mean, image_std: std };
    let (config, weights) = match network.kind {
        Kind::Classifier => (network.config.clone(), network.weights.clone()),
        _ => {
            let belongs = |name: &str| is_encoder(name) || name.starts_with("norm.");
            let weights =
                renamed(with_norm(network), |name, entry| belongs(name).then(|| (name.to_owned(), entry)));
            (ConvNextV2Config { num_labels: 0, ..network.config.clone() }, weights)
        }
    };
    vec![("model.onnx", Content::Onnx(Box::new(config), weights, metadata))]
}

fn renamed(weights: StateDict, rename: impl Fn(&str, Entry) -> Option<(String, Entry)>) -> StateDict {
    weights.into_iter().filter_map(|(name, entry)| rename(&name, entry)).collect()
}

/// The weights with a final norm, which pretraining leaves out and every other model has.
fn with_norm(network: &Network) -> StateDict {
    let mut weights = network.weights.clone();
    let channels = network.config.last_hidden_size();
    for (name, value) in [("norm.weight", 1.0), ("norm.bias", 0.0)] {
        if weights.get(name).is_none() {
            weights.insert(name.to_owned(), Entry { shape: vec![channels], values: vec![value; channels] });
        }
    }
    weights
}

/// Writes a file.
fn write(path: &Path, content: Content) -> Result<(), InteropError> {
    match content {
        Content::Tensors(weights) => Ok(weights.save(path)?),
        Content::Pickle(weights) => pickle_writer::save(&weights, path),
        Content::Onnx(config, weights, metadata) => Ok(onnx::write(&config, &weights, &metadata, path)?),
        Content::Json(value) => fs::write(path, format!("{value:#}\n")).map_err(InteropError::io(path)),
        Content::Text(text) => fs::write(path, text).map_err(InteropError::io(path)),
        Content::Copy(from) => fs::copy(&from, path).map(drop).map_err(InteropError::io(&from)),
    }
}
