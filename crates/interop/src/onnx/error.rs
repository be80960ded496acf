//! Why a network cannot be written as ONNX.

use std::path::PathBuf;

use model::ConfigError;
use whole::Unwritten;

/// Why a network cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The configuration describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration asks for a tensor that the weights lack.
    #[error("the weights lack `{0}`, which the configuration asks for; are they those of another network?")]
    Missing(String),
    /// A tensor has another shape than the configuration says.
    #[error("`{name}`: expected {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Shape that the configuration asks for.
        expected: Vec<usize>,
        /// Shape of the weights.
        found: Vec<usize>,
    },
    /// The weights hold what the network has no place for.
    #[error(
        "the network has no place for {count} of the tensors, the first is `{first}`; \
         only an encoder with or without a classifier can be written as ONNX"
    )]
    Unused {
        /// Number of such tensors.
        count: usize,
        /// Name of the first.
        first: String,
    },
    /// As many labels as classes are needed, or none.
    #[error("{found} labels for {expected} classes; give one for each, or none")]
    Labels {
        /// Labels given.
        found: usize,
        /// Classes of the configuration.
        expected: usize,
    },
    /// The path names no file.
    #[error("{} is not a file name that the network could be written to", .0.display())]
    Name(PathBuf),
    /// A file cannot be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}
