//! `train-cli finetune`: from a pretrained encoder to a classifier.

use std::path::Path;

use anyhow::{Result, bail};
use burn::module::Module;
use burn::tensor::Device;
use finetune::{Freeze, ProblemType, scale_head};
use model::cost::EncoderCost;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification};
use serde::Serialize;
use trainer::{EvaluationPlan, ParameterGroup, Plan, Trainer};

use crate::args::RunArgs;
use crate::checkpoint::initialize_classifier;
use crate::classification::{self, Classification, Data};
use crate::config::{self, FinetuneExperiment};
use crate::device::kernels_on;
use crate::plan::{giga, millions};
use crate::run::{init, open_run, resume_point, tell, train};
use crate::world::{World, say};

/// What `--json` prints before a run.
#[derive(Serialize)]
struct Summary {
    model: String,
    parameters: u64,
    macs: u64,
    problem_type: ProblemType,
    /// Classes, or numbers to predict.
    outputs: usize,
    training_images: usize,
    validation_images: usize,
    effective_batch: usize,
    peak_lr: f64,
    /// Learning-rate factors of the parameter groups, smallest and largest.
    lr_scales: [f64; 2],
    total_steps: u64,
    epochs: u64,
    seed: u64,
}

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    World::enter(args.device, |world| finetune(args, world))
}

fn finetune(args: &RunArgs, world: &World) -> Result<()> {
    let mut config = resolve(args)?;
    let data = Data::open(&config)?;
    let classes = data.training.classes();
    if !config.finetune.classes.is_empty() && config.finetune.classes != classes {
        bail!(
            "finetune.classes differs from the {} classes of the data; leave it out, it is filled in from them",
            classes.len()
        );
    }
    config.finetune.classes = classes.to_vec();
    config.finetune.problem_type = Some(problem_type(&config, &data)?);
    let model = ConvNextV2Config {
        num_labels: config.finetune.classes.len(),
        ..config.model.resolve(config.data.image_size)?
    };
    let loader = data.loader(&config, model.num_channels, world.shard())?;
    let plan = Plan::new(&config.train, loader.batches_per_epoch(), world.world_size());
    if plan.steps_per_epoch() == 0 {
        bail!(
            "one update takes {} images, the data have {}; lower train.batch_size or train.accumulate",
            plan.effective_batch,
            data.training.len()
        );
    }
    let device = world.device(args.device)?.autodiff();
    let zeros = ConvNextV2ForImageClassification::zeros(&model, &device)?;
    let groups = classification::groups(&config, &model, &zeros);
    let summary = summary(&config, &model, &data, &plan, &groups);
    match (world.is_leader(), args.json) {
        (false, _) => {}
        (true, true) => println!("{}", serde_json::to_string(&summary)?),
        (true, false) => show(&summary),
    }
    let init = init(args, config.finetune.init.as_deref(), world)?.map(Path::to_owned);
    config.finetune.init = init.clone();
    let checkpoint = resume_point(args, world)?;
    if args.dry_run {
        return Ok(());
    }

    // A run that goes on finds its weights in its checkpoint.
    let init = init.filter(|_| checkpoint.is_none());
    let network = network(init.as_deref(), &config, &model, &device)?;
    let objective = Classification::new(&config, &model, &data, &device, world)?;
    let run_dir = open_run(args, &config, checkpoint.as_deref(), world)?;
    let trainer = Trainer {
        objective,
        groups,
        optim: config.optim.clone(),
        train: config.train.clone(),
        log: config.log.clone(),
        plan,
        ema_decay: config.finetune.ema_decay,
        evaluation: Some(EvaluationPlan {
            every_epochs: config.finetune.eval_every_epochs,
            patience: config.finetune.patience,
        }),
        run_dir,
        world: world.communicator(),
    };
    let state = match &checkpoint {
        Some(checkpoint) => {
            say!(world, "resuming from {}", checkpoint.display());
            trainer.resume(network, checkpoint)?
        }
        None => trainer.start(network),
    };
    let outcome = train(args, &trainer, state, &loader)?;
    tell(&outcome, &trainer, &loader)
}

