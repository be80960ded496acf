//! Finding what a path on the command line means: a run, a checkpoint or a weight file, of this
//! project or of the official code, timm or transformers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use fcmae::{Fcmae, FcmaeConfig};
use finetune::{FinetuneConfig, ProblemType};
use interop::{Allow, Imported, Kind, Layout, Network, Preprocessing};
use model::activation::Activation;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Size, official_name};
use trainer::{LoadReport, MODEL_FILE, RunDir, StateDict};

use crate::config::{
    self, DataSection, Experiment, FinetuneExperiment, ImageSize, ModelSection, PretrainConfig,
};

/// Name of the resolved configuration in a run and in each of its checkpoints.
pub(crate) const CONFIG_FILE: &str = "config.toml";

/// The experiment that weights come from, or that they would fit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Recipe {
    Pretrain(Box<PretrainConfig>),
    Finetune(Box<FinetuneExperiment>),
}

/// What a path holds, whatever its format.
pub(crate) struct Checkpoint {
    /// The folder, or the file if its folder means nothing.
    pub(crate) path: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) recipe: Recipe,
    /// Whether the recipe was found, not made up.
    pub(crate) is_ours: bool,
    pub(crate) network: Network,
}

/// Opens a run (its best network, or its newest checkpoint if none was evaluated), a checkpoint
/// folder, a directory of transformers or timm, or a weight file of any of them or of the official
/// code; `hf:user/name` is downloaded. Every command reads checkpoints by this.
pub(crate) fn open(path: &Path, allow: &Allow) -> Result<Checkpoint> {
    let path = &*crate::hub::local(path)?;
    let Imported { mut network, layout, file } = interop::read(path, allow)?;
    let has_folder = file.file_name().is_some_and(|name| name == MODEL_FILE);
    let config_file = file.with_file_name(CONFIG_FILE);
    let is_safetensors = file.extension().is_some_and(|extension| extension == "safetensors");
    let is_ours = layout == Layout::Official && is_safetensors && config_file.is_file();
    let recipe = match is_ours {
        true => Recipe::load(&config_file)?,
        false => Recipe::of(&network).with_context(|| file.display().to_string())?,
    };
    if is_ours {
        recipe.complete(&mut network).with_context(|| format!("{} does not fit", config_file.display()))?;
    }
    let folder = file.parent().filter(|_| has_folder).map(Path::to_owned);
    Ok(Checkpoint { path: folder.unwrap_or(file), layout, recipe, is_ours, network })
}

impl Recipe {
    /// The configuration of a run.
    fn load(file: &Path) -> Result<Self> {
        Ok(match config::load(file, &[]) {
            Ok(config) => Self::Pretrain(Box::new(config)),
            Err(_) => Self::Finetune(Box::new(config::load(file, &[])?)),
        })
    }

    /// The configuration that a network from elsewhere would have here.
    fn of(network: &Network) -> Result<Self> {
        let (model, data) = (model_section(&network.config), data_section(network));
        Ok(match network.kind {
            Kind::Classifier => {
                let problem_type = network.problem_type.as_deref().map(problem_type).transpose()?;
                let classes = network.labels();
                let finetune = FinetuneConfig { classes, problem_type, ..FinetuneConfig::default() };
                Self::Finetune(Box::new(FinetuneExperiment { model, data, finetune, ..defaults() }))
            }
            kind => {
                let fcmae = fcmae_config(&network.config, kind);
                Self::Pretrain(Box::new(PretrainConfig { model, data, fcmae, ..defaults() }))
            }
        })
    }

    pub(crate) fn model(&self) -> &ModelSection {
        match self {
            Self::Pretrain(config) => &config.model,
            Self::Finetune(config) => &config.model,
        }
    }

    pub(crate) fn data(&self) -> &DataSection {
        match self {
            Self::Pretrain(config) => &config.data,
            Self::Finetune(config) => &config.data,
        }
    }

