//! `train-cli pretrain` and `train-cli finetune`: from a configuration to a trained network.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ::checkpoint::{Best, RunDir};
use anyhow::{Context as _, Result, bail};
use burn::train::Interrupter;
use distributed::{Gradients, STOPPED};
use serde::Serialize;
use trainer::{
    Context, Experiment, Init, Outcome, Outlook, ParameterGroup, ProgressKind, RESULTS_FILE, Resume, Run,
    Start, Summary, Trained, Unit, progress, readable,
};

use crate::args::RunArgs;
use crate::bundled::Meant;
use crate::checkpoint;
use crate::configuration::{Source, with_data};
use crate::output::{self, Verbosity, detail, out};
use crate::stopping::Stopping;
use crate::world::World;

pub(crate) fn run<E: Experiment>(args: &RunArgs, meant: Meant) -> Result<ExitCode> {
    let gradients = match args.device.name.is_cuda() {
        true => Gradients::OnCuda { allow_gloo: args.allow_gloo_for_cuda },
        false => Gradients::OnHost,
    };
    World::enter(args.device.name, gradients, |world| train::<E>(args, meant, world))
}

fn train<E: Experiment>(args: &RunArgs, meant: Meant, world: &World) -> Result<ExitCode> {
    if args.tui && output::verbosity() == Verbosity::Quiet {
        bail!("--tui shows what --quiet hides; give one of them");
    }
    let source = Source::find(&args.config, meant)?;
    let mut experiment: E = source.load(&overrides(args)?)?;
    let configured = experiment.init_mut().and_then(|init| init.take());
    let run_dir = match &args.run_dir {
        Some(path) => path.clone(),
        None => Path::new("runs").join(source.stem()?),
    };
    let start = start(args, run_dir, configured)?;
    let device = world.device(args.device.name)?.autodiff();
    let display = display(args, world);
    let run = Run::open(experiment, Context { device, communicator: world.communicator() }, start)?;
    if !args.dry_run {
        display.check()?;
        run.require_directory()?;
    }
    tell_plan(&run, args, world)?;
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let training = run.begin()?;
    if world.is_leader() && output::verbosity() > Verbosity::Quiet {
        training.notes().iter().for_each(|note| out!("note         {note}"));
    }
    let (run_dir, total_steps) = (training.run_dir().clone(), training.total_steps());
    let interrupter = Interrupter::new();
    // Not earlier: until now there is nothing to finish, and a signal ends the process at once.
    let stopping = Stopping::new(interrupter.clone());
    let keys = Arc::clone(&stopping);
    let mut progress = progress(display, move |screen| keys.ask(screen))?;
    let screen = progress.screen();
    ctrlc::set_handler(move || stopping.ask(&screen)).context("cannot install the signal handler")?;
    let trained = training.train(progress.as_mut(), &interrupter)?;
    // Gives the terminal back before anything is said on it.
    drop(progress);
    if world.is_leader() {
        tell_end(&trained, total_steps, &run_dir);
    }
    if let Some(results) = trained.results.as_ref().filter(|_| args.json) {
        output::json(results)?;
    }
    Ok(ExitCode::from(if trained.outcome.interrupted.is_some() { STOPPED } else { 0 }))
}

