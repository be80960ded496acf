//! One file a subcommand.

pub(crate) mod bench;
pub(crate) mod configs;
pub(crate) mod data;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod init;
pub(crate) mod launch;
pub(crate) mod models;
pub(crate) mod plot;
pub(crate) mod predict;
pub(crate) mod probe;
#[cfg(feature = "hub")]
pub(crate) mod pull;
#[cfg(feature = "hub")]
pub(crate) mod push;
pub(crate) mod reconstruct;
pub(crate) mod report;
pub(crate) mod selftest;
pub(crate) mod train;
pub(crate) mod tune;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;

/// `train-cli completions`.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    clap_complete::generate(shell, &mut Cli::command(), "train-cli", &mut std::io::stdout());
    Ok(())
}
