//! Configuration files: one TOML file is one experiment.
//!
//! Every key has one default, unknown keys are errors, and `--set section.key=value` overrides.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use data::Format;
use data::transform::RandAugment;
use fcmae::FcmaeConfig;
use finetune::FinetuneConfig;
use model::activation::Activation;
use model::{ConvNextV2Config, Execution, Kernels, Size};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trainer::{LogConfig, OptimConfig, TrainConfig};

/// A pretraining experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PretrainConfig {
    /// Of weights, order, crops, flips and masks.
    pub(crate) seed: u64,
    pub(crate) model: ModelSection,
    pub(crate) fcmae: FcmaeConfig,
    pub(crate) data: DataSection,
    pub(crate) optim: OptimConfig,
    pub(crate) train: TrainConfig,
    pub(crate) log: LogConfig,
}

/// A fine-tuning experiment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FinetuneExperiment {
    /// Of head, order, augmentation, mixing and dropped paths.
    pub(crate) seed: u64,
    pub(crate) model: ModelSection,
    pub(crate) finetune: FinetuneConfig,
    pub(crate) data: DataSection,
    pub(crate) augment: AugmentSection,
    pub(crate) optim: OptimConfig,
    pub(crate) train: TrainConfig,
    pub(crate) log: LogConfig,
}

/// What one TOML file describes.
pub(crate) trait Experiment: Serialize + DeserializeOwned + PartialEq {
    /// Defaults that differ from those of the sections, as TOML.
    const DEFAULTS: &'static str;
}

impl Experiment for PretrainConfig {
    const DEFAULTS: &'static str = "";
}

impl Experiment for FinetuneExperiment {
    /// Those of the official fine-tuning code.
    const DEFAULTS: &'static str = r"
        [data]
        crop_scale = [0.08, 1.0]
        [optim]
        blr = 5e-4
        min_lr = 1e-6
        warmup_epochs = 20
        betas = [0.9, 0.999]
        decay_grn = false
        [train]
        epochs = 100
    ";
}

/// What is done to training images beside crop and mirror.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AugmentSection {
    /// Random brightness, contrast and saturation, by up to so much; instead of RandAugment.
    pub(crate) color_jitter: f64,
    /// In timm's notation; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rand_augment: Option<RandAugment>,
    /// Share of images that lose a box.
    pub(crate) random_erasing: f64,
    /// Parameter of mixup's Beta distribution; 0 for none.
    pub(crate) mixup: f64,
    /// The same of CutMix.
    pub(crate) cutmix: f64,
    /// Share of batches that are mixed.
    pub(crate) mixup_prob: f64,
    /// Share of CutMix among them, where both are on.
    pub(crate) mixup_switch_prob: f64,
}

impl Default for AugmentSection {
    fn default() -> Self {
        let [color_jitter, random_erasing, mixup, cutmix] = [0.0; 4];
        let (mixup_prob, mixup_switch_prob) = (1.0, 0.5);
        Self {
            color_jitter,
            rand_augment: None,
            random_erasing,
            mixup,
            cutmix,
            mixup_prob,
            mixup_switch_prob,
        }
    }
}

impl AugmentSection {
    /// Checks every number.
    pub(crate) fn validate(&self) -> Result<()> {
        let shares = [
            ("random_erasing", self.random_erasing),
            ("mixup_prob", self.mixup_prob),
            ("mixup_switch_prob", self.mixup_switch_prob),
        ];
        if let Some((key, value)) = shares.into_iter().find(|(_, v)| !(0.0..=1.0).contains(v)) {
            bail!("augment.{key} must be in [0, 1], found {value}");
        }
        let amounts = [("color_jitter", self.color_jitter), ("mixup", self.mixup), ("cutmix", self.cutmix)];
        if let Some((key, value)) = amounts.into_iter().find(|(_, v)| !(*v >= 0.0 && v.is_finite())) {
            bail!("augment.{key} must be 0 or more, found {value}");
        }
        if self.color_jitter > 0.0 && self.rand_augment.is_some() {
            bail!("augment.color_jitter and augment.rand_augment both change colours; leave one of them out");
        }
        Ok(())
    }
}

/// The encoder: a size by name, and what differs from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) depths: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hidden_sizes: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) num_channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) patch_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hidden_act: Option<Activation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drop_path_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initializer_range: Option<f64>,
    /// Of pretraining; a classifier sees every patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) execution: Option<Execution>,
    pub(crate) kernels: Kernels,
}

