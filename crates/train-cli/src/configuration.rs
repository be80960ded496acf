//! Configuration files on the command line: of one experiment, or of any.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use config::{Config, SettingError};
use data::{AugmentConfig, DataConfig};
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;
use model::Kernels;

use crate::bundled::{Bundled, Meant};

/// An experiment of either kind.
pub(crate) enum AnyExperiment {
    Pretrain(Box<PretrainExperiment>),
    Finetune(Box<FinetuneExperiment>),
}

/// What a configuration of either kind says of images.
pub(crate) struct ImageSettings {
    pub(crate) seed: u64,
    pub(crate) data: DataConfig,
    pub(crate) augment: AugmentConfig,
    /// Images of a batch.
    pub(crate) batch_size: usize,
    /// Channels of an image.
    pub(crate) channels: usize,
    /// What computes the network.
    pub(crate) kernels: Kernels,
    /// Whether it is for fine-tuning.
    pub(crate) classifies: bool,
}

impl ImageSettings {
    /// Those of a configuration, by default of pretraining; `path` is where the images are instead.
    pub(crate) fn of(config: Option<&Path>, overrides: &[String], path: Option<&Path>) -> Result<Self> {
        let experiment = match config {
            None => AnyExperiment::Pretrain(Box::new(config::parse("", overrides)?)),
            Some(config) => Source::find(config, Meant::Either)?.load_any(overrides)?,
        };
        let classifies = matches!(experiment, AnyExperiment::Finetune(_));
        let (seed, mut data, augment, train, model) = match experiment {
            AnyExperiment::Pretrain(of) => (of.seed, of.data, of.augment, of.train, of.model),
            AnyExperiment::Finetune(of) => (of.seed, of.data, of.augment, of.train, of.model),
        };
        if let Some(path) = path {
            data.path = Some(path.to_owned());
        }
        let (batch_size, channels) = (train.batch_size, model.num_channels.unwrap_or(3));
        Ok(Self { seed, data, augment, batch_size, channels, kernels: model.kernels, classifies })
    }
}

/// A configuration file, or one that the program brings.
pub(crate) struct Source {
    /// What messages call it.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The file of this name, or else the configuration that the program brings under it.
    pub(crate) fn find(path: &Path, meant: Meant) -> Result<Self> {
        if path.is_file() {
            return Ok(Self { path: path.to_owned(), text: config::read(path)? });
        }
        let name = path.to_string_lossy();
        match Bundled::find(&name, meant) {
            Some(bundled) => Ok(Self { path: bundled.name.into(), text: bundled.text.to_owned() }),
            None => {
                bail!("{name}: no such file, and no configuration of the program{}", nearest(path, meant))
            }
        }
    }

    /// Its name, after which a run is called.
    pub(crate) fn stem(&self) -> Result<&OsStr> {
        self.path.file_stem().context("the configuration has no file name")
    }

    /// Reads it and applies `section.key=value` overrides; one of the other kind is said to be so.
    pub(crate) fn load<C: Config>(&self, overrides: &[String]) -> Result<C> {
        config::load_text(&self.path, &self.text, overrides).map_err(|error| match &error {
            SettingError::File { .. } => match self.other_kind() {
                Some(command) => {
                    anyhow!("{} is a configuration for train-cli {command}", self.path.display())
                }
                None => error.into(),
            },
            _ => error.into(),
        })
    }

    /// Reads one of either kind. What is wrong with it is said as for the kind that its sections are of.
    pub(crate) fn load_any(&self, overrides: &[String]) -> Result<AnyExperiment> {
        let table = self.text.parse::<toml::Table>().ok();
        Ok(match table.is_some_and(|table| table.contains_key("finetune")) {
            true => AnyExperiment::Finetune(Box::new(self.load(overrides)?)),
            false => AnyExperiment::Pretrain(Box::new(self.load(overrides)?)),
        })
    }

    /// The command that it is a configuration for.
    fn other_kind(&self) -> Option<&'static str> {
        if config::load_text::<PretrainExperiment>(&self.path, &self.text, &[]).is_ok() {
            return Some("pretrain");
        }
        config::load_text::<FinetuneExperiment>(&self.path, &self.text, &[]).is_ok().then_some("finetune")
    }
}

/// Overrides, and that of `data.path` where `--data` is given.
pub(crate) fn with_data(overrides: &[String], data: Option<&Path>) -> Result<Vec<String>> {
    let mut overrides = overrides.to_vec();
    if let Some(path) = data {
        let text =
            path.to_str().with_context(|| format!("--data {}: the name is not UTF-8", path.display()))?;
        overrides.push(format!("data.path={}", toml::Value::from(text)));
    }
    Ok(overrides)
}

/// What may have been meant by a name that is none.
fn nearest(path: &Path, meant: Meant) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    // A path of the repository, outside of it.
    if let Some(bundled) = Bundled::find(&stem, meant) {
        return format!("; one of them is called {}", bundled.name);
    }
    "; train-cli configs list shows these".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

    const HEAD: &str = "# Configuration

