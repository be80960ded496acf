//! From a path to a network.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use checkpoint::StateDict;

use crate::check::check;
use crate::error::InteropError;
use crate::expected::expected;
use crate::infer::infer;
use crate::layout::Layout;
use crate::locate::{folder_of, locate};
use crate::network::{Kind, Network};
use crate::{pickle, timm_config, transformers_config};
use checkpoint::Allow;

/// A checkpoint that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Weights under official names and what goes with them.
    pub network: Network,
    /// Where the names came from.
    pub layout: Layout,
    /// The file with the weights.
    pub file: PathBuf,
}

/// Reads a checkpoint of any supported format, recognised by its content: a weight file, a
/// directory of transformers or timm, or a run or checkpoint of this project.
///
/// The architecture follows from the shapes; a `config.json` beside the weights has to agree, and
/// adds class names, preprocessing and what shapes do not tell.
///
/// # Errors
/// A file that is damaged, dangerous or no ConvNeXt V2; tensors that are missing, unused or of
/// another shape, except those that `allow` accepts.
pub fn read(path: &Path, allow: &Allow) -> Result<Imported, InteropError> {
    let file = locate(path)?;
    let tensors = load(&file)?;
    let refuse = |reason: String| InteropError::NotConvNextV2 { path: file.clone(), reason };
    let layout = Layout::recognise(&tensors).ok_or_else(|| {
        let names: Vec<_> = tensors.names().take(3).map(|name| format!("`{name}`")).collect();
        refuse(format!("no ConvNeXt V2; its tensors are {} …", names.join(", ")))
    })?;
    let weights = to_dense(tensors, layout).map_err(refuse)?;
    let (config, kind) = infer(&weights).map_err(refuse)?;
    let with_norm = weights.names().any(|name| name.starts_with("norm."));
    let mismatch = |mismatch| InteropError::Mismatch { path: file.clone(), mismatch };
    let weights = check(weights, expected(&config, kind, with_norm), allow).map_err(mismatch)?;
    let mut network =
        Network { weights, config, kind, labels: None, problem_type: None, preprocessing: None };
    complete(&mut network, layout, &file, path.is_dir())?;
    Ok(Imported { network, layout, file })
}

/// All tensors of a file, under the names they have there.
fn load(file: &Path) -> Result<StateDict, InteropError> {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(16).read_to_end(&mut start));
    read.map_err(InteropError::io(file))?;
    if pickle::is_pickle(&start) { pickle::load(file) } else { Ok(StateDict::load(file)?) }
}

/// The tensors under official names; two of the same name are refused.
fn to_dense(tensors: StateDict, layout: Layout) -> Result<StateDict, String> {
    let mut weights = StateDict::default();
    for (name, entry) in tensors {
        let (dense, entry) = layout.to_dense(&name, entry);
        if weights.get(&dense).is_some() {
            return Err(format!("two tensors are `{dense}`, one of them `{name}`"));
        }
        weights.insert(dense, entry);
    }
    Ok(weights)
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
