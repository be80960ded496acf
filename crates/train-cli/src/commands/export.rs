//! `train-cli export`: a checkpoint as another program's.

use anyhow::{Context, Result};
use interop::{Format, export};
use trainer::Unit;

use crate::args::{ExportArgs, ExportFormat};
use crate::card::card;
use crate::checkpoint::{fill_in, open, override_eval};
use crate::output::{self, out};

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
        ExportFormat::Onnx => Format::Onnx,
    };
    let mut card = card(&checkpoint, args.license.clone(), args.dataset.clone())?;
    if !args.set.overrides.is_empty() || !args.allow.allow_missing.is_empty() {
        // Another preprocessing, or other weights, than were measured.
        card.score = None;
    }
    let bar = output::bar();
    bar.start(&format!("writing {}", args.out.display()), Unit::Items, 0..0);
    let files = export(&checkpoint.network, format, &card, &args.out)?;
    drop(bar);
    files.iter().for_each(|file| out!("{}", file.display()));
    for difference in checkpoint.network.preprocessing().differences(format) {
        out!("note: {difference}");
    }
    Ok(())
}
