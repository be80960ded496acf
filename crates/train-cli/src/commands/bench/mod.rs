//! `train-cli bench`: how fast training, inference and reading images are on this machine.

mod data;
mod networks;
mod parts;
mod predict;
mod settings;
mod step;

use anyhow::{Context, Result};
use host::Machine;

use crate::args::{BenchArgs, BenchKind};
use crate::output::out;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    settings::check(args)?;
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot set the threads")?;
    }
    match args.kind {
        BenchKind::Pretrain | BenchKind::Finetune | BenchKind::Infer => step::run(args),
        BenchKind::Predict => predict::run(args),
        BenchKind::Data => data::run(args),
    }
}

/// The middle one of some speeds.
fn median(mut speeds: Vec<f64>) -> f64 {
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}

fn tell_machine(machine: &Machine) {
    let cpu = machine.cpu.as_deref().unwrap_or(&machine.system);
    let instructions = machine.instructions.join(", ");
    out!("machine      {cpu}, {} cores, {instructions}", machine.cores);
}
