//! `train-cli bench data`: how fast images are read, decoded and augmented.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use data::{DataConfig, ImageSource, Labels, Loader, Profile, Shard, TrainingBatches, Workers};
use host::Machine;
use model::Compute;
use serde::Serialize;
use trainer::{peak_rss_mib, readable_speed};

use super::{median, tell_machine};
use crate::args::{BenchArgs, BenchKind};
use crate::configuration::ImageSettings;
use crate::output::{self, out};

/// Images that are timed together, and those whose parts are timed, at most.
const ROUND: usize = 256;
/// Rounds that are timed where the command line does not say.
const ROUNDS: usize = 7;

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report {
    bench: BenchKind,
    #[serde(flatten)]
    machine: Machine,
    data: PathBuf,
    images: usize,
    image_size: [usize; 2],
    batch_size: usize,
    workers: usize,
    /// Speed of the median round.
    img_per_s: f64,
    /// Speed of one thread that does nothing else.
    thread_img_per_s: f64,
    reading_share: f64,
    decoding_share: f64,
    resizing_share: f64,
    augmenting_share: f64,
    images_ahead: usize,
    peak_rss_mib: Option<u64>,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let device = args.device.name.device()?;
    let ImageSettings { data, augment, channels, kernels, .. } = settings(args)?;
    let source = data.open(Labels::Ignored)?;
    let batches = TrainingBatches {
        data: &data,
        augment: &augment,
        seed: 0,
        batch_size: args.batch.min(source.len()),
        accumulate: 1,
        channels,
        raw: Compute::from(kernels).device_normalizes(&device),
        shard: Shard::default(),
    };
    let profile = batches.profile(&source, ROUND)?;
    ensure!(profile.images > 0, "none of {ROUND} images can be read");
    let loader = batches.loader(&source)?;
    let report = report(args, &device, &data, &source, &loader, &profile)?;
    match args.json {
        true => output::json(&report),
        false => {
            tell(&report);
            Ok(())
        }
    }
}

/// The images and what is done to them: those of a configuration, by default as pretraining augments.
fn settings(args: &BenchArgs) -> Result<ImageSettings> {
    let mut settings = ImageSettings::of(args.config.as_deref(), &args.set, args.data.as_deref())?;
    if let Some(threads) = args.threads {
        settings.data.workers = Workers::Number(threads);
    }
    Ok(settings)
}

fn report(
    args: &BenchArgs,
    device: &Device,
    data: &DataConfig,
    source: &Arc<dyn ImageSource>,
    loader: &Loader,
    profile: &Profile,
) -> Result<Report> {
    let share = |part: std::time::Duration| part.as_secs_f64() / profile.total().as_secs_f64();
    Ok(Report {
        bench: args.kind,
        machine: Machine::here(device, rayon::current_num_threads()),
        data: data.path.clone().context("the images have been opened")?,
        images: source.len(),
        image_size: data.image_size.pixels(),
        batch_size: args.batch.min(source.len()),
        workers: data.workers.count(),
        img_per_s: speed(loader, args.steps.unwrap_or(ROUNDS))?,
        thread_img_per_s: profile.images as f64 / profile.total().as_secs_f64(),
        reading_share: share(profile.reading),
        decoding_share: share(profile.decoding),
        resizing_share: share(profile.resizing),
        augmenting_share: share(profile.augmenting),
        images_ahead: loader.images_ahead(),
        peak_rss_mib: peak_rss_mib(),
    })
}

/// Images a second in the median of so many rounds, after one that does not count.
fn speed(loader: &Loader, rounds: usize) -> Result<f64> {
    let mut batches = loader.batches(0, 0);
    let mut round = || -> Result<f64> {
        let (start, mut images) = (Instant::now(), 0);
        while images < ROUND {
            images += batches.next().context("training has no end")??.indices.len();
        }
        Ok(images as f64 / start.elapsed().as_secs_f64())
    };
    round()?;
    Ok(median((0..rounds).map(|_| round()).collect::<Result<_>>()?))
}

fn tell(r: &Report) {
    let [height, width] = r.image_size;
    out!("data {} ({} images) at {height}×{width}, batch {}", r.data.display(), r.images, r.batch_size);
    tell_machine(&r.machine);
    out!("speed        {}, {} threads", readable_speed(r.img_per_s), r.workers);
    out!("one thread   {}", readable_speed(r.thread_img_per_s));
    let parts = [
        ("reading", r.reading_share),
        ("decoding", r.decoding_share),
        ("resizing", r.resizing_share),
        ("augmenting", r.augmenting_share),
    ];
    out!("parts        {}", parts.map(|(part, share)| format!("{part} {:.0}%", 100.0 * share)).join(", "));
    out!("made ahead   {} images at most", r.images_ahead);
    if let Some(mib) = r.peak_rss_mib {
        out!("peak memory  {mib} MiB");
    }
}
