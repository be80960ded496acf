//! The command line.

mod checkpoints;
mod configs;
mod data;
mod measure;
mod run;
mod shared;
mod tune;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use self::data::*;
use crate::output::Verbosity;
pub(crate) use checkpoints::*;
pub(crate) use configs::*;
pub(crate) use measure::*;
pub(crate) use run::*;
pub(crate) use shared::{CheckpointArgs, EvalSetArgs, KeyArgs, PrecisionArgs, PrecisionName};
pub(crate) use tune::*;

/// Masked-autoencoder pretraining (FCMAE) and fine-tuning of ConvNeXt V2.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Exit codes:
  0    done
  1    an error, which standard error names; of data check also that something was found
  2    a command line that cannot be understood
  75   training was asked to stop (Ctrl-C, SIGTERM) and has stopped with a checkpoint: start it again
       with --resume auto
  130  ended at once by a second Ctrl-C
  143  ended at once by SIGTERM, before training began (130 by Ctrl-C): nothing is lost"
)]
pub(crate) struct Cli {
    /// Say nothing but errors and results: no plan, no notes, no progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more: what was chosen, every line of tables, how long it took.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pretrain an encoder on images, no labels needed.
    #[command(after_help = "Examples:
  train-cli pretrain --config configs/quickstart.toml
  train-cli pretrain --config custom --data ~/photos --run-dir runs/photos
  train-cli pretrain --config custom --data ~/photos --dry-run
  train-cli pretrain --config custom --data ~/photos --run-dir runs/photos --resume auto
  train-cli pretrain --config atto --data /path/to/imagenet --batch-size 64 --set train.accumulate=64
Ends with code 75 when it was asked to stop (Ctrl-C, SIGTERM) and has, with a checkpoint.")]
    Pretrain(RunArgs),
    /// Fine-tune a pretrained encoder (or train from scratch) on images with classes.
    #[command(after_help = "Examples:
  train-cli finetune --config configs/finetune_quickstart.toml
  train-cli finetune --config custom --data ~/photos --init runs/photos
  train-cli finetune --config custom --data labels.csv --init hf:facebook/convnextv2-tiny-22k-224
  train-cli finetune --config atto --data /path/to/imagenet --init none --dry-run
Ends with code 75 when it was asked to stop (Ctrl-C, SIGTERM) and has, with a checkpoint.")]
    Finetune(RunArgs),
    /// Accuracy of a classifier on images with classes.
    #[command(after_help = "Examples:
  train-cli eval --checkpoint runs/finetune_quickstart --data data/sample
  train-cli eval --checkpoint runs/mine --data ~/photos --json
  train-cli eval --checkpoint runs/mine --precision int8
The last one judges in f32 and in 8 bits, and says how often the two agree.")]
    Eval(EvalArgs),
    /// Classes of images, and how sure the network is.
    #[command(after_help = "Examples:
  train-cli predict --checkpoint runs/finetune_quickstart data/sample/val/horse/002.png
  train-cli predict --checkpoint runs/mine ~/photos --top-k 3 --csv > predictions.csv
  train-cli predict --checkpoint runs/mine ~/photos --precision int8 --json
  train-cli predict --checkpoint runs/mine ~/photos/new --heatmap why.png --heatmap-strength 0.6")]
    Predict(PredictArgs),
    /// Features of images, from a pretrained encoder or a classifier.
    #[command(after_help = "Examples:
  train-cli embed --checkpoint runs/quickstart --data data/sample --out features.safetensors
  train-cli embed --checkpoint runs/mine --data ~/photos --out features.safetensors --precision int8")]
    Embed(EmbedArgs),
    /// How good the features of an encoder are, without fine-tuning it.
    #[command(after_help = "Examples:
  train-cli probe knn --checkpoint runs/quickstart --data data/sample
  train-cli probe linear --checkpoint runs/quickstart --data data/sample --json")]
    Probe(ProbeArgs),
    /// Show how a pretrained network completes masked images.
    #[command(after_help = "Examples:
  train-cli reconstruct --checkpoint runs/quickstart --out grid.png photo.jpg
  train-cli reconstruct --checkpoint runs/quickstart/checkpoints/step-00000600 --mask-ratio 0.75 --out grid.png *.jpg")]
    Reconstruct(ReconstructArgs),
    /// Draw the curves of runs over each other.
    #[command(after_help = "Examples:
  train-cli plot runs/finetune_quickstart --out curves.png
  train-cli plot runs/first runs/second runs/third --out curves.png")]
    Plot(PlotArgs),
    /// Write a page of HTML that holds all there is to know of runs, to be looked at anywhere and sent on.
    #[command(after_help = "Examples:
  train-cli report runs/quickstart
  train-cli report runs/first runs/second --out comparison.html
  train-cli report runs/mine --no-eval --json
The page is one file below 5 MB that asks nothing of any other machine.")]
    Report(ReportArgs),
    /// Whether a run is learning, no longer learning, collapsing or diverging, and what says so.
    #[command(after_help = "Examples:
  train-cli health runs/quickstart
  train-cli health runs/quickstart --json | python3 -m json.tool")]
    Health(HealthArgs),
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
  train-cli info base
  train-cli info runs/quickstart --json")]
    Info(InfoArgs),
    /// Look at images, check them, pack them into shards, or draw what training gets of them.
    #[command(
        subcommand,
        after_help = "Examples:
  train-cli data info --data ~/photos --sheet sheet.png
  train-cli data check --data ~/photos
  train-cli data pack --data ~/photos --out shards
  train-cli data preview --config finetune_custom --data ~/photos --out preview.png"
    )]
    Data(DataArgs),
    /// Write configurations that suit a folder of images: one for pretraining, one for fine-tuning.
    #[command(after_help = "Examples:
  train-cli init ~/photos
  train-cli init ~/photos --out configs --name holiday")]
    Init(InitArgs),
    /// The configurations that the program brings.
    #[command(
        subcommand,
        after_help = "Examples:
  train-cli configs list
  train-cli configs show fcmae_atto > mine.toml"
    )]
    Configs(ConfigsArgs),
    /// The published sizes: parameters, multiply-adds, accuracy, and their checkpoints on the Hub.
    #[command(after_help = "Examples:
  train-cli models
  train-cli finetune --config custom --data ~/photos --init hf:facebook/convnextv2-tiny-22k-224")]
    Models(ModelsArgs),
    /// Measure the speed of a training or inference step on noise, or of reading images and predicting on them.
    #[command(after_help = "Examples:
  train-cli bench pretrain --batch-size 16
  train-cli bench infer --batch-size 1 --threads 2 --json
  train-cli bench pretrain --config tiny --batch-size 4 --set fcmae.mask_ratio=0.9
  train-cli bench finetune --config finetune_custom --precision f32
  train-cli bench predict --data ~/photos --precision int8
  train-cli bench data --data ~/photos --threads 2")]
    Bench(BenchArgs),
    /// Compare what a device computes with the processor's results: every operation, losses, gradients and
    /// updates, on small networks.
    #[command(after_help = "Examples:
  train-cli selftest --device cuda:0
  train-cli selftest --device libtorch --json
