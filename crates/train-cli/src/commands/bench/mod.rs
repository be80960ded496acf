//! `train-cli bench`: how fast a step is, and how far from what the machine can do.

mod data;
mod parts;

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use fcmae::{Fcmae, PretrainCost, PretrainExperiment, random_mask};
use host::{Arena, GpuMemory, Lists, Operations, Precision, is_on_host};
use model::cost::EncoderCost;
use model::{
    Compute, ConvNextV2Config, ConvNextV2ForImageClassification, Engine, Execution, Format, Kernels,
    PreparedClassifier, official_name,
};
use serde::Serialize;
use trainer::{
    AdamW, AdamWConfig, Deferred, Gradients, ParameterRule, parameter_groups, peak_rss_mib, readable,
    readable_speed,
};

use crate::args::{BenchArgs, BenchKind};
use crate::bundled::Meant;
use crate::configuration::{AnyExperiment, Source};
use crate::output::{self, out};
use crate::world::computing;
use parts::{Part, Parts, Step};

/// Steps before the clock starts.
const WARM_UP: usize = 2;
/// Steps timed together on a device that computes while the next one is being prepared.
const BURST: usize = 10;
const LEARNING_RATE: f64 = 1e-5;

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report {
    bench: BenchKind,
    /// The encoder in words.
    model: String,
    execution: Option<Execution>,
    kernels: Kernels,
    precision: Precision,
    device: String,
    image_size: [usize; 2],
    batch_size: usize,
    threads: usize,
    /// Every timed step, in seconds.
    step_s: Vec<f64>,
    /// Speed of the median step.
    img_per_s: f64,
    forward_share: f64,
    backward_share: f64,
    optimizer_share: f64,
    /// Useful operations a second, two for each multiply-add, over the median step.
    gflops: f64,
    /// Operations a second of large matrix products by what computes.
    gemm_peak_gflops: f64,
    peak_share: f64,
    peak_rss_mib: Option<u64>,
    gpu_peak_allocated_mib: Option<u64>,
    gpu_peak_reserved_mib: Option<u64>,
    /// Operations that a step asks of libtorch, without those that they call themselves; these three are null
    /// unless they were to be counted.
    ops: Option<u64>,
    /// Copies to and from the device that nothing waits for.
    copies: Option<u64>,
    /// Operations for which a GPU would be waited for.
    synchronising: Option<u64>,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let measure = match args.kind {
        BenchKind::Pretrain => pretrain,
        BenchKind::Finetune => finetune,
        BenchKind::Infer => infer,
        BenchKind::Data => return data::run(args),
    };
    ensure!(args.data.is_none(), "a step is measured on noise; --data belongs to `bench data`");
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot set the threads")?;
    }
    let config = experiment(args)?;
    let (report, counted) = computing(args.device.name, || {
        let (model, device) = (config.resolve()?, args.device.name.device()?);
        let compute = config.compute(&model, &device)?;
        ensure!(
            !args.ops || matches!(compute.engine(&device), Engine::Aten(_)),
            "--ops counts what a step asks of libtorch's own operations: a GPU (--device cuda:0), or --device \
             libtorch with --set model.kernels=aten"
        );
        let measured = measure(args, &config, compute, &model, &device)?;
        // Before the peak is measured, which takes memory too.
        let memory = GpuMemory::of(&device);
        let limits = Limits { gemm_peak_gflops: peak_gflops(compute.engine(&device), &device), memory };
        Ok((report(args, &config, &model, &measured, limits), measured.counted))
    })?;
    match args.json {
        true => output::json(&report),
        false => {
            tell(&report);
            counted.iter().for_each(parts::tell);
            Ok(())
        }
    }
}

/// What the device that computes can do, and what of its memory was used.
struct Limits {
    gemm_peak_gflops: f64,
    memory: Option<GpuMemory>,
}

/// Operations a second of large matrix products by what computes, in the same numbers: libtorch's own where
/// its operations do, and else those of our kernels.
fn peak_gflops(engine: Engine, device: &Device) -> f64 {
    let libtorch = match engine {
        Engine::Slices => None,
        Engine::Aten(_) | Engine::Tensors => host::product_gflops(device, engine.precision()),
    };
    libtorch.unwrap_or_else(kernels::gemm::peak_gflops)
}

/// The configuration to measure: any of them, Atto by default. One for fine-tuning says what its
/// network is, and is masked as the paper masks.
fn experiment(args: &BenchArgs) -> Result<PretrainExperiment> {
    let mut experiment = match &args.config {
        None => config::parse("[model]\nsize = \"atto\"\n", &args.set)?,
        Some(path) => match Source::find(path, Meant::Either)?.load_any(&args.set)? {
            AnyExperiment::Pretrain(experiment) => *experiment,
            AnyExperiment::Finetune(experiment) => PretrainExperiment {
                model: experiment.model,
                data: experiment.data,
                train: experiment.train,
                ..PretrainExperiment::default()
            },
        },
    };
    if let Some(execution) = args.execution {
        experiment.model.execution = Some(execution);
    }
    Ok(experiment)
}

