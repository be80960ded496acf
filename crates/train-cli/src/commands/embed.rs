//! `train-cli embed`: features of images.

use anyhow::{Context, Result, bail};
use data::{Format, Labels};
use distributed::Gradients;
use finetune::{FeatureExtractor, FeatureFile, FeatureFormat};
use trainer::Unit;

use crate::args::{EmbedArgs, SplitName};
use crate::checkpoint::checkpoint;
use crate::output::{note, out};
use crate::precision::prepared;
use crate::world::World;

pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    World::enter(args.device.name, Gradients::OnHost, |world| embed(args, world))
}

fn embed(args: &EmbedArgs, world: &World) -> Result<()> {
    let Some(format) = FeatureFormat::of(&args.out) else {
        bail!("--out {}: features go into a .safetensors, a .npy or a .csv file", args.out.display());
    };
    let device = world.device(args.device.name)?;
    let extractor = FeatureExtractor::new(checkpoint(&args.checkpoint, &args.set)?, &device)?;
    let extractor = prepared(args.precision.asked, world.is_leader(), |format| extractor.in_format(format))?;
    if args.split != SplitName::Train && data::splits(&args.data, Format::Auto)?.is_empty() {
        bail!("{} is not divided into parts; leave --split out to take all images", args.data.display());
    }
    let key = &extractor.data.label_key;
    let source = data::open_labelled(&args.data, Format::Auto, args.split.into(), Labels::Ignored, key)?;
    if world.is_leader() && !source.left_out().is_empty() {
        note!("note: left out: {}", source.left_out());
    }
    let width = extractor.width();
    let create = || FeatureFile::create(&args.out, format, &*source, width);
    let mut file = world.is_leader().then(create).transpose()?;
    let bar = world.bar();
    bar.start("embedding", Unit::Items, 0..source.len() as u64);
    extractor
        .for_every_batch(&source, args.batch.images, &**world, |features, _| {
            bar.advance((features.len() / width) as u64);
            file.as_mut().map_or(Ok(()), |file| file.append(features))
        })
        .with_context(|| format!("for {}", args.checkpoint.path.display()))?;
    drop(bar);
    if let Some(file) = file {
        file.finish()?;
        out!("features     {} × {width}: {}", source.len(), args.out.display());
        if format != FeatureFormat::Csv {
            out!("names        {}", FeatureFile::names(&args.out).display());
        }
    }
    Ok(())
}
