//! `train-cli`: pretrain ConvNeXt V2, look at what it learned, ask what a run would cost.

mod args;
mod checkpoint;
mod classification;
mod commands;
mod config;
mod device;
mod experiment;
mod plan;
mod run;
mod upload;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    kernels::memory::keep_freed_memory();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Pretrain(args) => commands::pretrain::run(&args),
        Command::Finetune(args) => commands::finetune::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Embed(args) => commands::embed::run(&args),
        Command::Probe(args) => commands::probe::run(&args),
        Command::Reconstruct(args) => commands::reconstruct::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Launch(args) => return commands::launch::run(&args),
        Command::Completions { shell } => commands::completions(shell),
    }
    .map(|()| ExitCode::SUCCESS)
}
