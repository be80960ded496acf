//! Finding what a path on the command line means: a run, a checkpoint or a weight file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use fcmae::Fcmae;
use model::official_name;
use trainer::{LoadReport, MODEL_FILE, RunDir, StateDict};

use crate::config::{self, PretrainConfig};

/// Name of the resolved configuration in a run and in each of its checkpoints.
pub(crate) const CONFIG_FILE: &str = "config.toml";

/// A pretraining checkpoint.
pub(crate) struct Checkpoint {
    /// The folder with weights and configuration.
    pub(crate) folder: PathBuf,
    /// The experiment that it comes from.
    pub(crate) config: PretrainConfig,
    /// Weights under official names.
    pub(crate) weights: StateDict,
}

impl Checkpoint {
    /// From a run directory (its newest checkpoint), a checkpoint folder or its weight file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let folder = folder_of(path)?;
        let weights = StateDict::load(&folder.join(MODEL_FILE))?;
        let config = config::load(&folder.join(CONFIG_FILE), &[])?;
        Ok(Self { folder, config, weights })
    }

    /// The network with these weights.
    pub(crate) fn network(&self, device: &Device) -> Result<Fcmae> {
        let model = self.config.model.resolve(self.config.data.image_size)?;
        let fresh = Fcmae::zeros(&self.config.fcmae, &model, self.config.model.kernels, device)?;
        let (network, report) = self.weights.apply_to(fresh, &official_name);
        report
            .require_complete()
            .with_context(|| format!("{} does not fit its own {CONFIG_FILE}", self.folder.display()))?;
        Ok(network)
    }
}

/// The checkpoint folder that `path` means.
pub(crate) fn folder_of(path: &Path) -> Result<PathBuf> {
    if path.is_file() && path.file_name().is_some_and(|name| name == MODEL_FILE) {
        return Ok(path.parent().unwrap_or(Path::new(".")).to_owned());
    }
    if path.join(MODEL_FILE).is_file() {
        return Ok(path.to_owned());
    }
    if !path.exists() {
        bail!("{} does not exist", path.display());
    }
    if !path.is_dir() {
        bail!("{} is neither a run directory, a checkpoint nor a {MODEL_FILE}", path.display());
    }
    RunDir::open(path)?.latest_checkpoint().with_context(|| {
        format!("{} has no checkpoint: no complete checkpoints/step-… in it", path.display())
    })
}

/// Puts the weights of a checkpoint into a fresh network, as far as they fit: encoder and decoder,
/// or the encoder alone. Returns what was left as it is.
pub(crate) fn initialize_from(path: &Path, fresh: Fcmae) -> Result<(Fcmae, LoadReport)> {
    let file = if path.is_file() { path.to_owned() } else { folder_of(path)?.join(MODEL_FILE) };
    let weights = StateDict::load(&file)?;
    let (network, mut report) = weights.apply_to(fresh, &official_name);
    let missing = std::mem::take(&mut report.missing);
    let (decoder, rest): (Vec<_>, Vec<_>) = missing.into_iter().partition(|name| is_decoder(name));
    let has_decoder = weights.names().any(is_decoder);
    report.missing = rest;
    if has_decoder {
        report.missing.extend(decoder.iter().cloned());
    }
    report.require_complete().with_context(|| format!("cannot start from {}", file.display()))?;
    report.missing = decoder;
    Ok((network, report))
}

fn is_decoder(name: &str) -> bool {
    ["proj.", "pred.", "decoder.", "mask_token"].iter().any(|prefix| name.starts_with(prefix))
}

/// Writes the resolved configuration of a run.
pub(crate) fn write_config(config: &PretrainConfig, folder: &Path) -> Result<()> {
    let (path, temporary) = (folder.join(CONFIG_FILE), folder.join(".config.toml.tmp"));
    let text = toml::to_string_pretty(config)?;
    // Renamed into place, so that a kill leaves the old one or the new one.
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
