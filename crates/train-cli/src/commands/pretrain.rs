//! `train-cli pretrain`: from a configuration to a pretrained encoder.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::train::Interrupter;
use fcmae::Fcmae;
use trainer::{Outcome, Plan, ProgressKind, RunDir, TrainError, Trainer, progress, read_state};

use crate::args::PretrainArgs;
use crate::checkpoint::{CONFIG_FILE, folder_of, initialize_from, write_config};
use crate::config::{self, PretrainConfig};
use crate::experiment::{self, Data, Pretraining};
use crate::plan::RunPlan;

pub(crate) fn run(args: &PretrainArgs) -> Result<()> {
    let config = resolve(args)?;
    let model = config.model.resolve(config.data.image_size)?;
    config.fcmae.mask_shape(&model, config.data.image_size.pixels())?;
    let data = experiment::open_data(&config, model.num_channels)?;
    let plan = experiment::plan(&config, &data)?;

    let device = args.device.device().autodiff();
    let zeros = Fcmae::zeros(&config.fcmae, &model, config.model.kernels, &device)?;
    let groups = experiment::groups(&config, &zeros);
    let run_plan = RunPlan::new(&config, &model, &data, &plan, &groups, &device)?;
    match args.json {
        true => println!("{}", serde_json::to_string(&run_plan)?),
        false => println!("{run_plan}"),
    }
    if args.dry_run {
        return Ok(());
    }

    // Everything that can fail comes before the run directory is made.
    let objective = Pretraining::new(&config, &model, data.source.as_ref(), &device)?;
    let network = match (&args.resume, &args.init) {
        (Some(_), _) => zeros,
        (None, None) => Fcmae::new(&config.fcmae, &model, config.model.kernels, config.seed, &device)?,
        (None, Some(path)) => {
            let fresh = Fcmae::new(&config.fcmae, &model, config.model.kernels, config.seed, &device)?;
            let (network, report) = initialize_from(path, fresh)?;
            if !report.missing.is_empty() {
                println!("{} has no decoder: that one starts fresh", path.display());
            }
            network
        }
    };
    let (run_dir, checkpoint) = open_run(args, &config)?;
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
    };
    let state = match &checkpoint {
        Some(checkpoint) => {
            println!("resuming from {}", checkpoint.display());
            trainer.resume(network, checkpoint)?
        }
        // Asked to resume, but there is nothing yet.
        None if args.resume.is_some() => {
            trainer.start(Fcmae::new(&config.fcmae, &model, config.model.kernels, config.seed, &device)?)
        }
        None => trainer.start(network),
    };
    let outcome = train(args, &trainer, state, &data)?;
    tell(&outcome, &trainer, &data);
    Ok(())
}

/// The configuration with everything that the command line changes.
fn resolve(args: &PretrainArgs) -> Result<PretrainConfig> {
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
    Ok(config)
}

/// A new run directory, or the one to continue, and the checkpoint to continue from.
fn open_run(args: &PretrainArgs, config: &PretrainConfig) -> Result<(RunDir, Option<PathBuf>)> {
    let path = match &args.run_dir {
        Some(path) => path.clone(),
        None => Path::new("runs").join(experiment::run_name(&args.config)?),
    };
    let checkpoint = match args.resume.as_deref() {
        None => None,
        Some("auto") if path.exists() => RunDir::open(&path)?.latest_checkpoint(),
        Some("auto") => None,
        Some(checkpoint) => Some(folder_of(Path::new(checkpoint))?),
    };
    if let Some(checkpoint) = &checkpoint {
        refuse_changes(&config::load(&checkpoint.join(CONFIG_FILE), &[])?, config)?;
    } else if args.resume.is_some() {
        println!("{} has no checkpoint yet: starting from the beginning", path.display());
    }
    let run_dir = match args.resume.is_some() && path.exists() {
        true => RunDir::open(&path)?,
        false => RunDir::create(&path)?,
    };
    if let Some(checkpoint) = &checkpoint {
        refuse_to_branch(&run_dir, checkpoint)?;
    }
    write_config(config, &path)?;
    Ok((run_dir, checkpoint))
}

