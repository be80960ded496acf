//! `train-cli bench predict`: images a second from their files to their classes, as `predict` finds them.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use data::{Batch, Labels, Loader, Pixels, Shard, evaluation_loader};
use finetune::{FinetuneExperiment, Inference, ProblemType, Tta};
use host::Machine;
use model::{ConvNextV2ForImageClassification, Format, Kernels};
use serde::Serialize;
use trainer::{peak_rss_mib, readable_speed};

use super::{median, settings, tell_machine};
use crate::args::{BenchArgs, BenchKind, BenchPrecision};
use crate::output::{self, out};
use crate::precision::refusal;
use crate::world::computing;

/// Passes over the images where the command line does not say.
const PASSES: usize = 3;

/// What `--json` prints, in one line. Speeds are those of the median pass.
#[derive(Serialize)]
struct Report {
    bench: BenchKind,
    /// The encoder in words.
    model: String,
    kernels: Kernels,
    precision: BenchPrecision,
    #[serde(flatten)]
    machine: Machine,
    data: PathBuf,
    images: usize,
    image_size: [usize; 2],
    batch_size: usize,
    workers: usize,
    images_ahead: usize,
    /// From files to classes.
    img_per_s: f64,
    /// From files to batches, while nothing is computed.
    decoding_img_per_s: f64,
    /// From batches to classes, while nothing is decoded.
    computing_img_per_s: f64,
    peak_rss_mib: Option<u64>,
}

pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let report = computing(args.device.name, || measure(args))?;
    match args.json {
        true => output::json(&report),
        false => {
            tell(&report);
            Ok(())
        }
    }
}

fn measure(args: &BenchArgs) -> Result<Report> {
    let mut experiment = settings::classifier(args)?;
    experiment.data.path = args.data.clone().or(experiment.data.path);
    let data = experiment.data.path.clone().context("--data says where the images to predict on are")?;
    let FinetuneExperiment { data: images, eval, model: section, .. } = &experiment;
    let (model, device) = (experiment.resolve()?, args.device.name.device()?);
    host::follow_tf32(&device, experiment.train.tf32);
    let source = images.open(Labels::Ignored)?;
    let loader = evaluation_loader(&source, images, eval, model.num_channels, args.batch, Shard::default())?;
    let network =
        ConvNextV2ForImageClassification::new(&model, 0, &device)?.with_compute(section.kernels.into());
    let problem = experiment.finetune.problem_type.unwrap_or_default();
    let judge = Judge::new(network, settings::format(args), problem, &device)?;
    let [whole, decoding, computing] = speeds(&loader, &judge, args.steps.unwrap_or(PASSES))?;
    Ok(Report {
        bench: args.kind,
        model: model.describe(),
        kernels: section.kernels,
        precision: args.precision.unwrap_or(BenchPrecision::F32),
        machine: Machine::here(&device, rayon::current_num_threads()),
        data,
        images: loader.images(),
        image_size: eval.size(images),
        batch_size: args.batch,
        workers: images.workers.count(),
        images_ahead: loader.images_ahead(),
        img_per_s: whole,
        decoding_img_per_s: decoding,
        computing_img_per_s: computing,
        peak_rss_mib: peak_rss_mib(),
    })
}

/// A network of random weights that computes as `predict` does.
struct Judge {
    inference: Inference,
    problem: ProblemType,
}

impl Judge {
    fn new(
        network: ConvNextV2ForImageClassification,
        format: Format,
        problem: ProblemType,
        device: &Device,
    ) -> Result<Self> {
        let inference = Inference::new(network, device).in_format(format).map_err(refusal)?;
        Ok(Self { inference, problem })
    }

    /// Finds the classes of a batch.
    fn judge(&self, Batch { pixels, shape, .. }: Batch) -> Result<()> {
        let Pixels::F32(images) = pixels else { bail!("images to predict on have to be normalised") };
        let outputs = self.inference.outputs(&images, shape, Tta::None)?;
        for outputs in outputs.chunks_exact(outputs.len() / shape[0]) {
            black_box(self.problem.scores(outputs));
        }
        Ok(())
    }
}

/// Images a second in the median of so many passes: from files to classes, decoding alone, and computing
/// alone; after one of each that does not count.
fn speeds(loader: &Loader, judge: &Judge, passes: usize) -> Result<[f64; 3]> {
    let first = loader.batches(0, 0).next().context("there are no images")??;
    let mut speeds = [const { Vec::new() }; 3];
    for _ in 0..=passes {
        let found = [
            pass(loader, |batch| judge.judge(batch))?,
            pass(loader, |batch| {
                black_box(batch);
                Ok(())
            })?,
            computing_speed(judge, &first, loader.batches_per_epoch() as u32)?,
        ];
        speeds.iter_mut().zip(found).for_each(|(speeds, speed)| speeds.push(speed));
    }
    Ok(speeds.map(|mut speeds| median(speeds.split_off(1))))
}

/// Images a second of one pass over all of them, batch by batch.
fn pass(loader: &Loader, mut visit: impl FnMut(Batch) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for batch in loader.batches(0, 0) {
        visit(batch?)?;
    }
    Ok(loader.images() as f64 / start.elapsed().as_secs_f64())
}

/// Images a second of judging one batch so many times; that it is copied before each does not count.
fn computing_speed(judge: &Judge, batch: &Batch, times: u32) -> Result<f64> {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let batch = batch.clone();
        let start = Instant::now();
        judge.judge(batch)?;
        spent += start.elapsed();
    }
    Ok((batch.indices.len() as f64 * f64::from(times)) / spent.as_secs_f64())
}

fn tell(r: &Report) {
    let [height, width] = r.image_size;
    out!("predict {} at {height}×{width}, batch {}, {} threads", r.model, r.batch_size, r.machine.threads);
    tell_machine(&r.machine);
    out!("images       {} of {}, decoded by {} threads", r.images, r.data.display(), r.workers);
    out!("speed        {} from files to classes", readable_speed(r.img_per_s));
    out!("decoding     {} alone", readable_speed(r.decoding_img_per_s));
    out!("computing    {} alone", readable_speed(r.computing_img_per_s));
    if let Some(mib) = r.peak_rss_mib {
        out!("peak memory  {mib} MiB");
    }
}
