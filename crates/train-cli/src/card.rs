//! What a checkpoint and its run tell for a model card, and no more than they know.

use std::path::{Path, PathBuf};

use anyhow::Result;
use checkpoint::{Best, RunDir, STATE_FILE, read_state};
use data::{DataConfig, IMAGES_FILE, ImageList, Split};
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;
use interop::{ModelCard, Opened, Score};
use serde_json::Value;

use crate::hub::PREFIX;

/// The card of a checkpoint. One that was trained here lies in a folder with the state of its run; any other
/// tells nothing but its weights, whatever configuration was made up for it.
pub(crate) fn card(checkpoint: &Opened, license: String, dataset: Option<String>) -> Result<ModelCard> {
    let card = ModelCard { license, dataset, ..ModelCard::default() };
    if !checkpoint.is_ours || !checkpoint.path.join(STATE_FILE).is_file() {
        return Ok(card);
    }
    let (experiment, base_model) = recipe(checkpoint)?;
    let run = run_of(&checkpoint.path);
    Ok(ModelCard {
        base_model,
        score: score(checkpoint, run)?,
        experiment: Some(experiment),
        curves: run.map(|run| RunDir::of_leader(run).curves()).filter(|curves| curves.is_file()),
        ..card
    })
}

/// The configuration without what means something on this machine alone, and the model on the Hub that
/// training started from.
fn recipe(checkpoint: &Opened) -> Result<(String, Option<String>)> {
    let stored = checkpoint.recipe.to_toml();
    if !checkpoint.recipe.has("finetune") {
        let mut experiment: PretrainExperiment = config::parse(&stored, &[])?;
        make_general(&mut experiment.data);
        return Ok((config::to_toml(&experiment)?, None));
    }
    let mut experiment: FinetuneExperiment = config::parse(&stored, &[])?;
    make_general(&mut experiment.data);
    let init = experiment.finetune.init.as_deref().and_then(Path::to_str).map(str::to_owned);
    let source = init.as_deref().and_then(|init| init.strip_prefix(PREFIX));
    // That it began with random weights is known to all as well.
    experiment.finetune.init =
        init.as_ref().filter(|init| source.is_some() || *init == "none").map(PathBuf::from);
    let repo = source.and_then(|source| source.split('@').next()).map(str::to_owned);
    Ok((config::to_toml(&experiment)?, repo))
}

fn make_general(data: &mut DataConfig) {
    data.path = None;
    data.val_csv = data.val_csv.as_deref().and_then(Path::file_name).map(PathBuf::from);
}

/// The run directory of a checkpoint folder.
fn run_of(checkpoint: &Path) -> Option<&Path> {
    checkpoint.parent().filter(|folder| folder.ends_with("checkpoints"))?.parent()
}

/// The accuracy of the network in a checkpoint folder, if it is the one that was evaluated. Other scores
/// than the accuracy have no place on the card.
fn score(checkpoint: &Opened, run: Option<&Path>) -> Result<Option<Score>> {
    let problem = checkpoint.network.problem_type.as_deref();
    if problem.is_some_and(|problem| !problem.starts_with("single")) {
        return Ok(None);
    }
    let state = read_state(&checkpoint.path)?;
    let holds_average = checkpoint.path.file_name().is_some_and(|name| name == "best");
    let is_it = |best: &Best| best.step == state.position.step && (!best.ema || holds_average);
    let Some(best) = state.best.filter(is_it) else { return Ok(None) };
    let data = checkpoint.recipe.section::<DataConfig>("data")?.and_then(|data| data.path);
    let list = ImageList::read(&checkpoint.path.join(IMAGES_FILE))?;
    Ok(Some(Score {
        top1: best.score,
        // Among five classes or fewer, all are right.
        top5: run.and_then(|run| top5(run, &best)).filter(|_| checkpoint.network.config.num_labels > 5),
        step: best.step,
        ema: best.ema,
        data: data.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()),
        split: Split::Val.to_string(),
        images: list.map(|list| list.count(Split::Val)),
    }))
}

/// What the log of a run says of its best network.
fn top5(run: &Path, best: &Best) -> Option<f64> {
    let log = std::fs::read_to_string(RunDir::of_leader(run).log()).ok()?;
    let prefix = if best.ema { "ema_val_" } else { "val_" };
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let number = |line: &Value, name: &str| line[format!("{prefix}{name}")].as_f64();
    let line = lines.find(|line| line["step"] == best.step && number(line, "top1") == Some(best.score))?;
    number(&line, "top5")
}
