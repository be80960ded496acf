//! `train-cli probe`: how well the features of an encoder tell classes apart.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use data::{IMAGES_FILE, ImageList, ImageSource, Judged, Split, Task, with_classes};
use distributed::Gradients;
use finetune::{FeatureExtractor, knn, linear_probe};
use serde::Serialize;
use trainer::Unit;

use crate::args::{PrecisionName, ProbeArgs, ProbeKind};
use crate::checkpoint::checkpoint;
use crate::output::{self, note, out};
use crate::precision::prepared;
use crate::world::World;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    probe: ProbeKind,
    checkpoint: String,
    precision: PrecisionName,
    k: Option<usize>,
    l2: Option<f64>,
    train_images: usize,
    /// Images that are judged.
    images: u64,
    /// 0 to 1.
    top1: f64,
    top5: f64,
}

pub(crate) fn run(args: &ProbeArgs) -> Result<()> {
    World::enter(args.device.name, Gradients::OnHost, |world| probe(args, world))
}

fn probe(args: &ProbeArgs, world: &World) -> Result<()> {
    let device = world.device(args.device.name)?;
    let extractor = FeatureExtractor::new(checkpoint(&args.checkpoint, &args.set)?, &device)?;
    let extractor = prepared(args.precision.asked, world.is_leader(), |format| extractor.in_format(format))?;
    let list = ImageList::read(&extractor.path.join(IMAGES_FILE))?;
    let open = |split| Judged::open(&extractor.data, Some(&args.data), Some(split), list.as_ref());
    let (training, judged) = (open(Split::Train)?, open(Split::Val)?);
    if world.is_leader() {
        for (what, images) in [("training", &training), ("judged", &judged)] {
            images.remarks().iter().for_each(|remark| note!("note: {what} images: {remark}"));
        }
    }
    let training = training.images;
    let test = judged.images;
    if training.task() != Task::Class {
        bail!("probes tell one class an image; {} has other targets", args.data.display());
    }
    let test = with_classes(test, training.classes())?;
    if let Some(k) = args.k.filter(|k| *k > training.len() && world.is_leader()) {
        note!("note: --k {k} is more than the {} training images, which all vote", training.len());
    }
    let bar = world.bar();
    let embedded = |what, source: &Arc<dyn ImageSource>| {
        bar.start(what, Unit::Items, 0..source.len() as u64);
        extractor
            .embed(source, args.batch.images, &**world, &|images| bar.advance(images))
            .with_context(|| format!("for {}", args.checkpoint.path.display()))
    };
    let known = embedded("embedding training images", &training)?;
    let asked = embedded("embedding judged images", &test)?;
    if !world.is_leader() {
        return Ok(());
    }
    bar.start("judging the features", Unit::Items, 0..0);
    let [known, asked] = [known.labelled(), asked.labelled()];
    let classes = training.classes().len();
    let tally = match (args.kind, args.k, args.l2) {
        (ProbeKind::Knn, Some(k), None) => knn(known, asked, classes, k),
        (ProbeKind::Linear, None, Some(l2)) => linear_probe(known, asked, classes, l2, &device.autodiff()),
        (ProbeKind::Knn, ..) => bail!("--l2 is for the linear probe"),
        (ProbeKind::Linear, ..) => bail!("--k is for the nearest neighbours (probe knn)"),
    };
    drop(bar);
    let report = Report {
        probe: args.kind,
        checkpoint: extractor.path.display().to_string(),
        precision: args.precision.asked,
        k: args.k,
        l2: args.l2,
        train_images: training.len(),
        images: tally.images,
        top1: tally.top1_accuracy(),
        top5: tally.top5_accuracy(),
    };
    if args.json {
        return output::json(&report);
    }
    let judge = match args.kind {
        ProbeKind::Knn => "nearest neighbours among",
        ProbeKind::Linear => "linear classifier of",
    };
    out!("probe        {judge} {} images", report.train_images);
    out!("images       {}", report.images);
    out!("accuracy     top-1 {:.2}%, top-5 {:.2}%", 100.0 * report.top1, 100.0 * report.top5);
    Ok(())
}
