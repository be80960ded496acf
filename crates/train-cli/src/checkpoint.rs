//! What a path on the command line means: a run, a checkpoint or a weight file, of this project or of
//! the official code, timm or transformers, here or on the Hub.

use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, Recipe, StateDict};
use config::{Config, Section, SettingError};
use data::EvalConfig;
use distributed::Environment;
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;
use interop::{Conventions, Kind, Network, Opened};
use model::{ConvNextV2ForImageClassification, is_decoder, is_encoder, official_name};
use serde::{Deserialize, Serialize};
use trainer::{BoxError, ReadCheckpoint};

use crate::args::{CheckpointArgs, EvalSetArgs, KeyArgs};
use crate::output::{detail, note};

/// Opens a run (its best network, or its newest checkpoint if none was evaluated), a checkpoint
/// folder, a directory of transformers or timm, or a weight file of any of them or of the official
/// code; `hf:user/name` is downloaded. Every command reads checkpoints by this. Says on standard error
/// what was chosen, where there was a choice.
pub(crate) fn open(path: &Path, key: &KeyArgs, allow: &Allow) -> Result<Opened> {
    const CONVENTIONS: Conventions = Conventions { recipe: stored_recipe };
    let opened = interop::open(&crate::hub::local(path)?, key.key.as_deref(), allow, &CONVENTIONS)?;
    let is_leader = Environment::read().is_ok_and(|environment| environment.rank == 0);
    if is_leader {
        if let Some(note) = opened.origin.note() {
            note!("note: {} {note}", path.display());
        }
        detail!("checkpoint   {} ({}{})", opened.path.display(), opened.layout, opened.origin);
    }
    Ok(opened)
}

/// The same as what evaluation works with, with another preprocessing where the command line says so.
pub(crate) fn checkpoint(args: &CheckpointArgs, set: &EvalSetArgs) -> Result<Checkpoint> {
    let mut opened = open(&args.path, &args.key, &Allow::default())?;
    override_eval(&mut opened, set)?;
    detail!("evaluation   {}", preprocessing(&opened.network));
    Ok(opened.into_checkpoint())
}

/// What is done to images before a network sees them, in words.
pub(crate) fn preprocessing(network: &Network) -> String {
    let said = if network.preprocessing.is_some() { "" } else { " (the official one, as nothing is said)" };
    format!("{}{said}", network.preprocessing())
}

/// The part of a checkpoint's configuration that a command may change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Evaluation {
    eval: EvalConfig,
}

impl Config for Evaluation {
    fn check(&self) -> Result<(), SettingError> {
        self.eval.check()
    }
}

/// Lays `--set eval.…` over what a checkpoint says.
pub(crate) fn override_eval(opened: &mut Opened, set: &EvalSetArgs) -> Result<()> {
    if set.overrides.is_empty() {
        return Ok(());
    }
    if let Some(entry) = set.overrides.iter().find(|entry| !entry.trim_start().starts_with("eval.")) {
        bail!(
            "in --set {entry}: this command takes keys of [eval], such as eval.crop_pct=0.9; the rest is as the \
             checkpoint was trained"
        );
    }
    let eval = opened.recipe.section("eval")?.unwrap_or_default();
    let stored = config::to_toml(&Evaluation { eval })?;
    let Evaluation { eval } = config::parse(&stored, &set.overrides)?;
    let data = opened.recipe.section("data")?.unwrap_or_default();
    opened.set_eval(&data, eval);
    Ok(())
}

/// What opens the checkpoints that runs start from.
pub(crate) fn reader(key: KeyArgs) -> Box<ReadCheckpoint> {
    Box::new(move |path, allow| Ok(open(path, &key, allow)?.into_checkpoint()))
}

/// Fills in what a checkpoint was allowed to lack, with the values that training starts from.
pub(crate) fn fill_in(network: &mut Network) -> Result<()> {
    let device = Device::flex();
    let fresh = match network.kind {
        Kind::Pretraining { decoder_dim, decoder_depth } => {
            let config = fcmae::FcmaeConfig { decoder_dim, decoder_depth, ..Default::default() };
            let fresh = fcmae::Fcmae::new(&config, &network.config, Default::default(), 0, &device)?;
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

/// The configuration that a run has stored, read as what it is: nothing in it is passed over.
fn stored_recipe(file: &Path) -> Result<Recipe, BoxError> {
    let text = match Recipe::load(file)?.has("finetune") {
        true => config::to_toml(&config::load_stored::<FinetuneExperiment>(file)?)?,
        false => config::to_toml(&config::load_stored::<PretrainExperiment>(file)?)?,
    };
    Ok(Recipe::from_text(file, text)?)
}

/// The pretraining experiment that a checkpoint of any origin would have here.
pub(crate) fn pretraining(recipe: &Recipe) -> Result<PretrainExperiment> {
    Ok(config::parse(&recipe.to_toml(), &[])?)
}