/// What the run is going to do, and what it will take: the first is said before the second is known, since
/// that takes a while. All processes look together, and rank 0 speaks; nobody does where only results are
/// wanted and the plan is none.
fn tell_plan<E: Experiment>(run: &Run<E>, args: &RunArgs, world: &World) -> Result<()> {
    let summary = run.summary()?;
    if output::verbosity() == Verbosity::Quiet && !args.dry_run && !args.json {
        // What may be a mistake is said all the same.
        let concerns = summary.concerns().filter(|_| world.is_leader());
        concerns.for_each(|concern| output::say(format_args!("warning: {concern}")));
        return Ok(());
    }
    let shows = world.is_leader() && !args.json;
    if shows {
        out!("{summary}");
    }
    let bar = world.bar();
    bar.start("timing a few steps for the plan", Unit::Items, 0..0);
    let outlook = run.outlook()?;
    drop(bar);
    match args.json {
        _ if !world.is_leader() => return Ok(()),
        true => output::json(&Planned { summary, outlook })?,
        false => out!("{outlook}"),
    }
    for ParameterGroup { rule, names, elements, .. } in run.groups() {
        detail!(
            "group        learning rate × {}, weight decay {}: {elements} parameters in {}",
            readable(rule.lr_scale),
            rule.weight_decay,
            names.join(", ")
        );
    }
    Ok(())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Planned<C> {
    #[serde(flatten)]
    summary: Summary<C>,
    #[serde(flatten)]
    outlook: Outlook,
}

/// What the command line changes of the configuration.
fn overrides(args: &RunArgs) -> Result<Vec<String>> {
    let mut overrides = with_data(&args.set, args.data.as_deref())?;
    for (flag, key, value) in args.shortcuts.given() {
        let is_set = |entry: &String| entry.split_once('=').is_some_and(|(set, _)| set.trim() == key);
        if args.set.iter().any(is_set) {
            bail!("{flag} and --set {key} are the same setting; give one of them");
        }
        overrides.push(format!("{key}={value}"));
    }
    Ok(overrides)
}

/// Where the run begins: `--init`, or else the checkpoint that the configuration names; `--resume`.
fn start(args: &RunArgs, run_dir: PathBuf, configured: Option<PathBuf>) -> Result<Start> {
    let resume = args.resume.as_deref().map(|from| match from {
        "auto" => Resume::Auto,
        checkpoint => Resume::From(checkpoint.into()),
    });
    if let (Some(Resume::From(checkpoint)), Some(_)) = (&resume, &args.init) {
        bail!(
            "--init starts a new run and --resume {} continues one; give one of them",
            checkpoint.display()
        );
    }
    let init = Init::from(args.init.clone().or(configured));
    if args.key.key.is_some() && init.checkpoint().is_none() {
        bail!("--key is about the checkpoint of --init, and there is none");
    }
    let allows = !args.allow.allow_missing.is_empty() || !args.allow.allow_unused.is_empty();
    if allows && init.checkpoint().is_none() {
        bail!("--allow-missing and --allow-unused are about the checkpoint of --init, and there is none");
    }
    Ok(Start {
        run_dir,
        overwrite: args.overwrite,
        resume,
        init,
        allow: args.allow.patterns(),
        read: checkpoint::reader(args.key.clone()),
        allow_changed_data: args.allow_changed_data,
    })
}

/// The display that suits where the output goes.
fn display(args: &RunArgs, world: &World) -> ProgressKind {
    match (args.tui, std::io::stderr().is_terminal()) {
        _ if !world.is_leader() || output::verbosity() == Verbosity::Quiet => ProgressKind::Silent,
        (true, _) => ProgressKind::Tui,
        (false, true) => ProgressKind::Bar,
        (false, false) => ProgressKind::Plain,
    }
}

/// What came out, every file that was written, and what to do next.
fn tell_end(trained: &Trained, total_steps: u64, run_dir: &RunDir) {
    let Trained { outcome, skipped, results, .. } = trained;
    if !skipped.is_empty() {
        out!("skipped {} unreadable image{}:", skipped.len(), if skipped.len() == 1 { "" } else { "s" });
        for (name, reason) in skipped {
            out!("  {name}: {reason}");
        }
    }
    let Outcome { step, checkpoint, picture, curves, interrupted, best, stopped_early, .. } = outcome;
    match interrupted {
        Some(reason) => out!("stopped at step {step} of {total_steps}: {reason}"),
        None if *stopped_early => out!("stopped at step {step} of {total_steps}: no better score any more"),
        None => out!("finished at step {step} of {total_steps}"),
    }
    if let Some((first, last)) = results.as_ref().and_then(|run| run.first_loss.zip(run.loss)) {
        out!("loss         {} → {}", readable(first), readable(last));
    }
    for (what, path) in [("checkpoint", checkpoint), ("picture", picture), ("curves", curves)] {
        if let Some(path) = path {
            out!("{what:<12} {}", path.display());
        }
    }
    if let Some(Best { score, step, ema, .. }) = best {
        let which = if *ema { "moving average" } else { "weights" };
        let (score, folder) = (readable(*score), run_dir.best());
        out!("best         {score} at step {step} ({which}): {}", folder.display());
    }
    out!("results      {}", run_dir.path().join(RESULTS_FILE).display());
    out!("log          {}", run_dir.log().display());
    out!("tensorboard  {}", run_dir.tensorboard().display());
    out!("run          {} (config.toml, images.csv.gz, machine.json)", run_dir.path().display());
    tell_troubles(&outcome.troubles);
    match (interrupted, checkpoint) {
        (Some(_), Some(_)) => out!("continue with the same command and --resume auto"),
        (Some(_), None) => out!("no update was made, so there is nothing to continue"),
        _ => {}
    }
}

/// What went wrong without stopping the run, as far as it can be taken in at a glance.
fn tell_troubles(troubles: &[String]) {
    const SHOWN: usize = 5;
    for trouble in troubles.iter().take(SHOWN) {
        output::say(format_args!("trouble      {trouble}"));
    }
    if troubles.len() > SHOWN {
        output::say(format_args!("trouble      {} more: see `warning` in the log", troubles.len() - SHOWN));
    }
}
