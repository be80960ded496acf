//! `train-cli eval`: how often a classifier is right.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use data::{Changes, ClassMatch, Judged, Naming, sorted_otherwise_by_timm};
use distributed::Gradients;
use finetune::{Classifier, Confusion, Metrics, ProblemType, Tally};
use serde::Serialize;
use serde_json::{Map, Value, json};
use trainer::{readable, readable_speed};

use crate::args::{EvalArgs, PrecisionName, TtaName};
use crate::judging::{Beside, Judging};
use crate::output::{self, Verbosity, out, verbosity};
use crate::precision::prepared;
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
    let inference = &judging.classifier.inference;
    let int8 = match args.precision.asked {
        PrecisionName::F32 => None,
        asked => Some(prepared(asked, world.is_leader(), |format| inference.in_format(format))?),
    };
    let start = Instant::now();
    let (metrics, f32) = match &int8 {
        None => (judging.judge(args, world, |_, _| {})?, None),
        Some(int8) => {
            let (metrics, f32) = judging.compare(int8, args, world)?;
            (metrics, Some(f32))
        }
    };
    let Judging { classifier, judged, source, classes, how } = &judging;
    if !world.is_leader() {
        return Ok(());
    }
    let img_per_s = source.len() as f64 / start.elapsed().as_secs_f64();
    if let (Some(path), Metrics::Classes(tally)) = (&args.confusion, &metrics) {
        let json = confusion(path, classes, tally)?;
        out!("confusion    {}, {}", path.display(), json.display());
    }
    if args.json {
        return output::json(&summary(&judging, args, &metrics, f32.as_ref(), img_per_s));
    }
    out!("checkpoint   {}", classifier.path.display());
    tell_match(classifier, *how, classes);
    let by_both = if f32.is_some() { " by both networks" } else { "" };
    out!("images       {} ({}), {}{by_both}", source.len(), part(judged), readable_speed(img_per_s));
    if args.tta == TtaName::Flip {
        out!("outputs      mean over the image and its mirror image");
    }
    show(classes, &metrics, f32.as_ref());
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

/// All that was measured; beside `f32`, the metrics are those in 8 bits.
fn show(classes: &[String], metrics: &Metrics, f32: Option<&Beside>) {
    let (name, told) = figures(metrics);
    let in_8_bits = if f32.is_some() { ", in 8 bits" } else { "" };
    out!("{name:<13}{told}{in_8_bits}");
    out!("loss         {}", readable(metrics.loss()));
    if let Some(f32) = f32 {
        out!("in f32       {}, loss {}", figures(&f32.metrics).1, readable(f32.metrics.loss()));
        tell_agreement(f32);
    }
    match metrics {
        Metrics::Classes(tally) => table("accuracy", classes, &tally.class_accuracy()),
        Metrics::Labels(tally) => table("average precision", classes, &tally.average_precision()),
        Metrics::Numbers(_) => {}
    }
}

/// What networks are compared by, and what it is called.
fn figures(metrics: &Metrics) -> (&'static str, String) {
    match metrics {
        Metrics::Classes(tally) => {
            let [top1, top5] = [tally.top1_accuracy(), tally.top5_accuracy()].map(|share| 100.0 * share);
            ("accuracy", format!("top-1 {top1:.2}%, top-5 {top5:.2}%"))
        }
        Metrics::Labels(tally) => {
            let [map, f1] = [tally.mean_average_precision(), tally.f1()].map(|share| match share {
                Some(share) => format!("{:.2}%", 100.0 * share),
                None => "undefined (no image shows a class)".to_owned(),
            });
            ("precision", format!("mean average {map}, F1 {f1}"))
        }
        Metrics::Numbers(tally) => {
            let r2 = tally.r2().map_or("undefined (the targets are all alike)".to_owned(), readable);
            ("errors", format!("R² {r2}, mean absolute {}", readable(tally.mae())))
        }
    }
}

fn tell_agreement(Beside { metrics, agreement }: &Beside) {
    let value = agreement.named().1;
    match metrics {
        Metrics::Classes(_) => {
            out!("agreement    {:.2}% of the images get the same class from both", 100.0 * value);
        }
        Metrics::Labels(_) => out!("agreement    {:.2}% of all labels are told alike by both", 100.0 * value),
        Metrics::Numbers(_) => out!("difference   mean absolute {}", readable(value)),
    }
}

/// One object: `top1` and `top5` (0 to 1), `map` and `f1`, or `mae` and `r2` (null where they are not
/// defined); `loss`, `images`, what the network was shown of each, how many of them differ from those that
/// the run knew, and `class_match`, how classes and outputs were matched. In 8 bits, the same measures in
/// f32 are an object of their own, and how alike the two are stands beside it.
fn summary(
    judging: &Judging,
    args: &EvalArgs,
    metrics: &Metrics,
    f32: Option<&Beside>,
    img_per_s: f64,
) -> Value {
    let Judging { classifier, judged, how, .. } = judging;
    let named = |metrics: &Metrics| {
        let named = metrics.named().into_iter();
        named.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, Value>>()
    };
    let mut report = Map::new();
    report.insert("checkpoint".to_owned(), classifier.path.display().to_string().into());
    report.insert("images".to_owned(), judged.images.len().into());
    report.insert("split".to_owned(), part(judged).into());
    report.insert("tta".to_owned(), args.tta.to_string().into());
    report.insert("precision".to_owned(), json!(args.precision.asked));
    report.insert("class_match".to_owned(), json!(how));
    let Changes { new, gone, changed, .. } = &judged.changes;
    let counts = [("new", new), ("gone", gone), ("changed", changed), ("trained_on", &judged.trained_on)];
    report.extend(counts.map(|(name, images)| (name.to_owned(), images.len().into())));
    report.extend(named(metrics));
    if let Some(Beside { metrics, agreement }) = f32 {
        let (name, value) = agreement.named();
        report.insert("f32".to_owned(), named(metrics).into());
        report.insert(name.to_owned(), value.into());
    }
    report.insert("img_per_s".to_owned(), img_per_s.into());
    report.into()
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
