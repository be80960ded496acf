//! Checkpoints that load everywhere: those of the official code, timm and Hugging Face
//! transformers come in, and go out again.
//!
//! [`read`] recognises a file or directory by what is in it and gives the weights under the
//! official dense names (`stages.2.5.pwconv1.weight`), checked one by one against the network
//! that their shapes describe. [`export`] writes a [`Network`] in one of the [`Format`]s.
//!
//! Nothing in a PyTorch pickle is executed. [`onnx`] writes a graph for onnxruntime, and `hub` moves
//! folders to and from the Hugging Face Hub.

mod backbone;
mod check;
mod error;
mod expected;
mod export;
mod format;
#[cfg(feature = "hub")]
pub mod hub;
mod infer;
mod layout;
mod locate;
mod model_card;
mod network;
pub mod onnx;
mod opened;
mod pickle;
mod pickle_globals;
mod pickle_writer;
mod read;
mod sparse;
mod timm;
mod timm_config;
mod transformers;
mod transformers_config;

pub use check::Mismatch;
pub use checkpoint::Allow;
pub use error::InteropError;
pub use export::export;
pub use format::Format;
pub use layout::Layout;
pub use locate::locate;
pub use model_card::{ModelCard, Score};
pub use network::{Kind, Network, Preprocessing};
pub use opened::{Conventions, Opened, open};
pub use read::{Imported, read};
