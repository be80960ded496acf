//! `train-cli tune`: settings by trying them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use drawing::{Chart, Key, LINES, Line, MUTED, Panel};
use serde::Serialize;
use trainer::{
    BatchSizes, BatchTrial, Context, Experiment, Init, RateRange, RateTrial, Run, Start, Unit, readable,
    readable_speed, suggested_rate,
};

use crate::args::{KeyArgs, TriedArgs, TuneArgs, TuneLrArgs};
use crate::bundled::Meant;
use crate::checkpoint;
use crate::configuration::{AnyExperiment, Source, with_data};
use crate::output::{self, out};
use crate::world::World;

/// Images that base learning rates are for.
const BASE: f64 = 256.0;

pub(crate) fn run(args: &TuneArgs) -> Result<ExitCode> {
    let tried = match args {
        TuneArgs::Lr(args) => &args.tried,
        TuneArgs::Batch(args) => &args.tried,
    };
    World::alone("settings are tried", tried.device.name, |world| experiment(args, tried, world))
}

fn experiment(args: &TuneArgs, tried: &TriedArgs, world: &World) -> Result<ExitCode> {
    let overrides = with_data(&tried.set, tried.data.as_deref())?;
    match Source::find(&tried.config, Meant::Either)?.load_any(&overrides)? {
        AnyExperiment::Pretrain(experiment) => tune(args, tried, world, *experiment),
        AnyExperiment::Finetune(experiment) => tune(args, tried, world, *experiment),
    }
}

fn tune<E: Experiment>(
    args: &TuneArgs,
    tried: &TriedArgs,
    world: &World,
    mut experiment: E,
) -> Result<ExitCode> {
    let configured = experiment.init_mut().and_then(|init| init.take());
    let start = Start {
        init: Init::from(tried.init.clone().or(configured)),
        read: checkpoint::reader(KeyArgs::default()),
        // Nothing is written there.
        ..Start::new("")
    };
    let device = world.device(tried.device.name)?;
    let run = Run::open(experiment, Context::single(&device), start)?;
    match args {
        TuneArgs::Lr(args) => rates(args, run)?,
        TuneArgs::Batch(_) => batches(tried, &run)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How many times the first loss is drawn.
const HIGHEST: f64 = 1.3;

/// Share of the best speed that is fast enough.
const NEARLY: f64 = 0.9;

/// What `tune lr --json` prints.
#[derive(Serialize)]
struct Rates {
    /// The suggested peak rate; none where the loss does not fall.
    lr: Option<f64>,
    /// The same for 256 images.
    blr: Option<f64>,
    effective_batch_size: usize,
    /// The rate of the least smoothed loss.
    lowest_lr: f64,
    steps: usize,
    picture: PathBuf,
}

fn rates<E: Experiment>(args: &TuneLrArgs, run: Run<E>) -> Result<()> {
    let range = RateRange { from: args.from, to: args.to, steps: args.steps as u64 };
    ensure!(
        0.0 < args.from && args.from < args.to && args.to.is_finite(),
        "--from has to be above 0 and below --to"
    );
    ensure!(args.steps >= 20, "--steps {}: fewer than 20 updates tell nothing", args.steps);
    output::require_folder_of(&args.out)?;
    let effective_batch = run.effective_batch();
    let bar = output::bar();
    bar.start("training with rising rates", Unit::Items, 0..range.steps);
    let trials = run.try_rates(range, &mut |step| bar.reach(step))?;
    drop(bar);
    ensure!(!trials.is_empty(), "the first loss is not finite: no rate can be tried");
    drawing::save(&picture(&trials), &args.out)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let lr = suggested_rate(&trials);
    let lowest = trials.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed)).map_or(0.0, |trial| trial.lr);
    let found = Rates {
        lr,
        blr: lr.map(|lr| lr * BASE / effective_batch as f64),
        effective_batch_size: effective_batch,
        lowest_lr: lowest,
        steps: trials.len(),
        picture: args.out.clone(),
    };
    if args.tried.json {
        return output::json(&found);
    }
    let Rates { blr, steps, .. } = found;
    out!("tried        {steps} rates from {} to {}", readable(range.from), readable(trials[steps - 1].lr));
    match lr.zip(blr) {
        Some((lr, blr)) => {
            out!("suggestion   a peak rate of {}: there the loss falls fastest", readable(lr));
            out!("             --set optim.blr={} (for {effective_batch} images an update)", readable(blr));
            out!(
                "lowest       the loss is least at {}, and rates near it are too high to train with",
                readable(lowest)
            );
        }
        None => out!(
            "suggestion   none: the loss does not fall at any of these rates; try a wider range or more steps"
        ),
    }
    out!("picture      {}", args.out.display());
    out!("A few updates cannot tell what a whole schedule does: a starting point, never used by itself.");
    Ok(())
}