    pub(crate) fn to_toml(&self) -> Result<String> {
        Ok(match self {
            Self::Pretrain(config) => toml::to_string_pretty(config)?,
            Self::Finetune(config) => toml::to_string_pretty(config)?,
        })
    }

    /// Adds to weights what their own configuration says.
    fn complete(&self, network: &mut Network) -> Result<()> {
        let data = self.data();
        let (shapes, mut model) = (&network.config, self.model().resolve(data.image_size)?);
        let architecture =
            |c: &ConvNextV2Config| (c.depths.clone(), c.hidden_sizes.clone(), c.num_channels, c.patch_size);
        if architecture(&model) != architecture(shapes) {
            bail!(
                "it says depths {:?}, channels {:?}; the weights have {:?}, {:?}",
                model.depths,
                model.hidden_sizes,
                shapes.depths,
                shapes.hidden_sizes
            );
        }
        model.num_labels = shapes.num_labels;
        if let Self::Finetune(config) = self {
            let classes = &config.finetune.classes;
            if classes.len() != model.num_labels {
                bail!("it names {} classes, the head has {}", classes.len(), model.num_labels);
            }
            network.labels = Some(classes.clone());
            network.problem_type = config.finetune.problem_type.map(problem_name);
        }
        network.config = model;
        network.preprocessing = Some(preprocessing(data));
        Ok(())
    }
}

/// The defaults of an experiment, those of its kind included.
fn defaults<C: Experiment>() -> C {
    config::parse("").expect("the empty configuration is one")
}

/// A problem type by its name in transformers, which is ours.
fn problem_type(name: &str) -> Result<ProblemType> {
    serde_json::from_value(name.into()).context("in config.json, problem_type")
}

fn problem_name(problem: ProblemType) -> String {
    serde_json::to_value(problem).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn model_section(config: &ConvNextV2Config) -> ModelSection {
    let usual = ConvNextV2Config::default();
    let is = |size: &Size| config.depths == size.depths() && config.hidden_sizes == size.hidden_sizes();
    let size = Size::ALL.into_iter().find(is);
    let shape = |list: &Vec<usize>| size.is_none().then(|| list.clone());
    ModelSection {
        size,
        depths: shape(&config.depths),
        hidden_sizes: shape(&config.hidden_sizes),
        num_channels: Some(config.num_channels).filter(|n| *n != usual.num_channels),
        patch_size: Some(config.patch_size).filter(|n| *n != usual.patch_size),
        hidden_act: Some(config.hidden_act).filter(|act| *act != Activation::default()),
        layer_norm_eps: Some(config.layer_norm_eps).filter(|eps| *eps != usual.layer_norm_eps),
        ..ModelSection::default()
    }
}

fn data_section(network: &Network) -> DataSection {
    let Preprocessing { image_size: [height, width], mean, std, crop_pct: _ } = network.preprocessing();
    let image_size =
        if height == width { ImageSize::Square(height) } else { ImageSize::Rectangle([height, width]) };
    DataSection { image_size, mean, std, ..defaults::<FinetuneExperiment>().data }
}

/// What evaluation does to images, in the words of other programs.
fn preprocessing(data: &DataSection) -> Preprocessing {
    let image_size = data.image_size.pixels();
    let crop_pct = data::transform::EvalTransform { size: image_size }.crop_pct();
    Preprocessing { image_size, mean: data.mean.clone(), std: data.std.clone(), crop_pct }
}

fn fcmae_config(model: &ConvNextV2Config, kind: Kind) -> FcmaeConfig {
    let usual = FcmaeConfig::default();
    let (decoder_dim, decoder_depth) = match kind {
        Kind::Pretraining { decoder_dim, decoder_depth } => (decoder_dim, decoder_depth),
        _ => (usual.decoder_dim, usual.decoder_depth),
    };
    let stride = model.total_stride();
    let patch_size = if usual.patch_size.is_multiple_of(stride) { usual.patch_size } else { stride };
    FcmaeConfig { decoder_dim, decoder_depth, patch_size, ..usual }
}

impl Checkpoint {
    /// The pretraining network with these weights, and its configuration.
    pub(crate) fn fcmae(&self, device: &Device) -> Result<(&PretrainConfig, Fcmae)> {
        let (Recipe::Pretrain(config), Kind::Pretraining { .. }) = (&self.recipe, self.network.kind) else {
            bail!("{} has no decoder; only a pretraining checkpoint can reconstruct", self.path.display());
        };
        let fresh = Fcmae::zeros(&config.fcmae, &self.network.config, config.model.kernels, device)?;
        let (network, report) = self.network.weights.apply_to(fresh, &official_name);
        report
            .require_complete()
            .with_context(|| format!("{} does not fit its own {CONFIG_FILE}", self.path.display()))?;
        Ok((config, network))
    }
}

/// A classifier, of a fine-tuning run or from elsewhere.
pub(crate) struct Classifier {
    pub(crate) folder: PathBuf,
    pub(crate) config: FinetuneExperiment,
    pub(crate) model: ConvNextV2Config,
    pub(crate) network: ConvNextV2ForImageClassification,
}

impl Classifier {
    /// Whatever [`open`] opens, as long as it has a head.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        let checkpoint = open(path, &Allow::default())?;
        let Recipe::Finetune(config) = checkpoint.recipe else {
            bail!(
                "{} is a pretraining checkpoint and knows no classes; fine-tune it first: \
                 train-cli finetune --config configs/finetune_custom.toml --data DIR --init {}",
                path.display(),
                path.display()
            );
        };
        let model = checkpoint.network.config;
        let fresh =
            ConvNextV2ForImageClassification::zeros(&model, device)?.with_kernels(config.model.kernels);
        let (network, report) = checkpoint.network.weights.apply_to(fresh, &official_name);
        report
            .require_complete()
            .with_context(|| format!("{} does not fit its own {CONFIG_FILE}", checkpoint.path.display()))?;
        Ok(Self { folder: checkpoint.path, config: *config, model, network })
    }
}

