//! `train-cli embed`: features of images; `train-cli probe`: how well they tell classes apart.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use data::{Format, ImageSource, Labels, Loader, Position, Split};
use finetune::{Features, knn};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use trainer::TrainError;

use crate::args::{EmbedArgs, ProbeArgs};
use crate::checkpoint::FeatureExtractor;
use crate::classification::{evaluation_loader, logits};
use crate::world::World;

pub(crate) fn run(args: &EmbedArgs) -> Result<()> {
    World::enter(args.device, |world| embed(args, world))
}

fn embed(args: &EmbedArgs, world: &World) -> Result<()> {
    let device = world.device(args.device)?;
    let extractor = FeatureExtractor::open(&args.checkpoint, &device)?;
    let source = data::open(&args.data, Format::Auto, Split::Train, Labels::Ignored)?;
    let (features, labels) = extract(&extractor, &source, args.batch, &device, world)?;
    if !world.is_leader() {
        return Ok(());
    }
    let names: Vec<String> = (0..source.len()).map(|index| source.name(index)).collect();
    write(&args.out, &features, &labels, &names)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let width = features.len() / names.len();
    println!("features     {} × {width}: {}", names.len(), args.out.display());
    Ok(())
}

/// Features of every image, row by row, and classes where there are any. Each process computes its
/// part.
fn extract(
    extractor: &FeatureExtractor,
    source: &Arc<dyn ImageSource>,
    batch: usize,
    device: &Device,
    world: &World,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let channels = extractor.model.num_channels;
    let loader = evaluation_loader(source, &extractor.data, channels, batch, world.shard())?;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for batch in loader.batches(Position { epoch: 0, batch: 0 }) {
        let batch = batch.map_err(TrainError::data)?;
        // Without a head, the network gives its features.
        features.extend(logits(&extractor.network, batch.images, batch.shape, device));
        labels.extend(batch.labels);
    }
    Ok((
        everyones(&features, &loader, source.len(), world)?,
        everyones(&labels, &loader, source.len(), world)?,
    ))
}

/// What all processes found, in the order of the source: the same count of numbers for each image.
fn everyones<T: Number>(own: &[T], loader: &Loader, images: usize, world: &World) -> Result<Vec<T>> {
    if world.world_size() == 1 {
        return Ok(own.to_vec());
    }
    let bytes: Vec<u8> = own.iter().flat_map(|number| number.to_bytes()).collect();
    let found = world.all_gather(&bytes)?;
    let width = found.iter().map(Vec::len).sum::<usize>() / images;
    let rows = |bytes: Vec<u8>| bytes.chunks(width.max(1)).map(<[u8]>::to_vec).collect();
    let all = loader.in_order(found.into_iter().map(rows).collect()).concat();
    Ok(all.as_chunks().0.iter().map(|bytes| T::from_bytes(*bytes)).collect())
}

/// A number of four bytes.
trait Number: Copy {
    fn to_bytes(self) -> [u8; 4];
    fn from_bytes(bytes: [u8; 4]) -> Self;
}

impl Number for f32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Number for u32 {
    fn to_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

fn write(path: &Path, features: &[f32], labels: &[u32], names: &[String]) -> Result<()> {
    let bytes: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
    let label_bytes: Vec<u8> = labels.iter().flat_map(|l| i64::from(*l).to_le_bytes()).collect();
    let shape = vec![names.len(), features.len() / names.len()];
    let mut tensors = vec![("features", TensorView::new(Dtype::F32, shape, &bytes)?)];
    if labels.len() == names.len() {
        tensors.push(("labels", TensorView::new(Dtype::I64, vec![labels.len()], &label_bytes)?));
    }
    let metadata = HashMap::from([("names".to_owned(), serde_json::to_string(names)?)]);
    std::fs::write(path, safetensors::serialize(tensors, Some(metadata))?)?;
    Ok(())
}

/// What `probe --json` prints.
#[derive(Serialize)]
struct Report {
    probe: &'static str,
    k: usize,
    training_images: usize,
    images: u64,
    /// 0 to 1.
    top1: f64,
    top5: f64,
}

pub(crate) fn probe(args: &ProbeArgs) -> Result<()> {
    World::enter(args.device, |world| probe_together(args, world))
}

fn probe_together(args: &ProbeArgs, world: &World) -> Result<()> {
    let device = world.device(args.device)?;
    let extractor = FeatureExtractor::open(&args.checkpoint, &device)?;
    let open = |split| data::open(&args.data, Format::Auto, split, Labels::Required);
    let (training, test) = (open(Split::Train)?, open(Split::Val)?);
    let features = |source| extract(&extractor, source, args.batch, &device, world);
    let ((known, known_labels), (asked, asked_labels)) = (features(&training)?, features(&test)?);
    if !world.is_leader() {
        return Ok(());
    }
    let tally = knn(
        Features { values: &known, labels: &known_labels },
        Features { values: &asked, labels: &asked_labels },
        training.classes().len(),
        args.k,
    );
    let report = Report {
        probe: "knn",
        k: args.k,
        training_images: training.len(),
        images: tally.images,
        top1: tally.top1_accuracy(),
        top5: tally.top5_accuracy(),
    };
    match args.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => println!(
            "{} nearest of {} images: top-1 {:.2}%, top-5 {:.2}% of {}",
            args.k,
            report.training_images,
            100.0 * report.top1,
            100.0 * report.top5,
            report.images
        ),
    }
    Ok(())
}
