//! `train-cli embed`: features of images.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use data::{Format, Labels, Split};
use finetune::{Embedded, FeatureExtractor};
use safetensors::tensor::{Dtype, TensorView};

use crate::args::{EmbedArgs, SplitName};
use crate::checkpoint::checkpoint;
use crate::output::out;
use crate::world::World;

pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    World::enter(args.device.name, |world| embed(args, world))
}

fn embed(args: &EmbedArgs, world: &World) -> Result<()> {
    let write = match args.out.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => write_safetensors,
        Some("npy") => write_npy,
        _ => bail!("--out {}: features go into a .safetensors or a .npy file", args.out.display()),
    };
    let split = match args.split {
        SplitName::Train => Split::Train,
        SplitName::Val => Split::Val,
    };
    let device = world.device(args.device.name)?;
    let extractor = FeatureExtractor::new(checkpoint(&args.checkpoint.path)?, &device)?;
    let source = data::open(&args.data, Format::Auto, split, Labels::Ignored)?;
    let embedded = extractor.embed(&source, args.batch.images, &**world)?;
    if !world.is_leader() {
        return Ok(());
    }
    write(&args.out, &embedded).with_context(|| format!("cannot write {}", args.out.display()))?;
    out!("features     {} × {}: {}", embedded.names.len(), embedded.width(), args.out.display());
    Ok(())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn write_safetensors(path: &Path, embedded: &Embedded) -> Result<()> {
    let Embedded { features, labels, names } = embedded;
    let features = bytes(features);
    let label_bytes: Vec<u8> = labels.iter().flat_map(|l| i64::from(*l).to_le_bytes()).collect();
    let shape = vec![names.len(), embedded.width()];
    let mut tensors = vec![("features", TensorView::new(Dtype::F32, shape, &features)?)];
    if labels.len() == names.len() {
        tensors.push(("labels", TensorView::new(Dtype::I64, vec![labels.len()], &label_bytes)?));
    }
    let metadata = HashMap::from([("names".to_owned(), serde_json::to_string(names)?)]);
    std::fs::write(path, safetensors::serialize(tensors, Some(metadata))?)?;
    Ok(())
}

/// NumPy's format, version 1.0: magic, length of the header, a header padded to 64 bytes, values.
fn write_npy(path: &Path, embedded: &Embedded) -> Result<()> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let shape = (embedded.names.len(), embedded.width());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
    let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    header = format!("{header:<width$}\n", width = length - 1);
    let file = [MAGIC, &(length as u16).to_le_bytes(), header.as_bytes(), &bytes(&embedded.features)];
    Ok(std::fs::write(path, file.concat())?)
}