/// The encoder of any checkpoint, ended by global pooling and norm: images → features. The norm of a
/// pretrained encoder, which has none, only brings every image's features to mean 0 and variance 1.
pub(crate) struct FeatureExtractor {
    pub(crate) data: DataSection,
    pub(crate) model: ConvNextV2Config,
    pub(crate) network: ConvNextV2ForImageClassification,
}

impl FeatureExtractor {
    /// Whatever [`open`] opens.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::of(open(path, &Allow::default())?, device)
    }

    pub(crate) fn of(checkpoint: Checkpoint, device: &Device) -> Result<Self> {
        let Checkpoint { path, recipe, network, .. } = checkpoint;
        let model = ConvNextV2Config { num_labels: 0, ..network.config };
        let zeros = ConvNextV2ForImageClassification::zeros(&model, device)?;
        let zeros = zeros.with_kernels(recipe.model().kernels);
        let (network, _) = start_classifier(network.weights, zeros, false, &Allow::default())
            .with_context(|| format!("cannot take features of {}", path.display()))?;
        Ok(Self { data: recipe.data().clone(), model, network })
    }
}

/// Puts the weights of any checkpoint into a fresh classifier. A decoder is left out; a norm that the
/// checkpoint lacks stays fresh, and so does the head unless the checkpoint's tells the same classes.
/// Returns the names of what stays fresh.
pub(crate) fn initialize_classifier(
    path: &Path,
    fresh: ConvNextV2ForImageClassification,
    finetune: &FinetuneConfig,
    allow: &Allow,
) -> Result<(ConvNextV2ForImageClassification, Vec<String>)> {
    let cannot = || format!("cannot start from {}", path.display());
    let Checkpoint { recipe, network, .. } = open(path, allow).with_context(cannot)?;
    let same_problem = match recipe {
        Recipe::Finetune(config) => config.finetune.problem_type == finetune.problem_type,
        Recipe::Pretrain(_) => false,
    };
    let keeps_head = same_problem && network.labels.as_deref() == Some(&finetune.classes[..]);
    start_classifier(network.weights, fresh, keeps_head, allow).with_context(cannot)
}

