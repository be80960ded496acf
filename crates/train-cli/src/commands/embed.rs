//! `train-cli embed`: features of images.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use data::{Format, ImageSource, Labels, Split};
use safetensors::tensor::{Dtype, TensorView};

use crate::args::{EmbedArgs, SplitName};
use crate::checkpoint::FeatureExtractor;
use crate::classification::{evaluation_loader, for_every_batch};
use crate::world::World;

pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    World::enter(args.device, |world| embed(args, world))
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
    let device = world.device(args.device)?;
    let extractor = FeatureExtractor::open(&args.checkpoint, &device)?;
    let source = data::open(&args.data, Format::Auto, split, Labels::Ignored)?;
    let embedded = Embedded::of(&extractor, &source, args.batch, &device, world)?;
    if !world.is_leader() {
        return Ok(());
    }
    write(&args.out, &embedded).with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("features     {} × {}: {}", embedded.names.len(), embedded.width(), args.out.display());
    Ok(())
}

/// Images as an encoder sees them.
pub(crate) struct Embedded {
    /// `[images, width]`.
    pub(crate) features: Vec<f32>,
    /// A class an image, where there are any.
    pub(crate) labels: Vec<u32>,
    names: Vec<String>,
}

impl Embedded {
    /// Features of every image of a source. Each process computes its part, and has all in the end.
    pub(crate) fn of(
        extractor: &FeatureExtractor,
        source: &Arc<dyn ImageSource>,
        batch: usize,
        device: &Device,
        world: &World,
    ) -> Result<Self> {
        let channels = extractor.model.num_channels;
        let loader = evaluation_loader(source, &extractor.data, channels, batch, world.shard())?;
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        // Without a head, the network gives its features.
        for_every_batch(&extractor.network, &loader, device, &**world, |found, classes, _| {
            features.extend_from_slice(found);
            labels.extend_from_slice(classes);
        })?;
        let names = (0..source.len()).map(|index| source.name(index)).collect();
        Ok(Self { features, labels, names })
    }

    fn width(&self) -> usize {
        self.features.len() / self.names.len()
    }
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
