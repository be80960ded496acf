//! Who named the tensors.

use std::fmt;

use checkpoint::{Entry, StateDict};

use crate::{sparse, timm, transformers};

/// Names and shapes of tensors, by the code that they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The official classifier, and this project: `stages.2.5.pwconv1.weight`.
    Official,
    /// The official pretraining code on MinkowskiEngine: `encoder.stages.2.5.dwconv.kernel`.
    OfficialSparse,
    /// timm: `stages.2.blocks.5.mlp.fc1.weight`.
    Timm,
    /// transformers: `convnextv2.encoder.stages.2.layers.5.pwconv1.weight`.
    Transformers,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official",
            Self::OfficialSparse => "official, sparse pretraining",
            Self::Timm => "timm",
            Self::Transformers => "transformers",
        })
    }
}

impl Layout {
    /// The layout of the tensor that every ConvNeXt begins with.
    pub(crate) fn recognise(tensors: &StateDict) -> Option<Self> {
        let any = |found: &dyn Fn(&str) -> bool| tensors.names().any(found);
        if any(&|name| name.contains("embeddings.patch_embeddings.")) {
            Some(Self::Transformers)
        } else if any(&|name| name.starts_with("stem.0.")) {
            Some(Self::Timm)
        } else if any(&sparse::is_sparse) {
            Some(Self::OfficialSparse)
        } else if any(&|name| name.contains("downsample_layers.0.0.")) {
            Some(Self::Official)
        } else {
            None
        }
    }

    /// One tensor under its official dense name and in its dense shape. What the layout does not
    /// know keeps its name, to be found unused.
    pub(crate) fn to_dense(self, name: &str, entry: Entry) -> (String, Entry) {
        let (name, entry) = match self {
            Self::Official => (sparse::without_prefix(name).to_owned(), entry),
            Self::OfficialSparse => sparse::to_dense(name, entry),
            Self::Timm => timm::to_dense(name, entry),
            Self::Transformers => (transformers::to_dense(name), entry),
        };
        let entry = if name.contains(".grn.") { with_four_dimensions(entry) } else { entry };
        (name, entry)
    }
}

/// GRN's parameters, which are `[C]`, `[1, C]` or `[1, 1, 1, C]`, as the last of these.
fn with_four_dimensions(mut entry: Entry) -> Entry {
    if let Some((&channels, ones)) = entry.shape.split_last()
        && ones.len() <= 3
        && ones.iter().all(|&side| side == 1)
    {
        entry.shape = vec![1, 1, 1, channels];
    }
    entry
}