/// The configuration with everything that the command line changes.
fn resolve(args: &RunArgs) -> Result<FinetuneExperiment> {
    let mut config: FinetuneExperiment = config::load(&args.config, &args.set)?;
    if let Some(path) = &args.data {
        config.data.path = Some(path.clone());
    }
    if let Some(epochs) = args.epochs {
        config.train.epochs = epochs;
    }
    config.optim.validate()?;
    config.train.validate()?;
    config.log.validate()?;
    config.data.validate()?;
    config.augment.validate()?;
    config.finetune.validate()?;
    if config.model.execution.is_some() {
        bail!("model.execution is for pretraining; a classifier sees every patch");
    }
    Ok(config)
}

/// What the data train for, which the configuration may state but not change.
fn problem_type(config: &FinetuneExperiment, data: &Data) -> Result<ProblemType> {
    let found = classification::problem_type(data.training.task());
    if let Some(stated) = config.finetune.problem_type.filter(|stated| *stated != found) {
        bail!(
            "finetune.problem_type is {}, but the data are for {}; a CSV file says which by its columns: \
             label, labels or target",
            name(stated),
            name(found)
        );
    }
    if found == ProblemType::Regression && config.finetune.label_smoothing > 0.0 {
        bail!(
            "finetune.label_smoothing is for classes; to predict numbers, --set finetune.label_smoothing=0"
        );
    }
    Ok(found)
}

/// As in a configuration.
fn name(problem: ProblemType) -> String {
    serde_json::to_value(problem).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The classifier that training starts from: weights of a checkpoint, or fresh ones.
fn network(
    init: Option<&Path>,
    config: &FinetuneExperiment,
    model: &ConvNextV2Config,
    device: &Device,
) -> Result<ConvNextV2ForImageClassification> {
    let fresh = ConvNextV2ForImageClassification::new(model, config.seed, device)?;
    let kernels = kernels_on(device, config.model.kernels, config.train.precision, model)?;
    let fresh = scale_head(fresh.with_kernels(kernels), config.finetune.head_init_scale);
    let network = match init {
        None => fresh,
        Some(path) => {
            let (network, top) = initialize_classifier(path, fresh)?;
            println!("starting from {}", path.display());
            if !top.is_empty() {
                println!("fresh        {}", top.join(", "));
            }
            network
        }
    };
    Ok(freeze(config, network))
}

fn freeze(
    config: &FinetuneExperiment,
    mut network: ConvNextV2ForImageClassification,
) -> ConvNextV2ForImageClassification {
    if config.finetune.freeze == Freeze::Encoder {
        network.convnextv2.encoder = network.convnextv2.encoder.no_grad();
    }
    network
}

fn summary(
    config: &FinetuneExperiment,
    model: &ConvNextV2Config,
    data: &Data,
    plan: &Plan,
    groups: &[ParameterGroup],
) -> Summary {
    let cost = EncoderCost::of(model, config.data.image_size.pixels());
    let size = config.model.size.map_or("ConvNeXt V2".to_owned(), |size| format!("ConvNeXt V2-{size}"));
    let scales = || groups.iter().map(|group| group.rule.lr_scale);
    Summary {
        model: format!("{size}, depths {:?}, channels {:?}", model.depths, model.hidden_sizes),
        parameters: groups.iter().map(|group| group.elements as u64).sum(),
        macs: cost.macs() + (model.last_hidden_size() * model.num_labels) as u64,
        problem_type: classification::problem_type(data.training.task()),
        outputs: model.num_labels,
        training_images: data.training.len(),
        validation_images: data.validation.len(),
        effective_batch: plan.effective_batch,
        peak_lr: config.optim.peak_lr(plan.effective_batch),
        lr_scales: [scales().fold(f64::INFINITY, f64::min), scales().fold(0.0, f64::max)],
        total_steps: plan.total_steps,
        epochs: config.train.epochs,
        seed: config.seed,
    }
}

fn show(s: &Summary) {
    println!("model        {}", s.model);
    println!("parameters   {}, {} multiply-adds per image", millions(s.parameters), giga(s.macs));
    let outputs = match s.problem_type {
        ProblemType::SingleLabelClassification => format!("in {} classes", s.outputs),
        ProblemType::MultiLabelClassification => format!("of {} classes, any number each", s.outputs),
        ProblemType::Regression => format!("with {} numbers each", s.outputs),
    };
    println!("data         {} images {outputs}, {} to validate", s.training_images, s.validation_images);
    println!(
        "batch        {}, peak learning rate {:.3e}, by layer × {:.3} to {:.3}",
        s.effective_batch, s.peak_lr, s.lr_scales[0], s.lr_scales[1]
    );
    println!("steps        {} in {} epochs, seed {}", s.total_steps, s.epochs, s.seed);
}
