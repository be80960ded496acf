//! What can be wrong with a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use checkpoint::{BoxError, CheckpointError, StateDictError};
use whole::Unwritten;

use crate::check::Mismatch;
use crate::onnx::OnnxError;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason that the operating system gives.
        error: io::Error,
    },
    /// A file or folder cannot be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// A folder that could not be filled.
    #[error("cannot write {}, and nothing of it is there: {error}", folder.display())]
    Export {
        /// The folder.
        folder: PathBuf,
        /// What went wrong with a file of it.
        error: Box<InteropError>,
    },
    /// A damaged safetensors file.
    #[error(transparent)]
    Tensors(#[from] StateDictError),
    /// A run directory or a stored configuration that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A network that cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A stored configuration of this project that is at fault.
    #[error(transparent)]
    Recipe(BoxError),
    /// A damaged PyTorch file.
    #[error("{} is no complete PyTorch checkpoint ({reason})", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// The reason that the reader gives.
        reason: String,
    },
    /// A pickle that would run something when Python loads it.
    #[error(
        "{}: the pickle names `{global}`, which no checkpoint needs and which can run programs; nothing was \
         executed. Do not load this file with Python",
        path.display()
    )]
    ForeignGlobal {
        /// The file.
        path: PathBuf,
        /// Module and name.
        global: String,
    },
    /// A PyTorch file without tensors.
    #[error("{} has no dictionary of tensors; its keys are {}", path.display(), keys.join(", "))]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// Keys at the top of the file.
        keys: Vec<String>,
    },
    /// A key under which there is no network.
    #[error("{} has no network under `{key}`; there is {}", path.display(), keys.join(", "))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The key that was asked for.
        key: String,
        /// Those of the networks there are.
        keys: Vec<String>,
    },
    /// Several networks, none of which is the usual one.
    #[error("{} holds several networks: {}; choose one of them with --key", path.display(), keys.join(", "))]
    SeveralNetworks {
        /// The file.
        path: PathBuf,
        /// Their keys.
        keys: Vec<String>,
    },
    /// Nothing that could be a checkpoint.
    #[error("{} {reason}", path.display())]
    NoCheckpoint {
        /// The path that was asked for.
        path: PathBuf,
        /// Why it is none.
        reason: String,
    },
    /// A configuration beside the weights that cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The reason, in words.
        reason: String,
    },
    /// The tensors are no ConvNeXt V2.
    #[error("{}: {reason}", path.display())]
    NotConvNextV2 {
        /// The file.
        path: PathBuf,
        /// What they are instead, or lack.
        reason: String,
    },
    /// Tensors are missing, unused or of another shape.
    #[error("{}: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which ones.
        mismatch: Mismatch,
    },
    /// The format cannot express this network.
    #[error("{format} cannot hold this network: {reason}")]
    Unsupported {
        /// The format asked for.
        format: &'static str,
        /// The property that the format lacks.
        reason: String,
    },
}

impl InteropError {
    /// Turns an error of the operating system into one about a path, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }
}
