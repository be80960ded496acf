//! Why a page cannot be made.

use std::path::PathBuf;

use checkpoint::CheckpointError;

/// Why a page cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Not a run directory.
    #[error(transparent)]
    Run(#[from] CheckpointError),
    /// More runs than there are colours.
    #[error("{runs} runs are more than can be told apart; report on at most {most}")]
    TooManyRuns {
        /// The number asked for.
        runs: usize,
        /// The number of colours.
        most: usize,
    },
    /// A page that would be too large even without pictures.
    #[error(
        "the page would have {bytes} bytes without any picture, and {limit} are allowed; report on fewer runs"
    )]
    TooLarge {
        /// Its size without pictures.
        bytes: usize,
        /// The size that is allowed.
        limit: usize,
    },
    /// A picture that cannot be written as JPEG.
    #[error("cannot encode a picture: {0}")]
    Picture(#[from] image::ImageError),
    /// Data that cannot be written as JSON.
    #[error("cannot write the data of the page: {0}")]
    Data(#[from] serde_json::Error),
    /// A checkpoint where a run is to be named.
    #[error("{} is a checkpoint; name the directory of its run", .0.display())]
    Checkpoint(PathBuf),
}
