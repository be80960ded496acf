//! Arguments of the commands that look at images and pack them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::{png, positive, quality};

#[derive(Debug, Subcommand)]
pub(crate) enum DataArgs {
    /// How many images there are, of which classes, sizes and endings, and what their channels are like.
    #[command(after_help = "Examples:
  train-cli data info --data data/sample --sheet sheet.png
  train-cli data info --data ~/photos --images 2000 --json")]
    Info(DataInfoArgs),
    /// Read everything: damaged images, images that are there twice or in two parts, classes of one image.
    #[command(after_help = "Examples:
  train-cli data check --data data/sample
  train-cli data check --config finetune_custom --data ~/photos --json
Ends with code 0 if nothing is wrong, and with 1 if something was found.")]
    Check(DataCheckArgs),
    /// Pack images into tar shards, and read these back.
    #[command(after_help = "Examples:
  train-cli data pack --data data/sample --out shards
  train-cli data pack --data ~/photos --out shards --short-side 512 --quality 92
The same command goes on where an interrupted one has stopped.")]
    Pack(DataPackArgs),
    /// Draw the augmented batch that training with a configuration begins with.
    #[command(after_help = "Examples:
  train-cli data preview --config configs/quickstart.toml --out preview.png
  train-cli data preview --config finetune_custom --data ~/photos --seed 1 --out preview.png")]
    Preview(DataPreviewArgs),
}

/// Which images.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImagesArgs {
    /// Images: a folder, a table that lists them, tar shards, Parquet files, or a standard set [default:
    /// those of the configuration].
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// A configuration, whose section `[data]` says how images are read and divided: a file, or one that the
    /// program brings.
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) config: Option<PathBuf>,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DataInfoArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// Images whose sizes and channels are looked at, evenly spaced [default: all].
    #[arg(long = "images", value_name = "N", value_parser = positive)]
    pub(crate) most: Option<usize>,
    /// Draw some images of up to 64 classes.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    pub(crate) sheet: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DataCheckArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DataPackArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// The folder of the shards.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Make images whose short side is longer smaller, as JPEGs [default: keep every file bit for bit].
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    pub(crate) short_side: Option<usize>,
    /// Quality of these JPEGs, 1 to 100 [default: 92].
    #[arg(long, value_name = "Q", requires = "short_side", value_parser = quality)]
    pub(crate) quality: Option<u8>,
    /// Images of a shard, at most.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = positive)]
    pub(crate) shard_images: usize,
    /// Megabytes of a shard's images, at most; an image alone may have more.
    #[arg(long, value_name = "MB", default_value_t = 1000, value_parser = positive)]
    pub(crate) shard_size: usize,
    /// Replace shards that are there already.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DataPreviewArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// The picture.
    #[arg(long, value_name = "FILE.png", value_parser = png)]
    pub(crate) out: PathBuf,
    /// Seed of everything random [default: that of the configuration].
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<u64>,
}
