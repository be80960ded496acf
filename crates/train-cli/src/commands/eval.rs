//! `train-cli eval`: how often a classifier is right.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use data::{Changes, ClassMatch, Judged, Naming, sorted_otherwise_by_timm};
use distributed::Gradients;
use finetune::{Classifier, Confusion, LabelTally, Metrics, ProblemType, Tally};
use serde::Serialize;
use serde_json::{Map, Value};
use trainer::{readable, readable_speed};

use crate::args::{EvalArgs, TtaName};
use crate::judging::Judging;
use crate::output::{self, Verbosity, out, verbosity};
use crate::world::World;

/// What `--confusion` writes beside its picture.
#[derive(Serialize)]
struct Counts<'a> {
    classes: &'a [String],
    class_accuracy: Vec<Option<f64>>,
    /// True class by predicted class.
    counts: Vec<&'a [u64]>,
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    World::enter(args.device.name, Gradients::OnHost, |world| eval(args, world))
}

fn eval(args: &EvalArgs, world: &World) -> Result<()> {
    // Before anything is judged.
    args.confusion.as_deref().map(|picture| output::beside(picture, "counts")).transpose()?;
    let device = world.device(args.device.name)?;
    let judging = Judging::open(args, &device, world)?;
    if args.confusion.is_some() && judging.classifier.problem != ProblemType::SingleLabelClassification {
        bail!("--confusion is for networks that tell one class an image");
    }
    let start = Instant::now();
    let metrics = judging.judge(args, world, |_, _| {})?;
    let Judging { classifier, judged, source, classes, how } = &judging;
    if !world.is_leader() {
        return Ok(());
    }
    let img_per_s = source.len() as f64 / start.elapsed().as_secs_f64();
    if let (Some(path), Metrics::Classes(tally)) = (&args.confusion, &metrics) {
        let json = confusion(path, classes, tally)?;
        out!("confusion    {}, {}", path.display(), json.display());
    }
    let folder = classifier.path.display().to_string();
    if args.json {
        return output::json(&json(&folder, judged, (*how, args.tta), &metrics, img_per_s));
    }
    out!("checkpoint   {folder}");
    tell_match(classifier, *how, classes);
    out!("images       {} ({}), {}", source.len(), part(judged), readable_speed(img_per_s));
    if args.tta == TtaName::Flip {
        out!("outputs      mean over the image and its mirror image");
    }
    show(classes, &metrics);
    Ok(())
}

/// How classes and outputs were matched, unless they simply have the same names.
fn tell_match(classifier: &Classifier, how: ClassMatch, classes: &[String]) {
    let assumed = match classifier.naming {
        Naming::ImageNet => "; the checkpoint names no classes, and its 1000 are taken for ImageNet's",
        Naming::Own | Naming::Numbers => "",
    };
    match how {
        ClassMatch::Name => {}
        ClassMatch::Spelling => out!("classes      by name, but for capitals, spaces and signs"),
        ClassMatch::ImageNet => out!("classes      those of ImageNet, by id and by word{assumed}"),
        ClassMatch::Map => out!("classes      as --class-map says"),
        ClassMatch::Order => {
            let why = match classifier.naming {
                Naming::Own => format!("other names ({}, …)", classifier.classes[0]),
                Naming::ImageNet | Naming::Numbers => "no names".to_owned(),
            };
            out!(
                "classes      in their order, {} first: the checkpoint has {why} for as many; --class-map says otherwise",
                classes[0]
            );
            if let Some(name) = sorted_otherwise_by_timm(classes) {
                out!(
                    "note: timm sorts numbers as numbers and capitals as small letters, so that `{name}` stands elsewhere"
                );
            }
        }
    }
}

/// The part that is judged.
pub(crate) fn part(judged: &Judged) -> String {
    judged.split.map_or("all".to_owned(), |split| split.to_string())
}

