//! `train-cli predict`: classes of images.

use std::io::stdin;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use data::source::{ImageFiles, ImageFolder};
use data::{Batch, ClassMap, ImageSource, Naming, Pixels, Shard, evaluation_loader, shown};
use finetune::{Classifier, Explained, MOST_HEATMAPS, ProblemType, draw_heatmaps, heatmap};
use serde::Serialize;
use trainer::{Bar, Unit, readable};

use crate::args::{PrecisionName, PredictArgs};
use crate::checkpoint::checkpoint;
use crate::output::{self, note, out};
use crate::precision::prepared;
use crate::world::computing;

/// A class and its probability, as transformers' image-classification pipeline has them; or a number
/// and its name.
#[derive(Serialize)]
struct Prediction<'a> {
    label: &'a str,
    score: f32,
}

/// What `--json` prints for an image.
#[derive(Serialize)]
struct Row<'a> {
    image: String,
    predictions: Vec<Prediction<'a>>,
    /// Outputs of the head, in the order of the classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<&'a [f32]>,
}

pub(crate) fn run(args: &PredictArgs) -> Result<()> {
    computing(args.device.name, || predict_all(args))
}

fn predict_all(args: &PredictArgs) -> Result<()> {
    if args.heatmap.is_some() && args.precision.asked == PrecisionName::Int8 {
        bail!("--heatmap follows the gradients of the network in f32; leave --precision int8 out");
    }
    let device = args.device.name.device()?;
    let classifier = Classifier::new(checkpoint(&args.checkpoint, &args.set)?, &device)?;
    let mut classifier = prepared(args.precision.asked, true, |format| classifier.in_format(format))?;
    match &args.class_map {
        Some(file) => classifier.classes = ClassMap::load(file)?.names(&classifier.classes)?,
        None if classifier.naming == Naming::ImageNet => note!(
            "note: {} names no classes; its 1000 are taken for ImageNet's",
            args.checkpoint.path.display()
        ),
        None => {}
    }
    let decode = classifier.data.decode(classifier.model.num_channels);
    let images = Arc::new(ImageFiles::new(files(&args.inputs)?, decode));
    let source: Arc<dyn ImageSource> = Arc::clone(&images) as _;
    if args.heatmap.is_some() && source.len() > MOST_HEATMAPS {
        bail!("--heatmap draws at most {MOST_HEATMAPS} images on a picture, found {}", source.len());
    }
    let bar = output::bar();
    bar.start("predicting", Unit::Items, 0..source.len() as u64);
    if args.csv {
        out!("{}", csv_line(["image", "rank", "label", "score"])?);
    }
    let (channels, batch) = (classifier.model.num_channels, args.batch.images);
    let Classifier { data, eval, .. } = &classifier;
    let loader = evaluation_loader(&source, data, eval, channels, batch, Shard::default())?;
    let (mut unreadable, mut explained) = (0, Vec::new());
    for batch in loader.batches(0, 0) {
        if output::is_gone() {
            break;
        }
        let batch = batch?;
        let count = batch.indices.len();
        unreadable += predict(args, &classifier, &images, batch, &bar, &mut explained)?;
        bar.advance(count as u64);
    }
    drop(bar);
    if let Some(path) = args.heatmap.as_ref().filter(|_| !explained.is_empty()) {
        let picture = draw_heatmaps(&explained, args.heatmap_strength);
        drawing::save(&picture, path).with_context(|| format!("cannot write {}", path.display()))?;
        match args.csv {
            // Not among rows that another program reads.
            true => note!("heat map     {}", path.display()),
            false => out!("heat map     {}", path.display()),
        }
    }
    match unreadable {
        0 => Ok(()),
        count if count == source.len() => bail!("none of the {count} images can be read"),
        count => {
            output::say(format_args!("{count} of {} images cannot be read", source.len()));
            Ok(())
        }
    }
}

