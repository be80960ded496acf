//! The command line.

use std::path::PathBuf;

use checkpoint::Allow;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use host::DeviceName;
use model::Execution;
use serde::Serialize;

/// Masked-autoencoder pretraining (FCMAE) and fine-tuning of ConvNeXt V2.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pretrain an encoder on images, no labels needed.
    #[command(after_help = "Examples:
  train-cli pretrain --config configs/quickstart.toml
  train-cli pretrain --config configs/fcmae_atto.toml --data ~/photos --run-dir runs/photos
  train-cli pretrain --config configs/fcmae_atto.toml --data ~/photos --dry-run
  train-cli pretrain --config configs/fcmae_atto.toml --run-dir runs/photos --resume auto
  train-cli pretrain --config configs/fcmae_atto.toml --set train.batch_size=16 --set optim.blr=3e-4")]
    Pretrain(RunArgs),
    /// Fine-tune a pretrained encoder (or train from scratch) on images with classes.
    #[command(after_help = "Examples:
  train-cli finetune --config configs/finetune_quickstart.toml
  train-cli finetune --config configs/finetune_custom.toml --data ~/photos --init runs/photos
  train-cli finetune --config configs/finetune_custom.toml --data labels.csv --init runs/photos
  train-cli finetune --config configs/finetune_atto.toml --data /path/to/imagenet --init none --dry-run")]
    Finetune(RunArgs),
    /// Accuracy of a classifier on images with classes.
    #[command(after_help = "Examples:
  train-cli eval --checkpoint runs/finetune_quickstart --data data/sample
  train-cli eval --checkpoint runs/mine --data ~/photos --json")]
    Eval(EvalArgs),
    /// Classes of images, and how sure the network is.
    #[command(after_help = "Examples:
  train-cli predict --checkpoint runs/finetune_quickstart data/sample/val/cat/000.png
  train-cli predict --checkpoint runs/mine ~/photos --top-k 3 --csv > predictions.csv
  train-cli predict --checkpoint runs/mine photo.jpg --heatmap why.png")]
    Predict(PredictArgs),
    /// Features of images, from a pretrained encoder or a classifier.
    #[command(after_help = "Examples:
  train-cli embed --checkpoint runs/quickstart --data data/sample --out features.safetensors
  train-cli embed --checkpoint runs/mine --data ~/photos --out features.safetensors")]
    Embed(EmbedArgs),
    /// How good the features of an encoder are, without fine-tuning it.
    #[command(after_help = "Examples:
  train-cli probe knn --checkpoint runs/quickstart --data data/sample
  train-cli probe linear --checkpoint runs/quickstart --data data/sample --json")]
    Probe(ProbeArgs),
    /// Show how a pretrained network completes masked images.
    #[command(after_help = "Examples:
  train-cli reconstruct --checkpoint runs/quickstart --out grid.png photo.jpg
  train-cli reconstruct --checkpoint runs/quickstart/checkpoints/step-00000120 --mask-ratio 0.75 --out grid.png *.jpg")]
    Reconstruct(ReconstructArgs),
    /// Turn a checkpoint of the official code, timm or transformers into one of ours. (All commands
    /// also read those directly.)
    #[command(after_help = "Examples:
  train-cli import convnextv2_tiny_1k_224_fcmae.pt --out checkpoints/tiny
  train-cli import ~/models/convnextv2-atto-1k-224 --out checkpoints/atto")]
    Import(ImportArgs),
    /// Write a checkpoint for transformers, timm, the official code or onnxruntime.
    #[command(after_help = "Examples:
  train-cli export --checkpoint runs/finetune_quickstart --format hf --out exported/hf
  train-cli export --checkpoint runs/mine --format timm --out exported/timm --license mit
  train-cli export --checkpoint runs/mine --format onnx --out exported/onnx")]
    Export(ExportArgs),
    /// Upload a folder to the Hugging Face Hub.
    #[cfg(feature = "hub")]
    #[command(after_help = "Examples:
  train-cli push exported --repo user/name
  train-cli push exported --repo user/name --private --revision trial --message 'Longer training'
