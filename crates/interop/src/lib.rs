//! Checkpoints that load everywhere: those of the official code, timm and Hugging Face
//! transformers come in, and go out again.
//!
//! [`read`] recognises a file or directory by what is in it and gives the weights under the
//! official dense names (`stages.2.5.pwconv1.weight`), checked one by one against the network
//! that their shapes describe. [`export`] writes a [`Network`] in one of the [`Format`]s.
//!
//! ```
//! use burn::tensor::Device;
//! use checkpoint::StateDict;
//! use interop::{Allow, Format, Kind, ModelCard, Network, export, read};
//! use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Size, official_name};
//!
//! let dir = tempfile::tempdir()?;
//! let config = ConvNextV2Config { num_labels: 2, ..ConvNextV2Config::from_size(Size::Atto) };
//! let classifier = ConvNextV2ForImageClassification::new(&config, 0, &Device::flex())?;
//! let network = Network {
//!     weights: StateDict::of_module(&classifier, &official_name),
//!     config,
//!     kind: Kind::Classifier,
//!     labels: Some(vec!["cat".to_owned(), "dog".to_owned()]),
//!     problem_type: None,
//!     preprocessing: None,
//! };
//! export(&network, Format::Transformers, &ModelCard::default(), &dir.path().join("hf"))?;
//! let read = read(&dir.path().join("hf"), &Allow::default())?;
//! assert_eq!(read.network.labels, network.labels);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing in a PyTorch pickle is executed. [`onnx`] writes a graph for onnxruntime, and `hub` moves
//! folders to and from the Hugging Face Hub.

mod backbone;
mod check;
mod error;
mod expected;
mod export;
mod file;
mod format;
#[cfg(feature = "hub")]
pub mod hub;
mod image_processor;
mod infer;
mod layout;
mod locate;
mod model_card;
mod network;
mod networks;
pub mod onnx;
mod opened;
mod pickle;
mod pickle_writer;
mod preprocessing;
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
pub use network::{Kind, Network};
pub use networks::Origin;
pub use opened::{Conventions, Opened, open};
pub use preprocessing::Preprocessing;
pub use read::{Imported, read, read_key};
