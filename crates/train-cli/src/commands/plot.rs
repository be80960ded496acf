//! `train-cli plot`: curves of several runs over each other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use checkpoint::{CONFIG_FILE, Recipe};
use data::shown;
use trainer::{History, draw_runs};

use crate::args::PlotArgs;
use crate::output::out;

pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let runs = args.runs.iter().map(|run| history(run, &args.runs)).collect::<Result<Vec<_>>>()?;
    drawing::save(&draw_runs(&runs)?, &args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    out!("picture      {}", args.out.display());
    Ok(())
}

/// What a run is called beside the others of `all`: after its folder, unless another one has the same name.
pub(crate) fn name(run: &Path, all: &[PathBuf]) -> String {
    let namesakes = all.iter().filter(|other| other.file_name() == run.file_name()).count();
    match run.file_name() {
        Some(name) if namesakes == 1 => shown(name),
        _ => shown(run),
    }
}

/// The log of a run, one of `all`.
fn history(run: &Path, all: &[PathBuf]) -> Result<History> {
    let mut history = History::read(run)?;
    history.name = name(run, all);
    let is_classifier = Recipe::load(&run.join(CONFIG_FILE))?.has("finetune");
    history.objective = if is_classifier { "fine-tuning" } else { "pretraining" };
    Ok(history)
}