fn report(
    args: &BenchArgs,
    config: &PretrainExperiment,
    model: &ConvNextV2Config,
    Measured { steps, macs, counted }: &Measured,
    Limits { gemm_peak_gflops, memory }: Limits,
) -> Report {
    let (peak_rss_mib, counted) = (peak_rss_mib(), counted.as_ref().map(parts::total));
    let (mut steps, step_s) = (steps.clone(), steps.iter().map(Step::total).collect());
    steps.sort_by(|a, b| a.total().total_cmp(&b.total()));
    let median = steps[steps.len() / 2];
    let gflops = 2.0 * *macs as f64 * args.batch as f64 / median.total() / 1e9;
    Report {
        bench: args.kind,
        model: model.describe(),
        execution: (args.kind == BenchKind::Pretrain).then_some(config.model.execution()),
        kernels: config.model.kernels,
        precision: config.train.precision,
        device: args.device.name.to_string(),
        image_size: config.data.image_size.pixels(),
        batch_size: args.batch,
        threads: rayon::current_num_threads(),
        step_s,
        img_per_s: args.batch as f64 / median.total(),
        forward_share: median.forward / median.total(),
        backward_share: median.backward / median.total(),
        optimizer_share: median.optimizer / median.total(),
        gflops,
        gemm_peak_gflops,
        peak_share: gflops / gemm_peak_gflops,
        peak_rss_mib,
        gpu_peak_allocated_mib: memory.map(|memory| memory.peak_allocated >> 20),
        gpu_peak_reserved_mib: memory.map(|memory| memory.peak_reserved >> 20),
        ops: counted.as_ref().map(Operations::dispatched),
        copies: counted.as_ref().map(|counted| counted.copies),
        synchronising: counted.as_ref().map(Operations::synchronising),
    }
}

fn tell(r: &Report) {
    let median = r.batch_size as f64 / r.img_per_s;
    out!("{:?} {} at {:?}, batch {}, {} threads", r.bench, r.model, r.image_size, r.batch_size, r.threads);
    out!("step         {} ms, {}", readable(1e3 * median), readable_speed(r.img_per_s));
    out!(
        "parts        forward {:.0}%, backward {:.0}%, optimizer {:.0}%",
        100.0 * r.forward_share,
        100.0 * r.backward_share,
        100.0 * r.optimizer_share
    );
    out!(
        "useful work  {} GFLOP/s, {:.0}% of a matrix product's {}",
        readable(r.gflops),
        100.0 * r.peak_share,
        readable(r.gemm_peak_gflops)
    );
    if let Some(mib) = r.peak_rss_mib {
        out!("peak memory  {mib} MiB");
    }
    if let Some((allocated, reserved)) = r.gpu_peak_allocated_mib.zip(r.gpu_peak_reserved_mib) {
        out!("GPU memory   {allocated} MiB in tensors at most, {reserved} MiB held at most");
    }
}

/// Pictures of noise, `[N, C, H, W]`.
fn images(batch: usize, model: &ConvNextV2Config, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let shape = [batch, model.num_channels, height, width];
    let values = (0..shape.iter().product::<usize>()).map(|i| ((i * 7919 % 1009) as f32) / 504.5 - 1.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

/// Times steps, and counts what one of them asks for where that is wanted.
fn timed(
    args: &BenchArgs,
    device: &Device,
    mut step: impl FnMut(&mut Parts) -> Result<()> + Send,
) -> Result<(Vec<Step>, Option<parts::Counts>)> {
    let mut step = |counts: bool| {
        host::compute_on(device, || {
            let mut parts = Parts::new(counts);
            step(&mut parts).map(|()| parts)
        })
    };
    for _ in 0..WARM_UP {
        step(false)?;
    }
    let steps: Result<Vec<Step>> = match is_on_host(device) {
        true => (0..args.steps).map(|_| Ok(step(false)?.step())).collect(),
        false => {
            device.sync()?;
            (0..args.steps).map(|_| burst(device, &mut step)).collect()
        }
    };
    let counts = args.ops.then(|| step(true)).transpose()?.and_then(Parts::into_counts);
    Ok((steps?, counts))
}

/// The mean of several steps that are not waited for; their parts are those of the processor's time.
fn burst(device: &Device, step: &mut impl FnMut(bool) -> Result<Parts>) -> Result<Step> {
    let (start, mut sum) = (Instant::now(), Step::default());
    for _ in 0..BURST {
        sum = sum.plus(step(false)?.step());
    }
    device.sync()?;
    Ok(sum.scaled(start.elapsed().as_secs_f64() / sum.total() / BURST as f64))
}

/// Forward by `loss`, backward, norm of the gradients and AdamW on all parameters.
fn train_step<M: Module>(
    network: &mut Option<M>,
    optimizer: &mut AdamW,
    lists: Lists,
    parts: &mut Parts,
    loss: impl FnOnce(&M) -> Result<Tensor<1>>,
) -> Result<()> {
    let net = network.take().context("the network of the last step")?;
    let loss = parts.take(Part::Forward, || {
        let loss = loss(&net)?;
        black_box(Deferred::of(loss.clone(), lists));
        anyhow::Ok(loss)
    })?;
    let gradients = parts.take(Part::Backward, || Gradients::of(loss, &net, lists));
    *network = Some(parts.take(Part::Optimizer, || {
        black_box(gradients.norm());
        optimizer.step(LEARNING_RATE, net, gradients)
    }));
    Ok(())
}

fn adamw<M: Module>(network: &M, precision: Precision) -> AdamW {
    let rule = |_: &str, _: &[usize]| ParameterRule { lr_scale: 1.0, weight_decay: 0.05 };
    let groups = parameter_groups(network, &official_name, &rule);
    AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 }).in_precision(precision)
}