The token comes from HF_TOKEN or the file that `hf auth login` writes.")]
    Push(PushArgs),
    /// Download a repository of the Hugging Face Hub.
    #[cfg(feature = "hub")]
    #[command(after_help = "Examples:
  train-cli pull user/name --out model
  train-cli pull user/name@trial --out model")]
    Pull(PullArgs),
    /// Run a command on several processes, which train one network together.
    #[command(after_help = "Examples:
  train-cli launch --nproc 2 -- pretrain --config configs/quickstart.toml
  train-cli launch --nproc 8 --max-restarts 3 -- pretrain --config configs/fcmae_base.toml --data ~/photos
  train-cli launch --nproc 8 --nnodes 2 --node-rank 0 --master-addr 10.0.0.1 --master-port 29500 -- finetune …")]
    Launch(LaunchArgs),
    /// Parameters, multiply-adds, tokens and memory of a configuration or checkpoint.
    #[command(after_help = "Examples:
  train-cli info configs/fcmae_base.toml
  train-cli info runs/quickstart --json")]
    Info(InfoArgs),
    /// Measure the speed of a training or inference step on noise.
    #[command(after_help = "Examples:
  train-cli bench pretrain --batch 16
  train-cli bench infer --batch 1 --threads 2 --json
  train-cli bench pretrain --config configs/fcmae_tiny.toml --batch 4 --set fcmae.mask_ratio=0.9")]
    Bench(BenchArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  train-cli completions bash > ~/.local/share/bash-completion/completions/train-cli")]
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The experiment.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Images: a folder, a CSV file that lists them, or a CIFAR-10 or MNIST data set [overrides
    /// data.path].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where checkpoints, logs and pictures go [default: runs/NAME-OF-CONFIG].
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Continue a run: `auto` for the newest checkpoint of the run directory, from the start if there
    /// is none yet; or a checkpoint. Its weights come before those of --init.
    #[arg(long, value_name = "auto|CHECKPOINT")]
    pub(crate) resume: Option<String>,
    /// Start from the weights of a checkpoint, with a fresh optimizer and at step 0; `none` for
    /// fresh weights.
    #[arg(long, value_name = "CHECKPOINT|none")]
    pub(crate) init: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Passes over the data [overrides train.epochs].
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// Print the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Full-screen dashboard instead of a progress bar.
    #[arg(long)]
    pub(crate) tui: bool,
}

/// Where to compute, of every command that does.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: auto, cpu, libtorch or libtorch:cuda:NUMBER.
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto")]
    pub(crate) name: DeviceName,
}

/// The size of a forward pass, of every command that makes some.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BatchArgs {
    /// Images of a forward pass.
    #[arg(long = "batch", value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) images: usize,
}

/// The checkpoint that a command uses.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckpointArgs {
    /// A run (its best network, or else its newest checkpoint), a checkpoint, or weights of the
    /// official code, timm or transformers; hf:USER/NAME for one on the Hub.
    #[arg(long = "checkpoint", value_name = "CHECKPOINT")]
    pub(crate) path: PathBuf,
}

/// Which differences between a checkpoint and the network it is for are no errors.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// Tensors that the checkpoint need not have; they start fresh. `*` stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow_missing: Vec<String>,
    /// Tensors of the checkpoint that may be left out. `*` stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow_unused: Vec<String>,
}

