//! `train-cli pretrain`: from a configuration to a pretrained encoder.

use anyhow::{Result, bail};
use fcmae::Fcmae;
use trainer::Trainer;

use crate::args::RunArgs;
use crate::checkpoint::initialize_from;
use crate::config::{self, PretrainConfig};
use crate::device::{kernels_on, normalizes};
use crate::experiment::{self, Pretraining};
use crate::plan::RunPlan;
use crate::run::{init, open_run, resume_point, tell, train};
use crate::world::{World, say};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    World::enter(args.device, |world| pretrain(args, world))
}

fn pretrain(args: &RunArgs, world: &World) -> Result<()> {
    let config = resolve(args)?;
    let model = config.model.resolve(config.data.image_size)?;
    config.fcmae.mask_shape(&model, config.data.image_size.pixels())?;
    let device = world.device(args.device)?.autodiff();
    let kernels = kernels_on(&device, config.model.kernels, config.train.precision, &model)?;
    let raw = normalizes(kernels, &device);
    let data = experiment::open_data(&config, model.num_channels, raw, world.shard())?;
    let plan = experiment::plan(&config, &data, world.world_size())?;

    let zeros = Fcmae::zeros(&config.fcmae, &model, kernels, &device)?;
    let groups = experiment::groups(&config, &zeros);
    if world.is_leader() {
        let run_plan = RunPlan::new(&config, &model, &data, &plan, &groups, &device)?;
        match args.json {
            true => println!("{}", serde_json::to_string(&run_plan)?),
            false => println!("{run_plan}"),
        }
    }
    let (init, checkpoint) = (init(args, None, world)?, resume_point(args, world)?);
    if args.dry_run {
        return Ok(());
    }

    // Everything that can fail comes before the run directory is made.
    let objective = Pretraining::new(&config, &model, data.source.as_ref(), &device)?;
    let fresh = || Fcmae::new(&config.fcmae, &model, kernels, config.seed, &device);
    let network = match (&checkpoint, init) {
        (Some(_), _) => zeros,
        (None, None) => fresh()?,
        (None, Some(path)) => {
            let (network, report) = initialize_from(path, fresh()?)?;
            if !report.missing.is_empty() {
                println!("{} has no decoder: that one starts fresh", path.display());
            }
            network
        }
    };
    let run_dir = open_run(args, &config, checkpoint.as_deref(), world)?;
    let trainer = Trainer {
        objective,
        groups,
        optim: config.optim.clone(),
        train: config.train.clone(),
        log: config.log.clone(),
        plan,
        ema_decay: None,
        evaluation: None,
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
    let outcome = train(args, &trainer, state, &data.loader)?;
    tell(&outcome, &trainer, &data.loader)
}

/// The configuration with everything that the command line changes.
fn resolve(args: &RunArgs) -> Result<PretrainConfig> {
    let mut config: PretrainConfig = config::load(&args.config, &args.set)?;
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
    if config.data.val_fraction.is_some() || config.data.val_csv.is_some() {
        bail!("data.val_fraction and data.val_csv are for fine-tuning; pretraining learns from all images");
    }
    Ok(config)
}