One TOML file is one experiment. `--set section.key=value` overrides a key on the command line, a
misspelt key is an error that names the nearest, and the resolved configuration is stored in the run.
Defaults that differ between pretraining and fine-tuning are given for both; the keys of the
examples in `configs/` are all explained here. `seed` stands before the first section: a whole number
(default 0) that every random choice depends on.

The column *on resume* says which keys may be others when a run goes on (`--resume`): `fixed` ones may
not, since every update depends on them; those that change the schedule may, and the run says how the
learning rate changes; no update depends on the rest. `seed` is fixed.

This page is made from the types: `UPDATE=1 cargo test --release -p train-cli configuration` writes it.
";

    fn page() -> String {
        let experiments = [
            ("pretrain", PretrainExperiment::default().sections()),
            ("finetune", FinetuneExperiment::default().sections()),
        ];
        HEAD.to_owned() + &config::document(&experiments)
    }

    fn load<C: Config>(file: &Path, overrides: &[String]) -> Result<C> {
        Source::find(file, Meant::Either)?.load(overrides)
    }

    #[test]
    fn the_documentation_is_that_of_the_types() {
        if std::env::var_os("UPDATE").is_some() {
            fs::write(PAGE, page()).unwrap();
        }
        let found = fs::read_to_string(PAGE).unwrap();
        assert!(found == page(), "docs/configuration.md is not current; UPDATE=1 cargo test writes it");
    }

    #[test]
    fn the_program_brings_configurations_under_their_names() {
        let experiment: PretrainExperiment =
            Source::find(Path::new("tiny"), Meant::Pretraining).unwrap().load(&[]).unwrap();
        assert_eq!(experiment.model.size, Some(model::Size::Tiny));
        let refused = |name: &str| Source::find(Path::new(name), Meant::Either).err().unwrap().to_string();
        assert!(refused("configs/fcmae_atto.toml").ends_with("one of them is called fcmae_atto"));
        assert!(refused("attos").ends_with("train-cli configs list shows these"));
    }

    #[test]
    fn a_configuration_of_the_other_kind_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "[model]\nsize = \"atto\"\n[fcmae]\nmask_ratio = 0.7\n").unwrap();
        let error = load::<FinetuneExperiment>(&file, &[]).unwrap_err().to_string();
        assert!(error.contains("a configuration for train-cli pretrain"), "{error}");
        let any = Source::find(&file, Meant::Either).unwrap().load_any(&[]).unwrap();
        assert!(matches!(any, AnyExperiment::Pretrain(_)));
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let parse = |text| config::parse::<PretrainExperiment>(text, &[]).unwrap_err().to_string();
        let error = parse("[train]\nbatch_sise = 4\n");
        assert!(error.contains("line 2") && error.contains("did you mean `batch_size`?"), "{error}");
        let error = parse("[model]\nsize = \"ato\"\n");
        assert!(error.contains("did you mean `atto`?"), "{error}");
        let error = parse("[train]\nepochs = \"many\"\n");
        assert!(error.contains("line 2") && error.contains("invalid type"), "{error}");
    }

    #[test]
    fn overrides_win_over_the_file_and_are_checked_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        fs::write(&file, "seed = 1\n[train]\nbatch_size = 4\n").unwrap();
        let set = |entries: &[&str]| {
            load::<PretrainExperiment>(&file, &entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
        };
        let config = set(&["train.batch_size=8", "model.size=atto", "data.image_size=[64, 32]"]).unwrap();
        assert_eq!((config.seed, config.train.batch_size), (1, 8));
        assert_eq!(config.model.size, Some(model::Size::Atto));
        assert_eq!(config.data.image_size.pixels(), [64, 32]);
        let error = format!("{:#}", set(&["seed=2", "train.epoch=3"]).unwrap_err());
        assert!(error.contains("--set train.epoch=3") && error.contains("`epochs`"), "{error}");
        assert!(set(&["seed"]).is_err());
    }

    #[test]
    fn fine_tuning_has_defaults_of_its_own() {
        let text = "[optim]\nblr = 1e-3\n[augment]\nmixup = 0.8\n";
        let config: FinetuneExperiment = config::parse(text, &[]).unwrap();
        assert_eq!((config.augment.mixup, config.augment.crop_scale), (0.8, [0.08, 1.0]));
        assert_eq!(
            (config.optim.blr, config.optim.betas, config.optim.decay_grn),
            (1e-3, [0.9, 0.999], false)
        );
        assert_eq!(config::parse::<PretrainExperiment>("", &[]).unwrap(), PretrainExperiment::default());
        let augment = "[augment]\nrand_augment = \"rand-m9\"\n";
        let error = config::parse::<FinetuneExperiment>(augment, &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("inc1"), "{error}");
        let text = config::to_toml(&config).unwrap();
        assert_eq!(config::parse::<FinetuneExperiment>(&text, &[]).unwrap(), config);
    }

    #[test]
    fn a_resolved_configuration_reads_back_as_itself() {
        let mut config = PretrainExperiment::default();
        config.model.size = Some(model::Size::Atto);
        let text = config::to_toml(&config).unwrap();
        assert_eq!(config::parse::<PretrainExperiment>(&text, &[]).unwrap(), config);
    }
}
