//! From a network to a directory that another program opens.

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{Entry, MODEL_FILE, StateDict};
use serde_json::Value;

use crate::error::InteropError;
use crate::format::Format;
use crate::model_card::ModelCard;
use crate::network::{Kind, Network};
use crate::{image_processor, pickle_writer, sparse, timm, timm_config, transformers, transformers_config};

/// Writes a network into a new or empty directory and returns the files.
///
/// Only `official` takes the decoder along; the others hold a pretrained encoder, whose final norm
/// starts as the identity, as it does when the official code fine-tunes it.
///
/// # Errors
/// A network that the format cannot hold, a directory that is in use, a full disk.
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
    };
    files.push(("README.md", Content::Text(card.text(network, format))));
    let write = Writer::new(folder)?;
    files.into_iter().map(|(name, content)| write.file(name, content)).collect()
}

/// What a file holds.
enum Content {
    Tensors(StateDict),
    /// The weights of a PyTorch file, under `model`.
    Pickle(StateDict),
    Json(Value),
    Text(String),
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

/// A directory that is being filled.
struct Writer<'a>(&'a Path);

impl<'a> Writer<'a> {
    fn new(folder: &'a Path) -> Result<Self, InteropError> {
        fs::create_dir_all(folder).map_err(InteropError::io(folder))?;
        let mut entries = fs::read_dir(folder).map_err(InteropError::io(folder))?;
        match entries.next() {
            None => Ok(Self(folder)),
            Some(_) => Err(InteropError::NoCheckpoint {
                path: folder.to_owned(),
                reason: "is not empty; name a new directory".to_owned(),
            }),
        }
    }

    fn file(&self, name: &str, content: Content) -> Result<PathBuf, InteropError> {
        let path = self.0.join(name);
        match content {
            Content::Tensors(weights) => weights.save(&path)?,
            Content::Pickle(weights) => pickle_writer::save(&weights, &path)?,
            Content::Json(value) => self.text(&path, &format!("{value:#}\n"))?,
            Content::Text(text) => self.text(&path, &text)?,
        }
        Ok(path)
    }

    fn text(&self, path: &Path, text: &str) -> Result<(), InteropError> {
        fs::write(path, text).map_err(InteropError::io(path))
    }
}
