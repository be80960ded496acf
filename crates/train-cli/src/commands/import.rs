//! `train-cli import`: a checkpoint of another program as one of ours.

use std::fs;

use anyhow::{Context, Result, bail};
use checkpoint::{CONFIG_FILE, MODEL_FILE};
use interop::{Kind, Opened};

use crate::args::ImportArgs;
use crate::checkpoint::{fill_in, open, preprocessing};
use crate::output::out;

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let mut checkpoint = open(&args.source, &args.key, &args.allow.patterns())?;
    checkpoint.network.weights.require_finite().with_context(|| args.source.display().to_string())?;
    if !args.allow.allow_missing.is_empty() {
        fill_in(&mut checkpoint.network)?;
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    if fs::read_dir(&args.out)?.next().is_some() {
        bail!("{} is not empty; name a new directory", args.out.display());
    }
    let config = args.out.join(CONFIG_FILE);
    fs::write(&config, checkpoint.recipe.to_toml())
        .with_context(|| format!("cannot write {}", config.display()))?;
    checkpoint.network.weights.save(&args.out.join(MODEL_FILE))?;
    show(&checkpoint);
    out!("checkpoint   {} ({CONFIG_FILE}, {MODEL_FILE})", args.out.display());
    Ok(())
}

fn show(checkpoint: &Opened) {
    let network = &checkpoint.network;
    out!("source       {} ({}{})", checkpoint.path.display(), checkpoint.layout, checkpoint.origin);
    out!("model        depths {:?}, channels {:?}", network.config.depths, network.config.hidden_sizes);
    match network.kind {
        Kind::Pretraining { decoder_dim, decoder_depth } => {
            out!("decoder      {decoder_depth} blocks of {decoder_dim} channels");
        }
        Kind::Encoder | Kind::Backbone => out!("decoder      none, an encoder alone"),
        Kind::Classifier if network.labels.is_none() => {
            out!("classes      {}, without names", network.config.num_labels);
        }
        Kind::Classifier => out!("classes      {}", network.config.num_labels),
    }
    out!("tensors      {}", network.weights.len());
    out!("evaluation   {}", preprocessing(network));
}
