//! `train-cli data pack`: images into tar shards.

use anyhow::Result;
use data::{PackOptions, PackStage, Resize, ShardLimits};
use trainer::Unit;

use super::{count, parts, settings};
use crate::args::DataPackArgs;
use crate::output::{self, note, out};

/// Quality of JPEGs, unless another one is wanted.
const QUALITY: u8 = 92;

pub(crate) fn run(args: &DataPackArgs) -> Result<()> {
    let settings = settings(&args.images)?;
    let parts = parts(&settings)?;
    for left_out in parts.iter().map(|part| &part.left_out).filter(|left_out| !left_out.is_empty()) {
        note!("note: left out: {left_out}");
    }
    let options = options(args, settings.data.decode(settings.channels));
    let (bar, mut verifies) = (output::bar(), false);
    bar.start("packing", Unit::Items, 0..count(&parts) as u64);
    let packed = data::pack(&settings.data, &parts, &args.out, &options, &mut |stage, done, all| {
        if stage == PackStage::Verify && !verifies {
            verifies = true;
            bar.start("reading back", Unit::Bytes, 0..all);
        }
        bar.reach(done);
    })?;
    drop(bar);
    if packed.before > 0 {
        out!("kept         {} images in shards that were complete already", packed.before);
    }
    if args.short_side.is_some() {
        out!("resized      {} of the other {}", packed.resized, packed.images - packed.before);
    }
    for (name, reason) in &packed.kept {
        out!("as it is     {name}: {reason}");
    }
    let megabytes = packed.bytes as f64 / 1e6;
    out!(
        "packed       {} images in {} shards, {megabytes:.1} MB, read back",
        packed.images,
        packed.shards.len()
    );
    out!("written      {}", args.out.display());
    Ok(())
}

fn options(args: &DataPackArgs, decode: data::DecodeOptions) -> PackOptions {
    let quality = args.quality.unwrap_or(QUALITY);
    PackOptions {
        resize: args
            .short_side
            .map(|side| Resize { short_side: u32::try_from(side).unwrap_or(u32::MAX), quality }),
        limits: ShardLimits {
            images: args.shard_images,
            bytes: (args.shard_size as u64).saturating_mul(1_000_000),
        },
        overwrite: args.overwrite,
        decode,
    }
}