/// Where images come from and what is done to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataSection {
    /// A folder, or a CSV file that lists images; `--data` overrides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// A CSV file that lists the images to validate on, which are then not trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_csv: Option<PathBuf>,
    pub(crate) format: Format,
    /// One side, or height and width, in pixels.
    pub(crate) image_size: ImageSize,
    /// Share of the area that a random crop covers.
    pub(crate) crop_scale: [f64; 2],
    /// Width by height of a random crop.
    pub(crate) crop_ratio: [f64; 2],
    /// Mirror every other image.
    pub(crate) hflip: bool,
    /// Per channel, of intensities from 0 to 1.
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    /// Share of the training images held out for validation; for fine-tuning on data without a
    /// validation folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_fraction: Option<f64>,
    /// Threads that decode and augment; 0 does it between steps.
    pub(crate) workers: usize,
    /// Unreadable files that are skipped before the run stops.
    pub(crate) max_corrupt: usize,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            path: None,
            val_csv: None,
            format: Format::Auto,
            image_size: ImageSize::Square(224),
            crop_scale: [0.2, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            hflip: true,
            val_fraction: None,
            mean: data::transform::IMAGENET_MEAN.to_vec(),
            std: data::transform::IMAGENET_STD.to_vec(),
            workers: 2,
            max_corrupt: 10,
        }
    }
}

impl DataSection {
    /// Checks the random crop and the division.
    pub(crate) fn validate(&self) -> Result<()> {
        let ordered = |[low, high]: [f64; 2]| 0.0 < low && low <= high && high.is_finite();
        if !ordered(self.crop_scale) || self.crop_scale[1] > 1.0 {
            bail!("data.crop_scale must be two rising shares in (0, 1], found {:?}", self.crop_scale);
        }
        if !ordered(self.crop_ratio) {
            bail!("data.crop_ratio must be two rising positive numbers, found {:?}", self.crop_ratio);
        }
        if let Some(fraction) = self.val_fraction.filter(|f| !(*f > 0.0 && *f < 1.0)) {
            bail!("data.val_fraction must be between 0 and 1, found {fraction}");
        }
        if self.val_fraction.is_some() && self.val_csv.is_some() {
            bail!(
                "data.val_csv and data.val_fraction both choose the validation images; leave one of them out"
            );
        }
        Ok(())
    }
}

/// `224` or `[224, 160]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a side or [height, width] in pixels")]
pub(crate) enum ImageSize {
    Square(usize),
    Rectangle([usize; 2]),
}

impl ImageSize {
    /// Height and width.
    pub(crate) fn pixels(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Rectangle(sides) => sides,
        }
    }
}

impl ModelSection {
    /// How a masked image is run.
    pub(crate) fn execution(&self) -> Execution {
        self.execution.unwrap_or_default()
    }

    /// The network that the section describes.
    pub(crate) fn resolve(&self, image: ImageSize) -> Result<ConvNextV2Config> {
        let base = match (self.size, &self.depths, &self.hidden_sizes) {
            (Some(size), _, _) => ConvNextV2Config::from_size(size),
            (None, Some(_), Some(_)) => ConvNextV2Config::default(),
            (None, _, _) => bail!(
                "model.size is missing: name one of the eight sizes (size = \"atto\"), \
                 or give both model.depths and model.hidden_sizes"
            ),
        };
        let depths = self.depths.clone().unwrap_or(base.depths.clone());
        let config = ConvNextV2Config {
            num_stages: depths.len(),
            depths,
            hidden_sizes: self.hidden_sizes.clone().unwrap_or(base.hidden_sizes.clone()),
            num_channels: self.num_channels.unwrap_or(base.num_channels),
            patch_size: self.patch_size.unwrap_or(base.patch_size),
            hidden_act: self.hidden_act.unwrap_or(base.hidden_act),
            drop_path_rate: self.drop_path_rate.unwrap_or(base.drop_path_rate),
            initializer_range: self.initializer_range.unwrap_or(base.initializer_range),
            image_size: image.pixels()[0],
            ..base
        };
        config.validate()?;
        Ok(config)
    }
}

/// Reads a configuration file and applies `key=value` overrides to it.
pub(crate) fn load<C: Experiment>(path: &Path, overrides: &[String]) -> Result<C> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    // Parsed by itself first: the file's own mistakes are shown with their lines.
    parse::<C>(&text)
        .map_err(|error| other_kind::<C>(&text, error))
        .with_context(|| format!("in {}", path.display()))?;
    parse_with(&text, overrides)
}

/// Says so when a configuration is of the other kind of experiment.
fn other_kind<C: Experiment>(text: &str, error: anyhow::Error) -> anyhow::Error {
    if parse::<PretrainConfig>(text).is_ok() {
        return anyhow!("this is a configuration for train-cli pretrain");
    }
    if parse::<FinetuneExperiment>(text).is_ok() {
        return anyhow!("this is a configuration for train-cli finetune");
    }
    error
}