Ends with code 1 where a comparison fails.")]
    Selftest(SelftestArgs),
    /// Find a learning rate or a batch size by trying.
    #[command(
        subcommand,
        after_help = "Examples:
  train-cli tune lr --config configs/quickstart.toml
  train-cli tune batch --config configs/quickstart.toml"
    )]
    Tune(TuneArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  train-cli completions bash > ~/.local/share/bash-completion/completions/train-cli")]
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: Shell,
    },
}

impl Command {
    /// Whether standard output is to hold JSON and nothing else.
    pub(crate) fn prints_json(&self) -> bool {
        match self {
            Self::Pretrain(args) | Self::Finetune(args) => args.json,
            Self::Eval(args) => args.json,
            Self::Predict(args) => args.json,
            Self::Probe(args) => args.json,
            Self::Report(args) => args.json,
            Self::Info(args) => args.json,
            Self::Bench(args) => args.json,
            Self::Selftest(args) => args.json,
            Self::Models(args) => args.json,
            Self::Tune(TuneArgs::Lr(TuneLrArgs { tried, .. }) | TuneArgs::Batch(TuneBatchArgs { tried })) => {
                tried.json
            }
            Self::Health(args) => args.json,
            Self::Data(DataArgs::Info(args)) => args.json,
            Self::Data(DataArgs::Check(args)) => args.json,
            _ => false,
        }
    }
}
