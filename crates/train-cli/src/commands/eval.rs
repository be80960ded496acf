//! `train-cli eval`: how often a classifier is right.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use data::{Labels, Split};
use serde::Serialize;

use crate::args::EvalArgs;
use crate::checkpoint::Classifier;
use crate::classification::{Data, evaluate, evaluation_loader};
use crate::world::World;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    checkpoint: String,
    images: u64,
    /// 0 to 1, as all accuracies.
    top1: f64,
    top5: f64,
    loss: f64,
    img_per_s: f64,
}

/// What `--confusion` writes.
#[derive(Serialize)]
struct Confusion<'a> {
    classes: &'a [String],
    class_accuracy: Vec<Option<f64>>,
    /// True class by predicted class.
    counts: Vec<&'a [u64]>,
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    World::enter(args.device, |world| eval(args, world))
}

fn eval(args: &EvalArgs, world: &World) -> Result<()> {
    let device = world.device(args.device)?;
    let classifier = Classifier::open(&args.checkpoint, &device)?;
    let mut config = classifier.config.clone();
    let source = match &args.data {
        None => Data::open(&config)?.validation,
        Some(path) => {
            config.data.path = Some(path.clone());
            data::open(path, config.data.format, Split::Val, Labels::Required)?
        }
    };
    let classes = &config.finetune.classes;
    if source.classes() != classes {
        let unknown = source.classes().iter().find(|class| !classes.contains(class));
        match unknown {
            Some(class) => bail!(
                "class {class} is not among the {} that {} knows",
                classes.len(),
                args.checkpoint.display()
            ),
            None => bail!(
                "these images have {} of the {} classes of {}",
                source.classes().len(),
                classes.len(),
                args.checkpoint.display()
            ),
        }
    }
    let channels = classifier.model.num_channels;
    let loader = evaluation_loader(&source, &config.data, channels, args.batch, world.shard())?;
    let start = Instant::now();
    let tally = evaluate(&classifier.network, &loader, classes.len(), &device, &**world)?;
    if !world.is_leader() {
        return Ok(());
    }
    let report = Report {
        checkpoint: classifier.folder.display().to_string(),
        images: tally.images,
        top1: tally.top1_accuracy(),
        top5: tally.top5_accuracy(),
        loss: tally.loss(),
        img_per_s: tally.images as f64 / start.elapsed().as_secs_f64(),
    };
    if let Some(path) = &args.confusion {
        let counts = tally.confusion.chunks_exact(classes.len()).collect();
        let confusion = Confusion { classes, class_accuracy: tally.class_accuracy(), counts };
        fs::write(path, serde_json::to_string_pretty(&confusion)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("checkpoint   {}", report.checkpoint);
    println!("images       {}, {:.0} img/s", report.images, report.img_per_s);
    println!("accuracy     top-1 {:.2}%, top-5 {:.2}%", 100.0 * report.top1, 100.0 * report.top5);
    println!("loss         {:.4}", report.loss);
    println!("\nclass                 accuracy");
    for (class, accuracy) in classes.iter().zip(tally.class_accuracy()) {
        match accuracy {
            Some(accuracy) => println!("{class:<20}  {:>7.2}%", 100.0 * accuracy),
            None => println!("{class:<20}  no image"),
        }
    }
    Ok(())
}