fn show(classes: &[String], metrics: &Metrics) {
    match metrics {
        Metrics::Classes(tally) => show_classes(classes, tally),
        Metrics::Labels(tally) => show_labels(classes, tally),
        Metrics::Numbers(tally) => {
            let r2 = tally.r2().map_or("undefined (the targets are all alike)".to_owned(), readable);
            out!("errors       R² {r2}, mean absolute {}", readable(tally.mae()));
            out!("loss         {}", readable(tally.mse()));
        }
    }
}

/// One object: `top1` and `top5` (0 to 1), `map` and `f1`, or `mae` and `r2` (null where they are not
/// defined); `loss`, `images`, what the network was shown of each, how many of them differ from those that
/// the run knew, and `class_match`, how classes and outputs were matched.
fn json(
    checkpoint: &str,
    judged: &Judged,
    (how, tta): (ClassMatch, TtaName),
    metrics: &Metrics,
    img_per_s: f64,
) -> Value {
    let mut report = Map::from_iter([("checkpoint".to_owned(), checkpoint.into())]);
    report.insert("images".to_owned(), judged.images.len().into());
    report.insert("split".to_owned(), part(judged).into());
    report.insert("tta".to_owned(), tta.to_string().into());
    let Changes { new, gone, changed, .. } = &judged.changes;
    let counts = [("new", new), ("gone", gone), ("changed", changed), ("trained_on", &judged.trained_on)];
    report.insert("class_match".to_owned(), serde_json::json!(how));
    report.extend(counts.map(|(name, images)| (name.to_owned(), images.len().into())));
    report.extend(metrics.named().into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    report.insert("img_per_s".to_owned(), img_per_s.into());
    report.into()
}

fn show_classes(classes: &[String], tally: &Tally) {
    let (top1, top5) = (tally.top1_accuracy(), tally.top5_accuracy());
    out!("accuracy     top-1 {:.2}%, top-5 {:.2}%", 100.0 * top1, 100.0 * top5);
    out!("loss         {}", readable(tally.loss()));
    table("accuracy", classes, &tally.class_accuracy());
}

fn show_labels(classes: &[String], tally: &LabelTally) {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.2}%", 100.0 * share),
        None => "undefined (no image shows a class)".to_owned(),
    };
    let (map, f1) = (tally.mean_average_precision(), tally.f1());
    out!("precision    mean average {}, F1 {}", percent(map), percent(f1));
    out!("loss         {}", readable(tally.loss()));
    table("average precision", classes, &tally.average_precision());
}

/// Classes without an image that are listed one by one; a few of ImageNet's leave hundreds.
const LISTED_WITHOUT_IMAGE: usize = 20;

/// A share of every class that has images.
fn table(what: &str, classes: &[String], shares: &[Option<f64>]) {
    out!("\n{:<20}  {what}", "class");
    let without = shares.iter().filter(|share| share.is_none()).count();
    let is_short = without > LISTED_WITHOUT_IMAGE && verbosity() < Verbosity::Verbose;
    for (class, share) in classes.iter().zip(shares) {
        match share {
            None if is_short => {}
            Some(share) => out!("{class:<20}  {:>7.2}%", 100.0 * share),
            None => out!("{class:<20}  no image"),
        }
    }
    if is_short {
        out!("{without} other classes have no image; -v lists them");
    }
}

/// The matrix as a picture, and as JSON beside it, whose path this returns.
fn confusion(path: &Path, classes: &[String], tally: &Tally) -> Result<PathBuf> {
    let picture = Confusion { classes, counts: &tally.confusion }.draw();
    let picture = drawing::png(&picture).with_context(|| format!("cannot write {}", path.display()))?;
    let counts = tally.confusion.chunks_exact(classes.len()).collect();
    let confusion = Counts { classes, class_accuracy: tally.class_accuracy(), counts };
    let json = output::beside(path, "counts")?;
    let numbers = serde_json::to_string_pretty(&confusion)? + "\n";
    whole::write_all([(&*json, numbers.as_bytes()), (path, &*picture)])?;
    Ok(json)
}
