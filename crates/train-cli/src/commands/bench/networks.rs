//! The steps that are measured: a pretraining's, a classifier's, and a classifier's forward pass.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use data::mixup::soft_targets;
use data::rng::{Stream, rng};
use fcmae::{PretrainCost, random_mask};
use finetune::{ClassifierCost, Freeze};
use host::{Arena, Lists, Precision};
use model::cost::EncoderCost;
use model::drop_path::{DropPath, DropPathAt};
use model::{
    Compute, ConvNextV2Config, ConvNextV2ForImageClassification, Engine, Execution, Format,
    PreparedClassifier, official_name,
};
use trainer::{AdamW, Deferred, Experiment, Gradients, Weights, parameter_groups};

use super::parts::{Counts, Part, Parts, Step};
use super::settings;
use super::step::timed;
use crate::args::BenchArgs;
use crate::precision::refusal;

const LEARNING_RATE: f64 = 1e-5;

/// What was measured.
pub(super) struct Measured {
    /// The encoder in words.
    pub(super) model: String,
    /// How masked images are run, where they are.
    pub(super) execution: Option<Execution>,
    pub(super) compute: Compute,
    pub(super) format: Format,
    pub(super) image_size: [usize; 2],
    pub(super) steps: Vec<Step>,
    /// Useful multiply-adds of one image in one step.
    pub(super) macs: u64,
    pub(super) counted: Option<Counts>,
}

