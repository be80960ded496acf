//! Finding what a path on the command line means: a run, a checkpoint or a weight file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use fcmae::Fcmae;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, official_name};
use trainer::{LoadReport, MODEL_FILE, RunDir, StateDict};

use crate::config::{self, DataSection, Experiment, FinetuneExperiment, PretrainConfig};

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

/// A classifier from a fine-tuning run.
pub(crate) struct Classifier {
    pub(crate) folder: PathBuf,
    pub(crate) config: FinetuneExperiment,
    pub(crate) model: ConvNextV2Config,
    pub(crate) network: ConvNextV2ForImageClassification,
}

impl Classifier {
    /// From a run directory (its best network, or its newest checkpoint if none was evaluated), a
    /// checkpoint folder or its weight file.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        let best = path.join("checkpoints").join("best");
        let folder = if best.join(MODEL_FILE).is_file() { best } else { folder_of(path)? };
        let file = folder.join(CONFIG_FILE);
        if config::load::<PretrainConfig>(&file, &[]).is_ok() {
            bail!(
                "{} is a pretraining checkpoint and knows no classes; fine-tune it first: \
                 train-cli finetune --config configs/finetune_custom.toml --data DIR --init {}",
                path.display(),
                path.display()
            );
        }
        let config: FinetuneExperiment = config::load(&file, &[])?;
        let model = ConvNextV2Config {
            num_labels: config.finetune.classes.len(),
            ..config.model.resolve(config.data.image_size)?
        };
        let fresh =
            ConvNextV2ForImageClassification::zeros(&model, device)?.with_kernels(config.model.kernels);
        let weights = StateDict::load(&folder.join(MODEL_FILE))?;
        let (network, report) = weights.apply_to(fresh, &official_name);
        report
            .require_complete()
            .with_context(|| format!("{} does not fit its own {CONFIG_FILE}", folder.display()))?;
        Ok(Self { folder, config, model, network })
    }
}

/// The encoder of any run, ended by global pooling and norm: images → features. The norm of a
/// pretrained encoder, which has none, only brings every image's features to mean 0 and variance 1.
pub(crate) struct FeatureExtractor {
    pub(crate) data: DataSection,
    pub(crate) model: ConvNextV2Config,
    pub(crate) network: ConvNextV2ForImageClassification,
}

impl FeatureExtractor {
    /// From a run directory, a checkpoint folder or its weight file.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        let best = path.join("checkpoints").join("best");
        let folder = if best.join(MODEL_FILE).is_file() { best } else { folder_of(path)? };
        let file = folder.join(CONFIG_FILE);
        let (model, data) = match config::load::<PretrainConfig>(&file, &[]) {
            Ok(config) => (config.model, config.data),
            Err(_) => {
                let config: FinetuneExperiment = config::load(&file, &[])?;
                (config.model, config.data)
            }
        };
        let kernels = model.kernels;
        let model = ConvNextV2Config { num_labels: 0, ..model.resolve(data.image_size)? };
        let zeros = ConvNextV2ForImageClassification::zeros(&model, device)?.with_kernels(kernels);
        let (network, _) = initialize_classifier(&folder, zeros)?;
        Ok(Self { data, model, network })
    }
}

/// Puts the weights of a pretraining or fine-tuning checkpoint into a fresh classifier. A decoder is
/// left out; norm and head stay fresh where the checkpoint has none, or a head for other classes.
/// Returns the names of what stays fresh.
pub(crate) fn initialize_classifier(
    path: &Path,
    fresh: ConvNextV2ForImageClassification,
) -> Result<(ConvNextV2ForImageClassification, Vec<String>)> {
    let file = if path.is_file() { path.to_owned() } else { folder_of(path)?.join(MODEL_FILE) };
    let weights = StateDict::load(&file)?;
    let wanted = StateDict::of_module(&fresh, &official_name);
    let is_top = |name: &str| name.starts_with("head.") || name.starts_with("norm.");
    let other_classes = ["head.weight", "head.bias"].iter().any(|name| {
        weights.get(name).is_some_and(|found| wanted.get(name).is_none_or(|w| w.shape != found.shape))
    });
    let mut kept = StateDict::default();
    for (name, entry) in weights.iter() {
        let left_out = is_decoder(name) || other_classes && name.starts_with("head.");
        if !left_out {
            kept.insert(name.to_owned(), entry.clone());
        }
    }
    let (network, mut report) = kept.apply_to(fresh, &official_name);
    let missing = std::mem::take(&mut report.missing);
    let (fresh, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(|name| is_top(name));
    report.missing = missing;
    report.require_complete().with_context(|| format!("cannot start from {}", file.display()))?;
    Ok((network, fresh))
}

/// Whether `path` is a pretraining run or checkpoint, which knows no classes.
pub(crate) fn is_pretraining(path: &Path) -> Result<bool> {
    let best = path.join("checkpoints").join("best");
    let folder = if best.join(MODEL_FILE).is_file() { best } else { folder_of(path)? };
    Ok(config::load::<PretrainConfig>(&folder.join(CONFIG_FILE), &[]).is_ok())
}

/// The checkpoint folder that `path` means; `hf:user/name` is downloaded.
pub(crate) fn folder_of(path: &Path) -> Result<PathBuf> {
    let path = &*crate::hub::local(path)?;
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
pub(crate) fn write_config<C: Experiment>(config: &C, folder: &Path) -> Result<()> {
    let (path, temporary) = (folder.join(CONFIG_FILE), folder.join(".config.toml.tmp"));
    let text = toml::to_string_pretty(config)?;
    // Renamed into place, so that a kill leaves the old one or the new one.
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
