//! Images for training: sources, decoding, augmentation, and batches of which every random choice
//! is a function of seed, epoch and sample.
//!
//! The way of the data: a [`source`] gives a decoded image, a [`transform`] crops and augments it,
//! the [`Loader`] normalises it and puts it into a [`Batch`].
//!
//! ```
//! use data::{AugmentConfig, DataConfig, ImageSize, Labels, Shard, Targets, TrainingBatches};
//!
//! let dir = tempfile::tempdir()?;
//! for class in ["cat", "dog"] {
//!     std::fs::create_dir(dir.path().join(class))?;
//!     image::RgbImage::new(40, 30).save(dir.path().join(class).join("1.png"))?;
//! }
//! let data = DataConfig {
//!     path: Some(dir.path().to_owned()),
//!     image_size: ImageSize::Square(16),
//!     ..DataConfig::default()
//! };
//! let source = data.open(Labels::Required)?;
//! let loader = TrainingBatches {
//!     data: &data,
//!     augment: &AugmentConfig::default(),
//!     seed: 0,
//!     batch_size: 2,
//!     accumulate: 1,
//!     channels: 3,
//!     raw: false,
//!     shard: Shard::default(),
//! }
//! .loader(&source)?;
//! let batch = loader.batches(0, 0).next().unwrap()?;
//! assert_eq!(batch.shape, [2, 3, 16, 16]);
//! assert!(matches!(batch.targets, Targets::Classes(classes) if classes.len() == 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod any_image;
mod augment_config;
mod bands;
mod crop_box;
mod data_config;
mod decode;
mod error;
mod eval_config;
mod image_list;
mod imagenet;
mod judged;
mod loader;
mod loaders;
pub mod mixup;
mod name;
mod pack;
mod parts;
mod picture;
mod profile;
pub mod rng;
mod shard;
pub mod source;
mod statistics;
mod survey;
pub mod transform;

pub use any_image::AnyImage;
pub use augment_config::{AugmentConfig, MOVED_KEYS};
pub use bands::Bands;
pub use data_config::{Apart, Auto, DataConfig, Divided, ImageSize, Workers};
pub use decode::{DecodeOptions, Encoded, decode, decode_file};
pub use error::DataError;
pub use eval_config::EvalConfig;
pub use image_list::{Changes, IMAGES_FILE, ImageList};
pub use imagenet::{are_same_imagenet_classes, imagenet_ids, imagenet_names};
pub use judged::Judged;
pub use loader::{
    Batch, BatchMemory, Batches, Loader, LoaderConfig, MemoryPool, ORDER_VERSION, Pixels, SHUFFLE_BUFFER,
    Sampling, Shuffle, Staged, Targets, balanced_order, order, shard_order,
};
pub use loaders::{TrainingBatches, evaluation_loader, prepare};
pub use name::shown;
pub use pack::{PackOptions, PackStage, Packed, Resize, pack};
pub use parts::Part;
pub use picture::Picture;
pub use profile::Profile;
pub use shard::Shard;
pub use source::{
    ClassMap, ClassMatch, Format, ImageSource, Labels, LeftOut, Matched, Naming, SHARD_LABEL, Sample,
    ShardLimits, ShardWriter, Split, Subset, Target, Task, WrittenShard, divide, image_of, match_classes,
    open, open_labelled, sorted_otherwise_by_timm, splits, with_classes,
};
pub use statistics::check_statistics;
pub use survey::{Alike, Channels, Findings, Fingerprint, Group, Overview, check, groups, overview};
pub use transform::Transform;
