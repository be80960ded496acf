//! `train-cli pretrain` and `train-cli finetune`: from a configuration to a trained network.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use burn::train::Interrupter;
use serde::Serialize;
use trainer::{
    Context, Experiment, Init, Outcome, Outlook, ProgressKind, RESULTS_FILE, Resume, Run, Start, Summary,
    Trained, progress,
};

use crate::args::RunArgs;
use crate::bundled::Meant;
use crate::checkpoint;
use crate::configuration::Source;
use crate::output::{self, out};
use crate::world::World;

pub(crate) fn run<E: Experiment>(args: &RunArgs, meant: Meant) -> Result<()> {
    World::enter(args.device.name, |world| train::<E>(args, meant, world))
}

fn train<E: Experiment>(args: &RunArgs, meant: Meant, world: &World) -> Result<()> {
    let source = Source::find(&args.config, meant)?;
    let mut experiment: E = source.load(&overrides(args)?)?;
    let configured = experiment.init_mut().and_then(|init| init.take());
    let run_dir = match &args.run_dir {
        Some(path) => path.clone(),
        None => Path::new("runs").join(source.stem()?),
    };
    let start = start(args, run_dir, configured, world)?;
    let device = world.device(args.device.name)?.autodiff();
    let display = display(args, world);
    let run = Run::open(experiment, Context { device, communicator: world.communicator() }, start)?;
    if !args.dry_run {
        display.check()?;
        run.require_directory()?;
    }
    tell_plan(&run, args, world)?;
    if args.dry_run {
        return Ok(());
    }
    let training = run.begin()?;
    if world.is_leader() {
        for note in training.notes() {
            out!("note         {note}");
        }
    }
    let (run_dir, total_steps) = (training.run_dir().clone(), training.total_steps());
    let interrupter = Interrupter::new();
    // Not earlier: until now there is nothing to finish, and a signal ends the process at once.
    stop_at_signals(interrupter.clone(), world.is_leader() && !args.tui)?;
    let mut progress = progress(display, &interrupter)?;
    let trained = training.train(progress.as_mut(), &interrupter)?;
    // Gives the terminal back before anything is said on it.
    drop(progress);
    if world.is_leader() {
        tell_end(&trained, total_steps, run_dir.path(), &run_dir.best());
    }
    if let Some(results) = trained.results.as_ref().filter(|_| args.json) {
        output::json(results)?;
    }
    Ok(())
}

/// What the run is going to do, and what it will take: the first is said before the second is known, since
/// that takes a while.
fn tell_plan<E: Experiment>(run: &Run<E>, args: &RunArgs, world: &World) -> Result<()> {
    let summary = run.summary()?;
    let shows = world.is_leader() && !args.json;
    if shows {
        out!("{summary}");
    }
    let outlook = run.outlook()?;
    match args.json {
        _ if !world.is_leader() => {}
        true => output::json(&Planned { summary, outlook })?,
        false => out!("{outlook}"),
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

/// Signals that come within this time of the first are one with it: who presses Ctrl-C reaches `launch` and
/// its processes, and `launch` passes it on; schedulers do the same.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// The first signal asks the run to stop, which drops the update that it is at; the second ends the
/// process at once.
fn stop_at_signals(interrupter: Interrupter, tell: bool) -> Result<()> {
    let mut first: Option<Instant> = None;
    let handler = move || match first {
        None => {
            first = Some(Instant::now());
            interrupter.stop(Some("interrupted by a signal"));
            if tell {
                // Not eprintln!, which panics when the reader of a pipe has gone.
                let _ = writeln!(
                    stderr(),
                    "stopping behind this batch; once more ends at once, without a checkpoint"
                );
            }
        }
        Some(first) if first.elapsed() < ONE_SIGNAL => {}
        Some(_) => leave_at_once(),
    };
    ctrlc::set_handler(handler).context("cannot install the signal handler")
}

/// Ends the process as shells say of one that Ctrl-C ended, whatever its threads are at.
fn leave_at_once() {
    // SAFETY: does not return. Nothing is cleaned up, which `std::process::exit` would do beside threads
    // that still compute.
    #[allow(unsafe_code, reason = "a C function")]
    unsafe {
        libc::_exit(130)
    }
}

/// What the command line changes of the configuration.
fn overrides(args: &RunArgs) -> Result<Vec<String>> {
    let mut overrides = args.set.clone();
    if let Some(path) = &args.data {
        let text =
            path.to_str().with_context(|| format!("--data {}: the name is not UTF-8", path.display()))?;
        overrides.push(format!("data.path={}", toml::Value::from(text)));
    }
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
fn start(args: &RunArgs, run_dir: PathBuf, configured: Option<PathBuf>, world: &World) -> Result<Start> {
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
    let is_here = |path: &Path| path.exists() || path.to_string_lossy().starts_with("hf:");
    if let Some(path) = init.checkpoint().filter(|path| world.is_leader() && !is_here(path)) {
        bail!("{} does not exist, which the run is to start from", path.display());
    }
    if args.key.key.is_some() && init.checkpoint().is_none() {
        bail!("--key is about the checkpoint of --init, and there is none");
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
        _ if !world.is_leader() => ProgressKind::Silent,
        (true, _) => ProgressKind::Tui,
        (false, true) => ProgressKind::Bar,
        (false, false) => ProgressKind::Plain,
    }
}

/// What came out, and what to do next.
fn tell_end(trained: &Trained, total_steps: u64, run_dir: &Path, best_folder: &Path) {
    let Trained { outcome, skipped, .. } = trained;
    if !skipped.is_empty() {
        out!("skipped {} unreadable image{}:", skipped.len(), if skipped.len() == 1 { "" } else { "s" });
        for (name, reason) in skipped {
            out!("  {name}: {reason}");
        }
    }
    let Outcome { step, checkpoint, picture, curves, interrupted, losses, best, stopped_early } = outcome;
    match interrupted {
        Some(reason) => out!("stopped at step {step} of {total_steps}: {reason}"),
        None if *stopped_early => out!("stopped at step {step} of {total_steps}: no better score any more"),
        None => out!("finished at step {step} of {total_steps}"),
    }
    if let Some((first, last)) = losses {
        out!("loss         {first:.4} → {last:.4}");
    }
    for (what, path) in [("checkpoint", checkpoint), ("picture", picture), ("curves", curves)] {
        if let Some(path) = path {
            out!("{what:<12} {}", path.display());
        }
    }
    if let Some(best) = best {
        let which = if best.ema { "moving average" } else { "weights" };
        out!("best         {:.4} at step {} ({which}): {}", best.score, best.step, best_folder.display());
    }
    out!("results      {}", run_dir.join(RESULTS_FILE).display());
    out!("logs         {}", run_dir.display());
    match (interrupted, checkpoint) {
        (Some(_), Some(_)) => out!("continue with the same command and --resume auto"),
        (Some(_), None) => out!("no update was made, so there is nothing to continue"),
        _ => {}
    }
}
