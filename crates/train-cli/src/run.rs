//! What pretraining and fine-tuning share: opening a run, training, saying how it went.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::train::Interrupter;
use data::Loader;
use distributed::Communicator;
use trainer::{
    Objective, Outcome, Plan, ProgressKind, RunDir, State, TrainError, Trainer, progress, read_state,
};

use crate::args::RunArgs;
use crate::checkpoint::{CONFIG_FILE, folder_of, write_config};
use crate::config::{self, Experiment};
use crate::world::World;

fn run_path(args: &RunArgs) -> Result<PathBuf> {
    match &args.run_dir {
        Some(path) => Ok(path.clone()),
        None => Ok(Path::new("runs").join(run_name(&args.config)?)),
    }
}

/// The checkpoint that `--resume` goes on from, if there is one. Rank 0 looks for it, and reads it for
/// all.
pub(crate) fn resume_point(args: &RunArgs, world: &World) -> Result<Option<PathBuf>> {
    let own = if world.is_leader() { checkpoint_here(args)? } else { None };
    let text = own.as_ref().map_or(String::new(), |path| path.display().to_string());
    let found = world.broadcast_text(&text)?;
    Ok(own.or_else(|| (!found.is_empty()).then(|| PathBuf::from(found))))
}

fn checkpoint_here(args: &RunArgs) -> Result<Option<PathBuf>> {
    let path = run_path(args)?;
    Ok(match args.resume.as_deref() {
        None => None,
        Some("auto") if path.exists() => RunDir::open(&path)?.latest_checkpoint(),
        Some("auto") => None,
        Some(checkpoint) => Some(folder_of(Path::new(checkpoint))?),
    })
}

/// The weights that a run starts from: `--init`, or else what its configuration names. Rank 0 reads
/// them for all.
pub(crate) fn init<'a>(
    args: &'a RunArgs,
    configured: Option<&'a Path>,
    world: &World,
) -> Result<Option<&'a Path>> {
    if !world.is_leader() {
        return Ok(None);
    }
    let path = args.init.as_deref().or(configured).filter(|path| *path != Path::new("none"));
    if let Some(path) = path.filter(|path| !path.exists()) {
        bail!("{} does not exist, which the run is to start from", path.display());
    }
    Ok(path)
}

/// A new run directory, or the one to continue from a [resume point](resume_point). Rank 0 opens it for
/// all.
pub(crate) fn open_run<C: Experiment>(
    args: &RunArgs,
    config: &C,
    checkpoint: Option<&Path>,
    world: &World,
) -> Result<RunDir> {
    let own = if world.is_leader() { Some(open_here(args, config, checkpoint)?) } else { None };
    let path = own.as_ref().map_or(String::new(), |run| run.path().display().to_string());
    let path = world.broadcast_text(&path)?;
    Ok(own.unwrap_or_else(|| RunDir::of_leader(Path::new(&path))))
}

fn open_here<C: Experiment>(args: &RunArgs, config: &C, checkpoint: Option<&Path>) -> Result<RunDir> {
    let path = run_path(args)?;
    if let Some(checkpoint) = checkpoint {
        refuse_changes(&config::load::<C>(&checkpoint.join(CONFIG_FILE), &[])?, config)?;
    } else if args.resume.is_some() {
        println!("{} has no checkpoint yet: starting from the beginning", path.display());
    }
    let run_dir = match args.resume.is_some() && path.exists() {
        true => RunDir::open(&path)?,
        false => RunDir::create(&path)?,
    };
    if let Some(checkpoint) = checkpoint {
        refuse_to_branch(&run_dir, checkpoint)?;
    }
    write_config(config, &path)?;
    Ok(run_dir)
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
const MAY_CHANGE: [&str; 10] = [
    "data.max_corrupt",
    "data.path",
    "data.workers",
    "finetune.init",
    "log.every_steps",
    "log.pictures_every_steps",
    "train.checkpoint_every_steps",
    "train.epochs",
    "train.keep_last",
    "train.max_steps",
];

fn refuse_changes<C: Experiment>(before: &C, now: &C) -> Result<()> {
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

/// Trains with a display that suits where the output goes; signals end the run in good order.
pub(crate) fn train<O: Objective<Batch = data::Batch>>(
    args: &RunArgs,
    trainer: &Trainer<O>,
    state: State<O::Model>,
    loader: &Loader,
) -> Result<Outcome> {
    let interrupter = Interrupter::new();
    let signalled = interrupter.clone();
    ctrlc::set_handler(move || signalled.stop(Some("interrupted by a signal")))
        .context("cannot install the signal handler")?;
    let kind = match (args.tui, std::io::stderr().is_terminal()) {
        _ if !trainer.world.is_leader() => ProgressKind::Silent,
        (true, _) => ProgressKind::Tui,
        (false, true) => ProgressKind::Bar,
        (false, false) => ProgressKind::Plain,
    };
    let mut progress = progress(kind, &interrupter)?;
    let position = trainer.plan.position(state.step);
    let batches = loader
        .batches(data::Position { epoch: position.epoch, batch: position.batch })
        .map(|batch| batch.map_err(TrainError::data));
    Ok(trainer.run(state, batches, progress.as_mut(), &interrupter)?)
}

/// Unreadable images that any process met: name and reason.
fn all_corrupt(loader: &Loader, world: &dyn Communicator) -> Result<BTreeSet<(String, String)>> {
    let own = serde_json::to_vec(&loader.corrupt())?;
    let mut all = BTreeSet::new();
    for found in world.all_gather(&own)? {
        all.extend(serde_json::from_slice::<Vec<_>>(&found)?);
    }
    Ok(all)
}

/// What came out, and what to do next.
pub(crate) fn tell<O: Objective>(outcome: &Outcome, trainer: &Trainer<O>, loader: &Loader) -> Result<()> {
    let corrupt = all_corrupt(loader, trainer.world.as_ref())?;
    if !trainer.world.is_leader() {
        return Ok(());
    }
    if !corrupt.is_empty() {
        println!("skipped {} unreadable image{}:", corrupt.len(), if corrupt.len() == 1 { "" } else { "s" });
        for (name, reason) in corrupt {
            println!("  {name}: {reason}");
        }
    }
    let Plan { total_steps, .. } = trainer.plan;
    match &outcome.interrupted {
        Some(reason) => println!("stopped at step {} of {total_steps}: {reason}", outcome.step),
        None if outcome.stopped_early => {
            println!("stopped at step {} of {total_steps}: no better score any more", outcome.step);
        }
        None => println!("finished at step {} of {total_steps}", outcome.step),
    }
    if let Some((first, last)) = outcome.losses {
        println!("loss         {first:.4} → {last:.4}");
    }
    if let Some(path) = &outcome.checkpoint {
        println!("checkpoint   {}", path.display());
    }
    if let Some(path) = &outcome.picture {
        println!("picture      {}", path.display());
    }
    if let Some(path) = &outcome.curves {
        println!("curves       {}", path.display());
    }
    if let Some(best) = &outcome.best {
        let which = if best.ema { "moving average" } else { "weights" };
        let folder = trainer.run_dir.best();
        println!("best         {:.4} at step {} ({which}): {}", best.score, best.step, folder.display());
    }
    println!("logs         {}", trainer.run_dir.path().display());
    if outcome.interrupted.is_some() {
        println!("continue with the same command and --resume auto");
    }
    Ok(())
}

/// The name of a run after its configuration file.
fn run_name(config: &Path) -> Result<String> {
    let stem = config.file_stem().context("the configuration has no file name")?;
    Ok(stem.to_string_lossy().into_owned())
}
