//! `train-cli report`: what run directories hold, as a page of HTML.

use std::path::Path;

use ::report::{Judgement, LIMIT, MOST_MISTAKES, MOST_RUNS, Mistake, Page, ReportError, Run, page};
use anyhow::{Context, Result, bail};
use checkpoint::REPORT_FILE;
use data::{Targets, image_of, shown};
use finetune::{Metrics, Mistakes};
use serde::Serialize;

use super::eval::part;
use super::plot::name;
use crate::args::{
    CheckpointArgs, EvalArgs, EvalSetArgs, KeyArgs, PrecisionArgs, PrecisionName, ReportArgs, TtaName,
};
use crate::judging::Judging;
use crate::output::{self, note, out};
use crate::world::World;

/// What `--json` prints.
#[derive(Serialize)]
struct Written<'a> {
    path: String,
    bytes: usize,
    runs: Vec<&'a str>,
    missing: &'a [String],
}

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    World::alone("a report is written", args.device.name, |world| report(args, world))
}

fn report(args: &ReportArgs, world: &World) -> Result<()> {
    let count = args.runs.len();
    if count > MOST_RUNS {
        return Err(ReportError::TooManyRuns { runs: count, most: MOST_RUNS }.into());
    }
    let out = args.out.clone().unwrap_or_else(|| args.runs[0].join(REPORT_FILE));
    let names: Vec<String> = args.runs.iter().map(|run| name(run, &args.runs)).collect();
    let mut runs = Vec::new();
    for (path, name) in args.runs.iter().zip(&names) {
        runs.push(Run::read(path, name.clone())?);
    }
    output::require_folder_of(&out)?;
    for (run, path) in runs.iter_mut().zip(&args.runs).filter(|(run, _)| run.tells_classes()) {
        run.judged(match args.no_eval {
            true => Err("not judged, as --no-eval asks".to_owned()),
            false => judge(args, path, world).map_err(|error| format!("{error:#}")),
        });
    }
    let Page { html, missing } = page(runs, LIMIT)?;
    whole::write(&out, html.as_bytes())?;
    missing.iter().for_each(|what| note!("missing      {what}"));
    if args.json {
        let runs = names.iter().map(String::as_str).collect();
        return output::json(&Written { path: shown(&out), bytes: html.len(), runs, missing: &missing });
    }
    out!("report       {}, {:.2} MB", out.display(), html.len() as f64 / 1e6);
    Ok(())
}

/// How the best network of a run does on its validation images, as `eval --checkpoint RUN` judges it.
fn judge(args: &ReportArgs, run: &Path, world: &World) -> Result<Judgement> {
    let args = EvalArgs {
        checkpoint: CheckpointArgs { path: run.to_owned(), key: KeyArgs::default() },
        set: EvalSetArgs { overrides: Vec::new() },
        data: None,
        split: None,
        batch: args.batch,
        precision: PrecisionArgs { asked: PrecisionName::F32 },
        tta: TtaName::None,
        class_map: None,
        confusion: None,
        device: args.device,
        json: false,
    };
    let device = world.device(args.device.name)?;
    let judging = Judging::open(&args, &device, world)?;
    let mut mistakes = Mistakes::new(judging.classes.len(), MOST_MISTAKES);
    let metrics = judging.judge(&args, world, |found, targets| {
        if let Targets::Classes(labels) = targets {
            mistakes.add(found, labels);
        }
    })?;
    let Metrics::Classes(tally) = metrics else { bail!("its network does not tell one class an image") };
    let Judging { classifier, judged, classes, .. } = &judging;
    let checkpoint = classifier.path.strip_prefix(run).unwrap_or(&classifier.path);
    let (checkpoint, part) = (shown(checkpoint), part(judged));
    let mistakes = pictured(&judging, &mistakes)?;
    Ok(Judgement::new(checkpoint, part, classes, &tally, mistakes, judged.remarks()))
}

/// The images that the network is wrong about, with thumbnails; their names are those below the data folder.
fn pictured(judging: &Judging, mistakes: &Mistakes) -> Result<Vec<Mistake>> {
    let Judging { classifier, source, .. } = judging;
    let decode = classifier.data.decode(classifier.model.num_channels);
    let root = classifier.data.root().map(Path::to_owned).unwrap_or_default();
    let mistake = |mistaken: &finetune::Mistaken| {
        let name = source.name(mistaken.image);
        let below = Path::new(&name).strip_prefix(&root).map_or_else(|_| name.clone(), shown);
        let image = image_of(&**source, mistaken.image, decode).ok();
        Mistake::new(&below, [mistaken.truth, mistaken.predicted], mistaken.confidence, image)
    };
    mistakes.worst().iter().map(|mistaken| mistake(mistaken).context("a thumbnail")).collect()
}
