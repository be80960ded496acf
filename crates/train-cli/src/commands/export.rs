//! `train-cli export`: a checkpoint as another program's.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use checkpoint::{StateDict, read_state};
use finetune::FeatureExtractor;
use interop::onnx::{self, Metadata};
use interop::{Format, Kind, ModelCard, Opened, Preprocessing, Score, export};
use model::official_name;

use crate::args::{ExportArgs, ExportFormat};
use crate::checkpoint::{fill_in, open, override_eval};
use crate::output::out;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let mut checkpoint = open(&args.checkpoint.path, &args.checkpoint.key, &args.allow.patterns())?;
    override_eval(&mut checkpoint, &args.set)?;
    checkpoint
        .network
        .weights
        .require_finite()
        .with_context(|| args.checkpoint.path.display().to_string())?;
    if !args.allow.allow_missing.is_empty() {
        fill_in(&mut checkpoint.network)?;
    }
    let format = match args.format {
        ExportFormat::Hf => Format::Transformers,
        ExportFormat::Timm => Format::Timm,
        ExportFormat::Official => Format::Official,
        ExportFormat::Onnx => return export_onnx(args, checkpoint),
    };
    let card = card(args, &checkpoint)?;
    for file in export(&checkpoint.network, format, &card, &args.out)? {
        out!("{}", file.display());
    }
    for difference in checkpoint.network.preprocessing().differences(format) {
        out!("note: {difference}");
    }
    Ok(())
}

/// A classifier with its logits; an encoder with its features.
fn export_onnx(args: &ExportArgs, checkpoint: Opened) -> Result<()> {
    let Preprocessing { size, mean, std, .. } = checkpoint.network.preprocessing();
    let labels = checkpoint.network.labels.clone().unwrap_or_default();
    let metadata = Metadata { labels, image_size: Some(size), image_mean: mean, image_std: std };
    let (config, weights) = match checkpoint.network.kind {
        Kind::Classifier => (checkpoint.network.config, checkpoint.network.weights),
        _ => {
            let features = FeatureExtractor::new(checkpoint.into_checkpoint(), &Device::flex())?;
            (features.model, StateDict::of_module(&features.network, &official_name))
        }
    };
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let file = args.out.join("model.onnx");
    onnx::write(&config, &weights, &metadata, &file)?;
    out!("{}", file.display());
    Ok(())
}

fn card(args: &ExportArgs, checkpoint: &Opened) -> Result<ModelCard> {
    let name = args.out.file_name().map(|name| name.to_string_lossy().into_owned());
    // Other scores than the accuracy have no place on the card.
    let counts = checkpoint.network.problem_type.as_deref().is_none_or(|name| name.starts_with("single"));
    let data = checkpoint.recipe.section::<data::DataConfig>("data")?.and_then(|data| data.path);
    let data = data.as_deref().and_then(Path::file_name);
    Ok(ModelCard {
        name: name.unwrap_or_else(|| "ConvNeXt V2".to_owned()),
        license: args.license.clone(),
        dataset: data.map(|name| name.to_string_lossy().into_owned()),
        score: if counts { score(&checkpoint.path) } else { None },
        experiment: checkpoint.is_ours.then(|| checkpoint.recipe.to_toml()),
    })
}

/// The accuracy of the network in a checkpoint folder, if it is the one that was evaluated.
fn score(folder: &Path) -> Option<Score> {
    let state = read_state(folder).ok()?;
    let best = state.best.filter(|best| best.step == state.position.step)?;
    let holds_average = folder.file_name().is_some_and(|name| name == "best");
    (!best.ema || holds_average).then_some(Score { top1: best.score, step: best.step })
}
