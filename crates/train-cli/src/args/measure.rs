//! Arguments of the commands that describe and measure.

use std::path::PathBuf;

use clap::Args;
use host::Precision;
use model::{Execution, Format};
use serde::Serialize;

use super::shared::{BatchArgs, DeviceArgs, KeyArgs, execution, html, png, positive};

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A configuration (a file, or one that the program brings), a run directory or a checkpoint.
    #[arg(value_name = "CONFIG|CHECKPOINT")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// List the tensors of a checkpoint, name and shape.
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub(crate) kind: BenchKind,
    /// The images that `predict` and `data` read [default: those of the configuration].
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The experiment whose network, images and steps are measured, for pretraining or for fine-tuning: a file,
    /// or a configuration that the program brings [default: Atto as the paper trains it].
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Images of a step.
    #[arg(long = "batch-size", alias = "batch", value_name = "N", default_value_t = 16, value_parser = positive)]
    pub(crate) batch: usize,
    /// Threads that compute, and that decode for `predict` unless data.workers says how many [default: all
    /// cores]; for `data`, those that decode [default: data.workers].
    #[arg(long, value_name = "T", value_parser = positive)]
    pub(crate) threads: Option<usize>,
    /// Timed steps [default: 7]; for `data`, rounds of 256 images [default: 7]; for `predict`, passes over all
    /// images [default: 3].
    #[arg(long, value_name = "S", value_parser = positive)]
    pub(crate) steps: Option<usize>,
    /// The numbers of heavy operations [default: those of train.precision; for `predict`, f32].
    #[arg(long)]
    pub(crate) precision: Option<BenchPrecision>,
    /// How the encoder runs on masked images.
    #[arg(long, value_parser = execution)]
    pub(crate) execution: Option<Execution>,
    /// Count the operations that a step asks of libtorch, by part; they are launches on a GPU.
    #[arg(long)]
    pub(crate) ops: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// Run directories; one is drawn by what was measured, several over each other.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The picture.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Run directories, of runs that train or have ended in any way; curves of several are drawn over each
    /// other.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The page [default: report.html in the first run].
    #[arg(long, value_name = "FILE.html", value_parser = html)]
    pub(crate) out: Option<PathBuf>,
    /// Do not judge classifiers by their validation images: no confusion, no wrong images.
    #[arg(long)]
    pub(crate) no_eval: bool,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// A run directory, of a run that has ended or is under way.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The picture; `health.png` in the run directory if left out.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    pub(crate) out: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BenchKind {
    /// A pretraining step with AdamW.
    Pretrain,
    /// A classifier's training step with AdamW.
    Finetune,
    /// A classifier's forward pass.
    Infer,
    /// Classes of images from their files, and decoding and computing apart.
    Predict,
    /// Reading, decoding and augmenting images, without a network.
    Data,
}

/// The numbers in which `bench` has a network computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BenchPrecision {
    /// Single precision.
    F32,
    /// Half as many bits, where training has them.
    Bf16,
    /// Linear layers in 8 bits, in inference.
    Int8,
}

impl BenchPrecision {
    /// That of a network in a precision whose weights are packed in a format.
    pub(crate) fn of(precision: Precision, format: Format) -> Self {
        match (format, precision) {
            (Format::Int8, _) => Self::Int8,
            (Format::F32, Precision::F32) => Self::F32,
            (Format::F32, Precision::Bf16) => Self::Bf16,
        }
    }
}
