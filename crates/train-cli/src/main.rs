//! `train-cli`: pretrain and fine-tune ConvNeXt V2, use and convert its checkpoints.

mod args;
mod bundled;
mod card;
mod checkpoint;
mod commands;
mod configuration;
mod hub;
mod judging;
mod output;
mod precision;
mod stopping;
mod suited;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;

use crate::args::{Cli, Command};
use crate::bundled::Meant;
use crate::output::detail;

fn main() -> ExitCode {
    kernels::memory::keep_freed_memory();
    let (cli, start) = (Cli::parse(), Instant::now());
    output::set_verbosity(cli.verbosity());
    let result = run(cli.command);
    detail!("took         {:.1} s", start.elapsed().as_secs_f64());
    match result.and_then(|code| output::check().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    if command.prints_json() {
        output::keep_for_programs();
    }
    match command {
        Command::Pretrain(args) => {
            return commands::train::run::<PretrainExperiment>(&args, Meant::Pretraining);
        }
        Command::Finetune(args) => {
            return commands::train::run::<FinetuneExperiment>(&args, Meant::FineTuning);
        }
        Command::Eval(args) => commands::eval::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Embed(args) => commands::embed::run(&args),
        Command::Probe(args) => commands::probe::run(&args),
        Command::Reconstruct(args) => commands::reconstruct::run(&args),
        Command::Plot(args) => commands::plot::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Health(args) => commands::health::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        #[cfg(feature = "hub")]
        Command::Push(args) => commands::push::run(&args),
        #[cfg(feature = "hub")]
        Command::Pull(args) => commands::pull::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Data(args) => return commands::data::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Configs(args) => commands::configs::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Selftest(args) => return commands::selftest::run(&args),
        Command::Tune(args) => return commands::tune::run(&args),
        Command::Launch(args) => return commands::launch::run(&args),
        Command::Completions { shell } => commands::completions(shell),
    }
    .map(|()| ExitCode::SUCCESS)
}