/// Parses a configuration and applies `key=value` overrides to it.
pub(crate) fn parse_with<C: Experiment>(text: &str, overrides: &[String]) -> Result<C> {
    let config = parse(text)?;
    if overrides.is_empty() {
        return Ok(config);
    }
    let mut table = with_defaults::<C>(text)?;
    for entry in overrides {
        apply_override(&mut table, entry).with_context(|| format!("in --set {entry}"))?;
        // Checked one by one, so that the message names the override at fault.
        C::deserialize(table.clone())
            .map_err(|error| with_suggestion(error.message()))
            .with_context(|| format!("in --set {entry}"))?;
    }
    Ok(C::deserialize(table)?)
}

/// Parses a configuration; an unknown key is answered with the nearest known one.
pub(crate) fn parse<C: Experiment>(text: &str) -> Result<C> {
    let strict: Result<C, _> = toml::from_str(text);
    strict.map_err(|error| {
        let place = error.to_string();
        match nearest_key(error.message()) {
            Some(key) => anyhow!("{}\nhint: did you mean `{key}`?", place.trim_end()),
            None => anyhow!("{}", place.trim_end()),
        }
    })?;
    Ok(C::deserialize(with_defaults::<C>(text)?)?)
}

/// The table of a text, over the defaults of its kind.
fn with_defaults<C: Experiment>(text: &str) -> Result<toml::Table> {
    let (mut table, given): (toml::Table, toml::Table) = (C::DEFAULTS.parse()?, text.parse()?);
    for (key, value) in given {
        match (table.get_mut(&key).and_then(toml::Value::as_table_mut), value) {
            (Some(defaults), toml::Value::Table(section)) => defaults.extend(section),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
    Ok(table)
}

fn with_suggestion(message: &str) -> anyhow::Error {
    match nearest_key(message) {
        Some(key) => anyhow!("{message}; did you mean `{key}`?"),
        None => anyhow!("{message}"),
    }
}

/// Sets `section.key` of a table to a TOML value; what is no TOML value is taken as a string.
fn apply_override(table: &mut toml::Table, entry: &str) -> Result<()> {
    let (key, value) = entry
        .split_once('=')
        .ok_or_else(|| anyhow!("expected section.key=value, for example train.batch_size=32"))?;
    let value = match format!("v = {value}").parse::<toml::Table>() {
        Ok(mut parsed) => parsed.remove("v").unwrap_or_else(|| value.into()),
        Err(_) => toml::Value::from(value),
    };
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let leaf = path.pop().unwrap_or_default();
    let mut here = table;
    for part in path {
        here = here
            .entry(part)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .ok_or_else(|| anyhow!("`{part}` is a value, not a section"))?;
    }
    here.insert(leaf.to_owned(), value);
    Ok(())
}

/// The known key nearest to the unknown one of an "unknown field" message.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::normalized_damerau_levenshtein(unknown, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.4)
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let error = parse::<PretrainConfig>("[train]\nbatch_sise = 4\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("did you mean `batch_size`?"), "{error}");
        let error = parse::<PretrainConfig>("[model]\nsize = \"ato\"\n").unwrap_err().to_string();
        assert!(error.contains("did you mean `atto`?"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let error = parse::<PretrainConfig>("[train]\nepochs = \"many\"\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("invalid type"), "{error}");
    }

    #[test]
    fn overrides_win_over_the_file_and_are_checked_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "seed = 1\n[train]\nbatch_size = 4\n").unwrap();
        let set = |entries: &[&str]| {
            load::<PretrainConfig>(&file, &entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
        };
        let config = set(&["train.batch_size=8", "model.size=atto", "data.image_size=[64, 32]"]).unwrap();
        assert_eq!((config.seed, config.train.batch_size), (1, 8));
        assert_eq!(config.model.size, Some(Size::Atto));
        assert_eq!(config.data.image_size.pixels(), [64, 32]);
        let error = format!("{:#}", set(&["seed=2", "train.epoch=3"]).unwrap_err());
        assert!(error.contains("--set train.epoch=3") && error.contains("`epochs`"), "{error}");
        assert!(set(&["seed"]).is_err());
    }

    #[test]
    fn fine_tuning_has_defaults_of_its_own() {
        let config = parse::<FinetuneExperiment>("[optim]\nblr = 1e-3\n").unwrap();
        assert_eq!(
            (config.optim.blr, config.optim.betas, config.optim.decay_grn),
            (1e-3, [0.9, 0.999], false)
        );
        assert_eq!(parse::<PretrainConfig>("").unwrap(), PretrainConfig::default());
        let augment = parse::<FinetuneExperiment>("[augment]\nrand_augment = \"rand-m9\"\n");
        let error = augment.unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("inc1"), "{error}");
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(parse::<FinetuneExperiment>(&text).unwrap(), config);
    }

    #[test]
    fn a_resolved_configuration_reads_back_as_itself() {
        let config = PretrainConfig {
            model: ModelSection { size: Some(Size::Atto), ..ModelSection::default() },
            ..PretrainConfig::default()
        };
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(parse::<PretrainConfig>(&text).unwrap(), config);
    }
}