fn start_classifier(
    weights: StateDict,
    fresh: ConvNextV2ForImageClassification,
    keeps_head: bool,
    allow: &Allow,
) -> Result<(ConvNextV2ForImageClassification, Vec<String>)> {
    let is_left_out = |name: &str| {
        is_decoder(name)
            || name.starts_with("hidden_states_norms.")
            || !keeps_head && name.starts_with("head.")
    };
    let kept: StateDict = weights.into_iter().filter(|(name, _)| !is_left_out(name)).collect();
    let (network, mut report) = kept.apply_to(fresh, &official_name);
    let may_be_fresh =
        |name: &String| name.starts_with("head.") || name.starts_with("norm.") || allow.missing(name);
    let (fresh, missing): (Vec<_>, Vec<_>) = report.missing.into_iter().partition(may_be_fresh);
    report.missing = missing;
    report.unused.retain(|name| !allow.unused(name));
    report.require_complete()?;
    Ok((network, fresh))
}

/// Puts the weights of any checkpoint into a fresh pretraining network, as far as they fit: encoder
/// and decoder, or the encoder alone. Returns what was left as it is.
pub(crate) fn initialize_from(path: &Path, fresh: Fcmae, allow: &Allow) -> Result<(Fcmae, LoadReport)> {
    let cannot = || format!("cannot start from {}", path.display());
    let Network { weights, kind, .. } = open(path, allow).with_context(cannot)?.network;
    let has_decoder = matches!(kind, Kind::Pretraining { .. });
    // Norm and head of a classifier have no place in pretraining.
    let is_left_out = |name: &str| !has_decoder && !is_encoder(name);
    let weights: StateDict = weights.into_iter().filter(|(name, _)| !is_left_out(name)).collect();
    let (network, mut report) = weights.apply_to(fresh, &official_name);
    let may_be_fresh = |name: &String| is_decoder(name) && !has_decoder || allow.missing(name);
    let (fresh, missing): (Vec<_>, Vec<_>) = report.missing.into_iter().partition(may_be_fresh);
    report.missing = missing;
    report.unused.retain(|name| !allow.unused(name));
    report.require_complete().with_context(cannot)?;
    report.missing = fresh;
    Ok((network, report))
}

fn is_decoder(name: &str) -> bool {
    ["proj.", "pred.", "decoder.", "mask_token"].iter().any(|prefix| name.starts_with(prefix))
}

fn is_encoder(name: &str) -> bool {
    ["downsample_layers.", "stages."].iter().any(|prefix| name.starts_with(prefix))
}

/// Fills in what a checkpoint was allowed to lack, with the values that training starts from.
pub(crate) fn fill_in(network: &mut Network) -> Result<()> {
    let device = Device::flex();
    let fresh = match network.kind {
        Kind::Pretraining { .. } => {
            let config = fcmae_config(&network.config, network.kind);
            let fresh = Fcmae::new(&config, &network.config, model::Kernels::default(), 0, &device)?;
            StateDict::of_module(&fresh, &official_name)
        }
        _ => {
            let fresh = ConvNextV2ForImageClassification::new(&network.config, 0, &device)?;
            StateDict::of_module(&fresh, &official_name)
        }
    };
    for (name, entry) in fresh {
        let belongs = network.kind == Kind::Classifier || is_encoder(&name) || is_decoder(&name);
        if belongs && network.weights.get(&name).is_none() {
            network.weights.insert(name, entry);
        }
    }
    Ok(())
}

/// The checkpoint folder of a run of this project that `path` means.
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

/// Writes the resolved configuration of a run.
pub(crate) fn write_config<C: Experiment>(config: &C, folder: &Path) -> Result<()> {
    let (path, temporary) = (folder.join(CONFIG_FILE), folder.join(".config.toml.tmp"));
    let text = toml::to_string_pretty(config)?;
    // Renamed into place, so that a kill leaves the old one or the new one.
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