/// What was measured.
struct Measured {
    steps: Vec<Step>,
    /// Useful multiply-adds of one image in one step.
    macs: u64,
    counted: Option<parts::Counts>,
}

fn pretrain(
    args: &BenchArgs,
    config: &PretrainExperiment,
    compute: Compute,
    model: &ConvNextV2Config,
    device: &Device,
) -> Result<Measured> {
    let device = &device.clone().autodiff();
    let size = config.data.image_size.pixels();
    let shape = config.fcmae.mask_shape(model, size)?;
    let cost = PretrainCost::of(config, model)?;
    let images = images(args.batch, model, size, device);
    let network = Fcmae::new(&config.fcmae, model, compute, 0, device)?;
    let (mut optimizer, lists) = (adamw(&network, compute.precision), compute.lists(device));
    let mut network = Some(network);
    let mut epoch = 0;
    let indices: Vec<u64> = (0..args.batch as u64).collect();
    let (steps, counted) = timed(args, device, |parts| {
        epoch += 1;
        train_step(&mut network, &mut optimizer, lists, parts, |network| {
            let mut arena = Arena::new(device);
            let mask = random_mask(&shape, 0, epoch, &indices)?.put(&mut arena);
            let mask = mask.arrived(&mut arena.upload());
            Ok(network.loss(images.clone(), &mask, config.model.execution(), None))
        })
    })?;
    Ok(Measured { steps, macs: 3 * cost.compact_macs, counted })
}

fn classifier_macs(config: &PretrainExperiment, model: &ConvNextV2Config) -> u64 {
    EncoderCost::of(model, config.data.image_size.pixels()).macs()
        + (model.last_hidden_size() * model.num_labels) as u64
}

fn finetune(
    args: &BenchArgs,
    config: &PretrainExperiment,
    compute: Compute,
    model: &ConvNextV2Config,
    device: &Device,
) -> Result<Measured> {
    let device = &device.clone().autodiff();
    let images = images(args.batch, model, config.data.image_size.pixels(), device);
    let labels: Vec<i64> = (0..args.batch as i64).map(|i| i * 37 % model.num_labels as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [args.batch]), device);
    let network = ConvNextV2ForImageClassification::new(model, 0, device)?.with_compute(compute);
    let (mut optimizer, lists) = (adamw(&network, compute.precision), compute.lists(device));
    let mut network = Some(network);
    let (steps, counted) = timed(args, device, |parts| {
        train_step(&mut network, &mut optimizer, lists, parts, |network| {
            let log_probabilities = activation::log_softmax(network.forward(images.clone(), None), 1);
            let picked = log_probabilities.gather(1, labels.clone().reshape([args.batch, 1]));
            Ok(picked.mean().neg())
        })
    })?;
    Ok(Measured { steps, macs: 3 * classifier_macs(config, model), counted })
}

fn infer(
    args: &BenchArgs,
    config: &PretrainExperiment,
    compute: Compute,
    model: &ConvNextV2Config,
    device: &Device,
) -> Result<Measured> {
    let images = images(args.batch, model, config.data.image_size.pixels(), device);
    let network = ConvNextV2ForImageClassification::new(model, 0, device)?.with_compute(compute);
    let (lists, prepared) = (compute.lists(device), PreparedClassifier::new(&network, Format::F32));
    let values = prepared.as_ref().map(|_| images.clone().into_data().try_into_vec::<f32>()).transpose()?;
    let (steps, counted) = timed(args, device, |parts| {
        parts.take(Part::Forward, || {
            if let Some((prepared, values)) = prepared.as_ref().zip(values.as_ref()) {
                black_box(prepared.forward(values, images.dims()));
                return;
            }
            let logits = network.forward(images.clone(), None);
            if lists == Lists::Slices {
                black_box(logits.into_data());
            }
        });
        Ok(())
    })?;
    Ok(Measured { steps, macs: classifier_macs(config, model), counted })
}
