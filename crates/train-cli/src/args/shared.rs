//! Arguments that several commands have, and how values are read.

use std::path::PathBuf;

use clap::Args;
use host::DeviceName;
use model::Execution;
use serde::Serialize;

/// Where to compute, of every command that does.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda, cuda:NUMBER, or libtorch (this machine's processor).
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto", env = "TRAIN_CLI_DEVICE")]
    pub(crate) name: DeviceName,
}

/// The size of a forward pass, of every command that makes some.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BatchArgs {
    /// Images of a forward pass.
    #[arg(long = "batch-size", alias = "batch", value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) images: usize,
}

/// What linear layers multiply, of every command that uses a trained network on many images.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PrecisionArgs {
    /// Numbers that the linear layers and the downsampling multiply; all else is always f32.
    #[arg(long = "precision", value_name = "PRECISION", value_enum, default_value_t)]
    pub(crate) asked: PrecisionName,
}

/// Numbers to multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrecisionName {
    /// As in training.
    #[default]
    F32,
    /// Weights and activations rounded to 8 bits: faster on processors with instructions for it (VNNI), outputs
    /// differ a little; `eval` says by how much.
    Int8,
}

/// What a command changes of the preprocessing that a checkpoint asks for.
#[derive(Debug, Clone, Args)]
pub(crate) struct EvalSetArgs {
    /// Override what is done to images, as in the section `[eval]` of a configuration; of an imported
    /// checkpoint as well.
    #[arg(long = "set", value_name = "eval.KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

/// The checkpoint that a command uses.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckpointArgs {
    /// A run (its best network, or else its newest checkpoint), a checkpoint, or weights of the
    /// official code, timm or transformers; hf:USER/NAME for one on the Hub.
    #[arg(long = "checkpoint", value_name = "CHECKPOINT")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
}

/// Which network of a file, of every command that takes weights of other programs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeyArgs {
    /// The network of a file that holds several, by the key that it is under: model_ema,
    /// state_dict_ema … [default: the trained weights, not their average].
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number, at least 1".to_owned()),
    }
}

pub(super) fn quality(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(number) if (1..=100).contains(&number) => Ok(number),
        _ => Err("must be a whole number from 1 to 100".to_owned()),
    }
}

pub(super) fn amount(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("must be a number, 0 or more".to_owned()),
    }
}

pub(super) fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// The file of a picture.
pub(super) fn png(text: &str) -> Result<PathBuf, String> {
    match PathBuf::from(text) {
        path if path.extension().is_some_and(|extension| extension == "png") => Ok(path),
        _ => Err("the picture is a PNG, its name ends in .png".to_owned()),
    }
}

/// The file of a page.
pub(super) fn html(text: &str) -> Result<PathBuf, String> {
    match PathBuf::from(text) {
        path if path.extension().is_some_and(|extension| extension == "html") => Ok(path),
        _ => Err("the page is HTML, its name ends in .html".to_owned()),
    }
}

pub(super) fn execution(text: &str) -> Result<Execution, String> {
    match text {
        "compact" => Ok(Execution::Compact),
        "masked" => Ok(Execution::Masked),
        _ => Err("must be `compact` or `masked`".to_owned()),
    }
}
