//! From a path to a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, Entry, StateDict};

use crate::check::check;
use crate::error::InteropError;
use crate::expected::expected;
use crate::file::Tensors;
use crate::infer::infer;
use crate::layout::Layout;
use crate::locate::{folder_of, locate};
use crate::network::{Kind, Network};
use crate::networks::{NoChoice, Origin, candidates, choose};
use crate::{timm_config, transformers_config};
use checkpoint::Allow;

/// A checkpoint that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Weights under official names and what goes with them.
    pub network: Network,
    /// Where the names came from.
    pub layout: Layout,
    /// Where in the file the network was.
    pub origin: Origin,
    /// The file with the weights, or the list of its shards.
    pub file: PathBuf,
}

/// Reads a checkpoint of any supported format, recognised by its content: a weight file, a
/// directory of transformers or timm, or a run or checkpoint of this project.
///
/// The architecture follows from the shapes; a `config.json` beside the weights has to agree, and
/// adds class names, preprocessing and what shapes do not tell. Of a file with several networks the
/// usual one is taken, the trained weights rather than their average.
///
/// # Errors
/// A file that is damaged, dangerous or no ConvNeXt V2; tensors that are missing, unused or of
/// another shape, except those that `allow` accepts.
pub fn read(path: &Path, allow: &Allow) -> Result<Imported, InteropError> {
    read_key(path, None, allow)
}

/// The same for the network under a key: `model_ema`, or `state_dict.model_ema` of several.
///
/// # Errors
/// As [`read`]; a key under which there is no network.
pub fn read_key(path: &Path, key: Option<&str>, allow: &Allow) -> Result<Imported, InteropError> {
    let file = locate(path)?;
    folder_of(&file).map_or(Ok(()), Checkpoint::require_sound)?;
    let Found { tensors, outside, origin } = find(&file, key)?;
    let refuse = |reason: String| InteropError::NotConvNextV2 { path: file.clone(), reason };
    let layout = Layout::recognise(&tensors).ok_or_else(|| refuse(strangers(tensors.names())))?;
    let weights = to_dense(tensors, layout).map_err(refuse)?;
    let (config, kind) = infer(&weights).map_err(refuse)?;
    let with_norm = weights.names().any(|name| name.starts_with("norm."));
    let mismatch = |mismatch| InteropError::Mismatch { path: file.clone(), mismatch };
    let weights = check(weights, outside, expected(&config, kind, with_norm), allow).map_err(mismatch)?;
    let mut network =
        Network { weights, config, kind, labels: None, problem_type: None, preprocessing: None };
    complete(&mut network, layout, &file, path.is_dir())?;
    Ok(Imported { network, layout, origin, file })
}

/// The tensors of one network of a file.
struct Found {
    /// Without the prefix that they have in common.
    tensors: StateDict,
    /// Names beside it that are of no network.
    outside: Vec<String>,
    origin: Origin,
}

/// Reads the network that a key names, or the usual one.
fn find(file: &Path, key: Option<&str>) -> Result<Found, InteropError> {
    let path = file.to_owned();
    let tensors = Tensors::open(file)?;
    let groups = tensors.groups();
    let candidates = candidates(&groups);
    let (chosen, origin) = choose(&candidates, &groups, key).map_err(|none| match none {
        NoChoice::NoNetwork(group, origin) => {
            let reason = format!("{}{}", strangers(groups[group].names.iter().copied()), elsewhere(&origin));
            InteropError::NotConvNextV2 { path: path.clone(), reason }
        }
        NoChoice::NoSuchKey(keys) => {
            InteropError::NoKey { path: path.clone(), key: key.unwrap_or_default().to_owned(), keys }
        }
        NoChoice::Several(keys) => InteropError::SeveralNetworks { path: path.clone(), keys },
    })?;
    let (mut names, mut outside) = (BTreeMap::new(), Vec::new());
    for name in &groups[candidates[chosen].group].names {
        match candidates[chosen].name_in(name, &candidates) {
            Ok(Some(own)) => drop(names.insert((*name).to_owned(), own)),
            Ok(None) => {}
            Err(()) => outside.push((*name).to_owned()),
        }
    }
    drop(groups);
    let read = tensors.take(candidates[chosen].group, &|name| names.contains_key(name))?;
    let renamed = read.into_iter().filter_map(|(name, entry)| Some((names.get(&name)?.clone(), entry)));
    let tensors = unique(renamed).map_err(|reason| InteropError::NotConvNextV2 { path, reason })?;
    Ok(Found { tensors, outside, origin })
}

/// What a file holds instead of a network.
fn strangers<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.take(3).map(|name| format!("`{name}`")).collect();
    format!("no ConvNeXt V2; its tensors are {} …", names.join(", "))
}

/// Where those were, if there are others.
fn elsewhere(origin: &Origin) -> String {
    let others: Vec<_> = origin.others.iter().take(3).map(|other| format!("`{other}`")).collect();
    match origin.others.is_empty() {
        true => origin.to_string(),
        false => format!("{origin}; --key takes others: {}", others.join(", ")),
    }
}

/// Tensors by name; two of the same name are refused.
fn unique(tensors: impl Iterator<Item = (String, Entry)>) -> Result<StateDict, String> {
    let mut unique = StateDict::default();
    for (name, entry) in tensors {
        if unique.get(&name).is_some() {
            return Err(format!("two tensors are `{name}`"));
        }
        unique.insert(name, entry);
    }
    Ok(unique)
}

/// The tensors under official names.
fn to_dense(tensors: StateDict, layout: Layout) -> Result<StateDict, String> {
    unique(tensors.into_iter().map(|(name, entry)| layout.to_dense(&name, entry)))
}

/// Adds what the files beside the weights say.
fn complete(network: &mut Network, layout: Layout, file: &Path, is_folder: bool) -> Result<(), InteropError> {
    let Some(folder) = folder_of(file) else { return Ok(()) };
    let config = folder.join("config.json");
    match layout {
        Layout::Transformers | Layout::Timm if config.is_file() => match layout {
            Layout::Timm => timm_config::complete(network, &config)?,
            _ => transformers_config::complete(network, folder, &config)?,
        },
        Layout::Transformers | Layout::Timm if is_folder => {
            let reason = format!(
                "missing beside {layout} weights; put it there, or name the file {} to go by its shapes",
                file.display()
            );
            return Err(InteropError::Config { path: config, reason });
        }
        _ => {}
    }
    if let (Kind::Classifier, Some(labels)) = (network.kind, &network.labels)
        && labels.len() != network.config.num_labels
    {
        let reason = format!("names {} classes, the head has {}", labels.len(), network.config.num_labels);
        return Err(InteropError::Config { path: config, reason });
    }
    Ok(())
}