impl AllowArgs {
    pub(crate) fn patterns(&self) -> Allow {
        Allow { missing: self.allow_missing.clone(), unused: self.allow_unused.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A weight file, a directory of transformers or timm, a run or a checkpoint.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// A new directory, for model.safetensors and config.toml.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// The program that the files are for.
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// A new directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// For the model card, as the Hugging Face Hub names licences: mit, cc-by-nc-4.0 …
    #[arg(long, value_name = "NAME", default_value = "unknown")]
    pub(crate) license: String,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
}

/// What `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// Hugging Face transformers.
    Hf,
    /// timm, also for transformers where timm is installed.
    Timm,
    /// The official code: checkpoint.pth, and its dense names as model.safetensors.
    Official,
    /// onnxruntime and the like: model.onnx.
    Onnx,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Images with classes: their validation part, or all if they are not divided [default: those
    /// of the run].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Draw how often each class is taken for which; the counts go beside it as JSON.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) confusion: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Images, or folders of them; `-` reads names from standard input, one a line.
    #[arg(required = true, value_name = "IMAGE|DIR|-")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Classes shown for an image.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    pub(crate) top_k: usize,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Show where the score of the first class comes from, for a single image.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) heatmap: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print a line of JSON for each image.
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Add the head's outputs, in the order of the classes, to the JSON.
    #[arg(long, requires = "json")]
    pub(crate) logits: bool,
    /// Print a table: image, rank, label, score.
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Images: every one of a folder, or a part of a data set that is divided.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which part of a data set that is divided.
    #[arg(long, value_enum, default_value = "train")]
    pub(crate) split: SplitName,
    /// With `features` (a row an image) and, where there are classes, `labels`; names of images in the
    /// metadata. Or an NPY file of the features alone.
    #[arg(long, value_name = "FILE.safetensors|FILE.npy")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SplitName {
    Train,
    Val,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// What judges the features.
    pub(crate) kind: ProbeKind,
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Images with classes, divided into train and val.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Neighbours that vote (knn).
    #[arg(long, value_name = "K", value_parser = positive, default_value_if("kind", "knn", "20"))]
    pub(crate) k: Option<usize>,
    /// Strength of the penalty on squared weights (linear).
    #[arg(long, value_name = "LAMBDA", value_parser = amount, default_value_if("kind", "linear", "1e-3"))]
    pub(crate) l2: Option<f64>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `probe` judges features by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProbeKind {
    /// The classes of the nearest neighbours.
    Knn,
    /// The best linear classifier.
    Linear,
}

#[derive(Debug, Args)]
pub(crate) struct ReconstructArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    /// Images, one row of the picture each.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// The picture; the scores go beside it as JSON.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: PathBuf,
    /// Seed of the masks.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Share of patches to hide [default: that of the run].
    #[arg(long, value_name = "RATIO")]
    pub(crate) mask_ratio: Option<f64>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

#[cfg(feature = "hub")]
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// A checkpoint, or what `export` wrote; all files but hidden ones are uploaded.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where to; created unless it exists.
    #[arg(long, value_name = "USER/NAME")]
    pub(crate) repo: interop::hub::RepoId,
    /// Hide a new repository from others.
    #[arg(long)]
    pub(crate) private: bool,
    /// The branch; created unless it exists.
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub(crate) revision: String,
    /// Message of the commit.
    #[arg(long, value_name = "TEXT", default_value = "Upload with train-cli")]
    pub(crate) message: String,
}

#[cfg(feature = "hub")]
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The repository, and a branch, tag or commit.
    #[arg(value_name = "USER/NAME[@REVISION]")]
    pub(crate) source: interop::hub::Source,
    /// The folder to write; new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Processes on this machine, one a device.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) nproc: usize,
    /// Machines; this command is started on each of them.
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = positive)]
    pub(crate) nnodes: usize,
    /// Which of them this is, from 0.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) node_rank: usize,
    /// Address of machine 0 [default: this machine].
    #[arg(long, value_name = "HOST")]
    pub(crate) master_addr: Option<String>,
    /// A free port of machine 0 [default: any].
    #[arg(long, value_name = "PORT")]
    pub(crate) master_port: Option<u16>,
    /// Starts all again after a failure, so many times; training then goes on from its newest
    /// checkpoint, as with `--resume auto`.
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub(crate) max_restarts: u64,
    /// The command and its arguments, after `--`.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A configuration, a run directory or a checkpoint.
    #[arg(value_name = "CONFIG|CHECKPOINT")]
    pub(crate) path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub(crate) kind: BenchKind,
    /// The network and the mask [default: Atto with the paper's mask].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Images of a step.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive)]
    pub(crate) batch: usize,
    /// Threads [default: all cores].
    #[arg(long, value_name = "T", value_parser = positive)]
    pub(crate) threads: Option<usize>,
    /// Timed steps.
    #[arg(long, value_name = "S", default_value_t = 7, value_parser = positive)]
    pub(crate) steps: usize,
    /// How the encoder runs on masked images.
    #[arg(long, value_parser = execution)]
    pub(crate) execution: Option<Execution>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
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
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number, at least 1".to_owned()),
    }
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("must be a number, 0 or more".to_owned()),
    }
}

fn execution(text: &str) -> Result<Execution, String> {
    match text {
        "compact" => Ok(Execution::Compact),
        "masked" => Ok(Execution::Masked),
        _ => Err("must be `compact` or `masked`".to_owned()),
    }
}
