//! `train-cli embed`: features of images.

use anyhow::{Context, Result, bail};
use data::{Format, Labels};
use finetune::{Embedded, FeatureExtractor};

use crate::args::EmbedArgs;
use crate::checkpoint::checkpoint;
use crate::output::out;
use crate::world::World;

pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    World::enter(args.device.name, |world| embed(args, world))
}

fn embed(args: &EmbedArgs, world: &World) -> Result<()> {
    let write = match args.out.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => Embedded::write_safetensors,
        Some("npy") => Embedded::write_npy,
        _ => bail!("--out {}: features go into a .safetensors or a .npy file", args.out.display()),
    };
    let device = world.device(args.device.name)?;
    let extractor = FeatureExtractor::new(checkpoint(&args.checkpoint)?, &device)?;
    let source = data::open(&args.data, Format::Auto, args.split.into(), Labels::Ignored)?;
    let embedded = extractor.embed(&source, args.batch.images, &**world)?;
    if !world.is_leader() {
        return Ok(());
    }
    write(&embedded, &args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    out!("features     {} × {}: {}", embedded.names.len(), embedded.width(), args.out.display());
    Ok(())
}