/// A run that went on from an older checkpoint would leave newer ones of another history beside
/// its own, and `--resume auto` would take one of those.
fn refuse_to_branch(run_dir: &RunDir, checkpoint: &Path) -> Result<()> {
    let step = read_state(checkpoint)?.position.step;
    match run_dir.latest_checkpoint() {
        Some(latest) if read_state(&latest)?.position.step > step => bail!(
            "{} is newer than {}; move it away, or go on from the older one in another --run-dir",
            latest.display(),
            checkpoint.display()
        ),
        _ => Ok(()),
    }
}

/// What may differ between a run and its continuation: nothing that a step's result depends on,
/// apart from the length of the schedule.
const MAY_CHANGE: [&str; 9] = [
    "data.max_corrupt",
    "data.path",
    "data.workers",
    "log.every_steps",
    "log.pictures_every_steps",
    "train.checkpoint_every_steps",
    "train.epochs",
    "train.keep_last",
    "train.max_steps",
];

fn refuse_changes(before: &PretrainConfig, now: &PretrainConfig) -> Result<()> {
    let (before, now) = (toml::Table::try_from(before)?, toml::Table::try_from(now)?);
    let mut sections: Vec<_> = before.keys().chain(now.keys()).collect();
    sections.sort_unstable();
    sections.dedup();
    for section in sections {
        let (old, new) = (before.get(section), now.get(section));
        let keys = [old, new].into_iter().flatten().filter_map(toml::Value::as_table);
        let mut keys: Vec<_> = keys.flat_map(|table| table.keys()).collect();
        keys.push(section); // a key outside of any section
        for key in keys {
            let value = |section: Option<&toml::Value>| match section {
                Some(toml::Value::Table(table)) => table.get(key).cloned(),
                other => other.cloned(),
            };
            let name = if key == section { key.clone() } else { format!("{section}.{key}") };
            let (old, new) = (value(old), value(new));
            if old != new && !MAY_CHANGE.contains(&name.as_str()) {
                let show = |value: Option<toml::Value>| value.map_or("unset".to_owned(), |v| v.to_string());
                bail!(
                    "{name} was {} in this run and is {} now; a run continues as it began. \
                     For a new run with these weights use --init",
                    show(old),
                    show(new)
                );
            }
        }
    }
    Ok(())
}

fn train(
    args: &PretrainArgs,
    trainer: &Trainer<Pretraining>,
    state: trainer::State<Fcmae>,
    data: &Data,
) -> Result<Outcome> {
    let interrupter = Interrupter::new();
    let signalled = interrupter.clone();
    ctrlc::set_handler(move || signalled.stop(Some("interrupted by a signal")))
        .context("cannot install the signal handler")?;
    let kind = match (args.tui, std::io::stderr().is_terminal()) {
        (true, _) => ProgressKind::Tui,
        (false, true) => ProgressKind::Bar,
        (false, false) => ProgressKind::Plain,
    };
    let mut progress = progress(kind, &interrupter)?;
    let position = trainer.plan.position(state.step);
    let batches = data
        .loader
        .batches(data::Position { epoch: position.epoch, batch: position.batch })
        .map(|batch| batch.map_err(TrainError::data));
    Ok(trainer.run(state, batches, progress.as_mut(), &interrupter)?)
}

/// What came out, and what to do next.
fn tell(outcome: &Outcome, trainer: &Trainer<Pretraining>, data: &Data) {
    let corrupt = data.loader.corrupt();
    if !corrupt.is_empty() {
        println!("skipped {} unreadable image{}:", corrupt.len(), if corrupt.len() == 1 { "" } else { "s" });
        for (name, reason) in corrupt {
            println!("  {name}: {reason}");
        }
    }
    let Plan { total_steps, .. } = trainer.plan;
    match &outcome.interrupted {
        Some(reason) => println!("stopped at step {} of {total_steps}: {reason}", outcome.step),
        None => println!("finished at step {} of {total_steps}", outcome.step),
    }
    if let Some((first, last)) = outcome.losses {
        println!("loss         {first:.4} → {last:.4}");
    }
    if let Some(path) = &outcome.checkpoint {
        println!("checkpoint   {}", path.display());
    }
    if let Some(path) = &outcome.picture {
        println!("picture      {} (original, masked, reconstruction, with visible patches)", path.display());
    }
    println!("logs         {}", trainer.run_dir.path().display());
    if outcome.interrupted.is_some() {
        println!("continue with the same command and --resume auto");
    }
}