/// Losses, and the rates that they are at; a line across both where the suggestion is. What lies far above the
/// first loss is drawn at the upper edge: the end of a range test is out of all proportion.
fn picture(trials: &[RateTrial]) -> image::RgbImage {
    let ceiling = HIGHEST * trials.first().map_or(1.0, |trial| trial.loss);
    let points = |value: fn(&RateTrial) -> f64| -> Vec<[f64; 2]> {
        trials.iter().zip(1u32..).map(|(trial, step)| [f64::from(step), value(trial).min(ceiling)]).collect()
    };
    let line = |colour, points| Line { colour, dashed: false, points };
    let at = suggested_rate(trials).and_then(|lr| trials.iter().position(|trial| trial.lr == lr));
    let across = |points: &[[f64; 2]]| {
        let values = || points.iter().map(|point| point[1]);
        let ends = [values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)];
        at.map(|at| Line {
            colour: MUTED,
            dashed: true,
            points: ends.map(|end| [(at + 1) as f64, end]).to_vec(),
        })
    };
    let (loss, smoothed, rate) =
        (points(|trial| trial.loss), points(|trial| trial.smoothed), points(|trial| trial.lr.log10()));
    let key = |name: &str, colour| Key { name: name.to_owned(), colour, dashed: false };
    let suggested = suggested_rate(trials).map(|lr| Key {
        name: format!("suggested: {}", readable(lr)),
        colour: MUTED,
        dashed: true,
    });
    let panel = |title: &str, lines: Vec<Line>, marked: Option<Line>, legend: Vec<Key>| Panel {
        title: title.to_owned(),
        unit: "",
        lines: marked.into_iter().chain(lines).collect(),
        legend,
    };
    let losses = vec![key("of each update", LINES[1]), key("smoothed", LINES[0])];
    let marks = [across(&smoothed), across(&rate)];
    let [on_loss, on_rate] = marks;
    let panels = vec![
        panel("loss", vec![line(LINES[1], loss), line(LINES[0], smoothed)], on_loss, losses),
        panel(
            "learning rate, as a power of ten",
            vec![line(LINES[2], rate)],
            on_rate,
            suggested.into_iter().collect(),
        ),
    ];
    Chart { x: "update", panels }.draw()
}

/// What `tune batch --json` prints.
#[derive(Serialize)]
struct Batches {
    tried: Vec<Tried>,
    /// The largest batch that fits; none where that cannot be told.
    largest: Option<usize>,
}

#[derive(Serialize)]
struct Tried {
    batch_size: usize,
    img_per_s: f64,
    peak_rss_mib: Option<u64>,
}

fn batches<E: Experiment>(tried: &TriedArgs, run: &Run<E>) -> Result<()> {
    let bar = output::bar();
    let mut watch = |images: usize| {
        bar.start(&format!("steps with batches of {images}"), Unit::Items, 0..0);
    };
    let BatchSizes { tried: found, largest } = run.try_batch_sizes(&mut watch)?;
    drop(bar);
    if tried.json {
        let tried = found.iter().map(|trial| Tried {
            batch_size: trial.images,
            img_per_s: trial.img_per_s,
            peak_rss_mib: trial.peak_mib,
        });
        return output::json(&Batches { tried: tried.collect(), largest });
    }
    out!("{:>8} {:>10} {:>12}", "batch", "images/s", "memory");
    for trial in &found {
        let memory = trial.peak_mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
        out!("{:>8} {:>10} {memory:>12}", trial.images, readable_speed(trial.img_per_s));
    }
    match largest {
        Some(largest) if largest >= run.images() => out!("largest      all {largest} images fit in memory"),
        Some(largest) => out!("largest      {largest} images fit in the memory that is free now"),
        None => out!("largest      cannot be told: the memory of this process does not show it"),
    }
    if let Some(fast) = fast_enough(&found) {
        let (images, speed) = (fast.images, readable_speed(fast.img_per_s));
        out!("suggestion   batches of {images}, at {speed}: larger ones are hardly faster");
        out!(
            "             --set train.batch_size={images}; optim.blr is for 256 images, so the rate follows"
        );
    }
    out!("Nothing was changed: train.batch_size is what the configuration says.");
    Ok(())
}

/// The smallest batch that is nearly as fast as the fastest.
fn fast_enough(tried: &[BatchTrial]) -> Option<&BatchTrial> {
    let fastest = tried.iter().map(|trial| trial.img_per_s).fold(0.0, f64::max);
    tried.iter().find(|trial| trial.img_per_s >= NEARLY * fastest)
}