/// Classes of one batch of images; returns how many of them cannot be read.
fn predict(
    args: &PredictArgs,
    classifier: &Classifier,
    images: &ImageFiles,
    batch: Batch,
    bar: &Bar,
    explained: &mut Vec<Explained>,
) -> Result<usize> {
    let (indices, shape) = (batch.indices, batch.shape);
    let errors: Vec<_> = indices.iter().map(|index| images.unreadable(*index as usize)).collect();
    for error in errors.iter().flatten() {
        bar.suspend(|| output::say(format_args!("skipped: {error}")));
    }
    let unreadable = errors.iter().flatten().count();
    if unreadable == errors.len() {
        return Ok(unreadable);
    }
    let Pixels::F32(values) = batch.pixels else { bail!("images to predict on have to be normalised") };
    let Classifier { classes, problem, .. } = classifier;
    // Kept for the maps that explain the images, if they are wanted.
    let kept = args.heatmap.is_some().then(|| values.clone());
    let all = classifier
        .logits(values, shape, args.tta.views())
        .with_context(|| format!("for {}", args.checkpoint.path.display()))?;
    let rows = indices.iter().zip(&errors).zip(all.chunks_exact(classes.len())).enumerate();
    for (row, ((index, _), logits)) in rows.filter(|(_, ((_, error), _))| error.is_none()) {
        let name = images.path(*index as usize);
        let ranked = classifier.ranked(logits);
        if let Some(values) = &kept {
            let size = values.len() / errors.len();
            let image = (values[row * size..][..size].to_vec(), [1, shape[1], shape[2], shape[3]]);
            explained.push(explain(args, classifier, image, ranked[0], name)?);
        }
        // All numbers were asked for, not the largest of them.
        let count = if *problem == ProblemType::Regression { ranked.len() } else { args.top_k };
        let top = ranked.into_iter().take(count);
        let predictions = top.map(|(class, score)| Prediction { label: &classes[class], score });
        let row = Row {
            image: shown(name),
            predictions: predictions.collect(),
            logits: args.logits.then_some(logits),
        };
        bar.suspend(|| show(args, &row, *problem))?;
    }
    Ok(unreadable)
}

fn show(args: &PredictArgs, row: &Row, problem: ProblemType) -> Result<()> {
    match (args.json, args.csv) {
        (true, _) => return output::json(row),
        (_, true) => out!("{}", csv_table(row)?),
        _ => out!("{}", table(row, problem).trim_end()),
    }
    Ok(())
}

fn table(row: &Row, problem: ProblemType) -> String {
    let line = |Prediction { label, score }: &Prediction| match problem {
        ProblemType::Regression => format!("  {:>10}  {label}\n", readable(f64::from(*score))),
        _ => format!("  {:>6.2}%  {label}\n", 100.0 * score),
    };
    format!("{}\n{}", row.image, row.predictions.iter().map(line).collect::<String>())
}

/// A line for each prediction: image, rank, label, score.
fn csv_table(row: &Row) -> Result<String> {
    let lines = row.predictions.iter().enumerate().map(|(rank, Prediction { label, score })| {
        csv_line([&row.image[..], &(rank + 1).to_string(), label, &format!("{score:.6}")])
    });
    Ok(lines.collect::<Result<Vec<_>>>()?.join("\n"))
}

fn csv_line(fields: [&str; 4]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    Ok(String::from_utf8(writer.into_inner()?)?.trim_end().to_owned())
}

/// Where the score of an image's first class comes from.
fn explain(
    args: &PredictArgs,
    classifier: &Classifier,
    (values, shape): (Vec<f32>, [usize; 4]),
    (class, score): (usize, f32),
    file: &Path,
) -> Result<Explained> {
    let (transform, _) = classifier.preprocessing()?;
    // The part of the image that the network sees.
    let decode = classifier.data.decode(classifier.model.num_channels);
    let photo = transform.prepare(&data::decode_file(file, decode)?).into_rgb();
    let device = args.device.name.device()?.autodiff();
    let image = host::floats(values, shape, &device);
    let (sites, map) = heatmap(&classifier.inference.network().clone().train(), image, class)?;
    let label = &classifier.classes[class];
    let caption = match classifier.problem {
        ProblemType::Regression => format!("{label}: {score:.4}"),
        _ => format!("{label}, {:.1} %", 100.0 * score),
    };
    // Its folder as well: in many it is the class.
    let parts: Vec<_> = file.iter().collect();
    let name = parts[parts.len().saturating_sub(2)..].iter().collect::<PathBuf>().display().to_string();
    Ok(Explained { photo, map, sites, caption, name })
}

/// Files named on the command line, in folders, and on standard input.
fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if input == Path::new("-") {
            for line in stdin().lines() {
                let line = line.context("cannot read standard input")?;
                files.extend(Some(line).filter(|line| !line.is_empty()).map(PathBuf::from));
            }
        } else if input.is_dir() {
            let folder = ImageFolder::flat(input)?;
            if !folder.left_out().is_empty() {
                note!("note: left out: {}", folder.left_out());
            }
            files.extend(folder.paths().map(Path::to_owned));
        } else {
            files.push(input.clone());
        }
    }
    if files.is_empty() {
        bail!("no images named");
    }
    Ok(files)
}
