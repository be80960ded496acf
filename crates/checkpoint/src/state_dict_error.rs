//! Why a file of tensors cannot be used.

use std::path::PathBuf;

use safetensors::Dtype;

/// Why a file of tensors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
    /// Not a whole safetensors file.
    #[error("{} is no complete safetensors file ({reason}); it is damaged or of another format", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason that the parser gives.
        reason: String,
    },
    /// A tensor of a type that is not supported.
    #[error("{}: tensor `{name}` is of type {dtype:?}; supported are F64, F32, F16, BF16 and I64", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Type of its elements.
        dtype: Dtype,
    },
    /// A tensor with numbers that nothing can be made of.
    #[error(
        "{count} of the numbers in tensor `{name}` are NaN or infinite; these weights are damaged, or of a \
         run that diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// How many of its numbers.
        count: usize,
    },
    /// The tensors are those of another network.
    #[error("{0}")]
    Mismatch(String),
}
