//! Arguments of the commands that use, convert and move checkpoints.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use data::Split;
use finetune::Tta;
use serde::Serialize;

use super::run::AllowArgs;
use super::shared::{
    BatchArgs, CheckpointArgs, DeviceArgs, EvalSetArgs, KeyArgs, PrecisionArgs, amount, png, positive, share,
};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A weight file, a directory of transformers or timm, a run or a checkpoint.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// A new directory, for model.safetensors and config.toml.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
    /// The program that the files are for.
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    /// A new directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// For the model card, as the Hugging Face Hub names licences: mit, cc-by-nc-4.0 …
    #[arg(long, value_name = "NAME", default_value = "unknown")]
    pub(crate) license: String,
    /// For the model card, the data set as the Hugging Face Hub names it: imagenet-1k, USER/NAME …
    #[arg(long, value_name = "NAME", value_parser = dataset)]
    pub(crate) dataset: Option<String>,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
}

/// A name that the Hub could have.
fn dataset(text: &str) -> Result<String, String> {
    let fits = |part: &str| {
        let inside = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        inside && !part.is_empty() && !part.starts_with('.')
    };
    match text.split('/').count() <= 2 && text.split('/').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("must be a name on the Hub, as imagenet-1k or USER/NAME; no path".to_owned()),
    }
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
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
    /// Images with classes [default: those of the run].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The part to judge by [default: val, or all of other images than the run's if they are not
    /// divided].
    #[arg(long, value_enum)]
    pub(crate) split: Option<SplitName>,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    /// What the network is shown of an image: `flip` takes the mean of its outputs for the image and the
    /// mirror image.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tta: TtaName,
    /// Which class is which output, where their names do not tell: a CSV file with the columns
    /// folder,class (a name or a number), or a name a line in the order of the outputs.
    #[arg(long, value_name = "FILE")]
    pub(crate) class_map: Option<PathBuf>,
    /// Draw how often each class is taken for which; the counts go beside it as JSON.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
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
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
    /// Images, or folders of them; `-` reads names from standard input, one a line.
    #[arg(required = true, value_name = "IMAGE|DIR|-")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Classes shown for an image.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = positive)]
    pub(crate) top_k: usize,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    /// What the network is shown of an image: `flip` takes the mean of its outputs for the image and the
    /// mirror image.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tta: TtaName,
    /// Names of the outputs, in a file as `eval` takes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) class_map: Option<PathBuf>,
    /// Draw where the score of each image's first class comes from, in f32: the photo beside its heat map.
    #[arg(long, value_name = "FILE.png", value_parser = png, conflicts_with = "tta")]
    pub(crate) heatmap: Option<PathBuf>,
    /// How much of the photo the heat map hides, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share, requires = "heatmap")]
    pub(crate) heatmap_strength: f32,
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
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
    /// Images: every one of a folder, or a part of a data set that is divided.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which part of a data set that is divided.
    #[arg(long, value_enum, default_value = "train")]
    pub(crate) split: SplitName,
    /// With `features` (a row an image) and, where there are classes, `labels`; or an NPY file of the
    /// features alone. The names of the images go beside it, one a line (FILE.names.txt). Or a CSV table
    /// with the columns path, label (the name of the class), f0, f1 …
    #[arg(long, value_name = "FILE.safetensors|FILE.npy|FILE.csv")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// Test-time augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum TtaName {
    /// The image alone.
    #[default]
    None,
    /// The image and its mirror image.
    Flip,
}

impl TtaName {
    pub(crate) fn views(self) -> Tta {
        match self {
            Self::None => Tta::None,
            Self::Flip => Tta::Flip,
        }
    }
}

impl fmt::Display for TtaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Flip => "flip",
        })
    }
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SplitName {
    Train,
    Val,
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Val => Self::Val,
            SplitName::Test => Self::Test,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// What judges the features.
    pub(crate) kind: ProbeKind,
    #[command(flatten)]
    pub(crate) checkpoint: CheckpointArgs,
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
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
    pub(crate) precision: PrecisionArgs,
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
    #[command(flatten)]
    pub(crate) set: EvalSetArgs,
    /// Images, one row of the picture each.
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    /// The picture; the scores go beside it as JSON.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    pub(crate) out: PathBuf,
    /// Seed of the masks.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Bands that are shown as red, green and blue, counted from 1, or one as grey [default: the first
    /// three].
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    pub(crate) bands: Option<Vec<usize>>,
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
