//! `train-cli import`: a checkpoint of another program as one of ours.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use checkpoint::{CONFIG_FILE, MODEL_FILE};
use interop::{Kind, Opened};
use whole::NewFolder;

use crate::args::ImportArgs;
use crate::checkpoint::{fill_in, open, preprocessing};
use crate::output::out;

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let mut checkpoint = open(&args.source, &args.key, &args.allow.patterns())?;
    checkpoint.network.weights.require_finite().with_context(|| args.source.display().to_string())?;
    if !args.allow.allow_missing.is_empty() {
        fill_in(&mut checkpoint.network)?;
    }
    let folder = match NewFolder::create(&args.out) {
        Err(refused) if refused.error.kind() == ErrorKind::DirectoryNotEmpty => {
            bail!("{} is not empty; name a new directory", args.out.display())
        }
        folder => folder?,
    };
    let write = || -> Result<()> {
        fs::write(folder.part().join(CONFIG_FILE), checkpoint.recipe.to_toml())?;
        Ok(checkpoint.network.weights.save(&folder.part().join(MODEL_FILE))?)
    };
    write().with_context(|| format!("cannot write {}", args.out.display()))?;
    folder.finish()?;
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
