//! Images for training: sources, decoding, augmentation, and batches of which every random choice
//! is a function of seed, epoch and sample.
//!
//! The way of the data: a [`source`] gives a decoded image, a [`transform`] crops and augments it,
//! the [`Loader`] normalises it and puts it into a [`Batch`].

mod augment_config;
mod data_config;
mod decode;
mod error;
mod loader;
mod loaders;
pub mod mixup;
pub mod rng;
mod shard;
pub mod source;
pub mod transform;

pub use augment_config::{AugmentConfig, MOVED_KEYS};
pub use data_config::{DataConfig, ImageSize};
pub use decode::{decode, decode_file};
pub use error::DataError;
pub use loader::{Batch, Batches, Loader, LoaderConfig, Pixels, Targets, order};
pub use loaders::{TrainingBatches, evaluation_loader, prepare};
pub use shard::Shard;
pub use source::{
    Format, ImageSource, Labels, Sample, Split, Subset, Target, Task, open, stratified_split, with_classes,
};
pub use transform::Transform;