/// Pictures of noise, `[N, C, H, W]`.
fn images(batch: usize, model: &ConvNextV2Config, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let shape = [batch, model.num_channels, height, width];
    let values = (0..shape.iter().product::<usize>()).map(|i| ((i * 7919 % 1009) as f32) / 504.5 - 1.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
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

/// AdamW on the groups of an experiment.
fn adamw<E: Experiment, M: Module>(experiment: &E, network: &M, compute: Compute) -> AdamW {
    let groups = parameter_groups(network, &official_name, &|name, shape| experiment.rule(name, shape));
    AdamW::new(&groups, experiment.settings().optim.adamw()).in_precision(compute.precision)
}

/// Refuses to count the operations of what asks nothing of libtorch.
fn check_ops(args: &BenchArgs, compute: Compute, device: &Device) -> Result<()> {
    ensure!(
        !args.ops || matches!(compute.engine(device), Engine::Aten(_)),
        "--ops counts what a step asks of libtorch's own operations: a GPU (--device cuda:0), or --device \
         libtorch with --set model.kernels=aten"
    );
    Ok(())
}

pub(super) fn pretrain(args: &BenchArgs, device: &Device) -> Result<Measured> {
    let experiment = settings::pretraining(args)?;
    let (model, image_size) = (experiment.resolve()?, experiment.data.image_size.pixels());
    let compute = experiment.compute(&model, device)?;
    check_ops(args, compute, device)?;
    let device = &device.clone().autodiff();
    let shape = experiment.fcmae.mask_shape(&model, image_size)?;
    let (images, rates) = (images(args.batch, &model, image_size, device), model.drop_path_rates());
    let network = experiment.network(Weights::Fresh, device).map_err(anyhow::Error::from_boxed)?;
    let (mut optimizer, lists) = (adamw(&experiment, &network, compute), compute.lists(device));
    let (mut network, mut epoch) = (Some(network), 0);
    let indices: Vec<u64> = (0..args.batch as u64).collect();
    let execution = experiment.model.execution();
    let (steps, counted) = timed(args, device, |parts| {
        epoch += 1;
        train_step(&mut network, &mut optimizer, lists, parts, |network| {
            let mut arena = Arena::new(device);
            let drop_path = drop_path(&rates, epoch, args.batch, &mut arena);
            let mask = random_mask(&shape, 0, epoch, &indices)?.put(&mut arena);
            let mut uploaded = arena.upload();
            let drop_path = drop_path.map(|draw| draw.arrived(&mut uploaded));
            let mask = mask.arrived(&mut uploaded);
            Ok(network.loss(images.clone(), &mask, execution, drop_path.as_ref()))
        })
    })?;
    let macs = 3 * PretrainCost::of(&experiment, &model)?.compact_macs;
    let (model, execution, format) = (model.describe(), Some(execution), Format::F32);
    Ok(Measured { model, execution, compute, format, image_size, steps, macs, counted })
}

/// The residual branches that a step drops, as training draws them.
fn drop_path(rates: &[f64], epoch: u64, batch: usize, arena: &mut Arena) -> Option<DropPathAt> {
    let streams = (0..batch as u64).map(|index| rng(0, Stream::DropPath, epoch, index));
    DropPath::for_training(rates, streams, arena)
}

pub(super) fn finetune(args: &BenchArgs, device: &Device) -> Result<Measured> {
    let experiment = settings::classifier(args)?;
    let (model, image_size) = (experiment.resolve()?, experiment.data.image_size.pixels());
    let compute = experiment.compute(&model, device)?;
    check_ops(args, compute, device)?;
    let device = &device.clone().autodiff();
    let (images, rates) = (images(args.batch, &model, image_size, device), model.drop_path_rates());
    let classes: Vec<u32> = (0..args.batch).map(|i| (i * 37 % model.num_labels) as u32).collect();
    let targets = soft_targets(&classes, model.num_labels, 1.0, experiment.finetune.label_smoothing);
    let problem = experiment.finetune.problem_type.unwrap_or_default();
    let network = experiment.network(Weights::Fresh, device).map_err(anyhow::Error::from_boxed)?;
    let (mut optimizer, lists) = (adamw(&experiment, &network, compute), compute.lists(device));
    let (mut network, mut epoch) = (Some(network), 0);
    let (steps, counted) = timed(args, device, |parts| {
        epoch += 1;
        train_step(&mut network, &mut optimizer, lists, parts, |network| {
            let mut arena = Arena::new(device);
            let targets = arena.floats(targets.clone());
            let drop_path = drop_path(&rates, epoch, args.batch, &mut arena);
            let mut uploaded = arena.upload();
            let targets = uploaded.floats(targets, [args.batch, model.num_labels]);
            let drop_path = drop_path.map(|draw| draw.arrived(&mut uploaded));
            Ok(problem.loss(network.forward(images.clone(), drop_path.as_ref()), targets))
        })
    })?;
    let forward = ClassifierCost::of(&experiment, &model).macs;
    let learning = match experiment.finetune.freeze {
        Freeze::None => forward,
        Freeze::Encoder => (model.last_hidden_size() * model.num_labels) as u64,
    };
    let (model, format, macs) = (model.describe(), Format::F32, forward + 2 * learning);
    Ok(Measured { model, execution: None, compute, format, image_size, steps, macs, counted })
}

pub(super) fn infer(args: &BenchArgs, device: &Device) -> Result<Measured> {
    let experiment = settings::classifier(args)?;
    let (model, format) = (experiment.resolve()?, settings::format(args));
    let (compute, image_size) = (experiment.compute(&model, device)?, experiment.eval.size(&experiment.data));
    check_ops(args, compute, device)?;
    let images = images(args.batch, &model, image_size, device);
    let network = ConvNextV2ForImageClassification::new(&model, 0, device)?.with_compute(compute);
    // Packed weights are f32 or 8 bits.
    let prepared = if compute.precision == Precision::F32 { prepared(&network, format)? } else { None };
    let lists = compute.lists(device);
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
    let macs =
        EncoderCost::of(&model, image_size).macs() + (model.last_hidden_size() * model.num_labels) as u64;
    let model = model.describe();
    Ok(Measured { model, execution: None, compute, format, image_size, steps, macs, counted })
}

/// A network packed for inference, where our kernels compute it; only they compute in 8 bits.
fn prepared(
    network: &ConvNextV2ForImageClassification,
    format: Format,
) -> Result<Option<PreparedClassifier>> {
    if format == Format::Int8 {
        PreparedClassifier::suits(network).map_err(refusal)?;
    }
    Ok(PreparedClassifier::new(network, format))
}
