//! Arguments of the commands about configurations and published networks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Images: a folder, a table that lists them (.csv, .tsv, .jsonl), tar shards, Parquet
    /// files, or a CIFAR or MNIST data set.
    #[arg(value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where the files go [default: this folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// What they are called: NAME_pretrain.toml and NAME_finetune.toml [default: after the data].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Replace files of these names.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigsArgs {
    /// Name and purpose of each.
    List,
    /// Print one, with its comments.
    Show {
        /// Its name, as `list` shows it.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Print a line of JSON a size.
    #[arg(long)]
    pub(crate) json: bool,
}
