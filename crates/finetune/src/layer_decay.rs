//! Layer-wise learning rates: the nearer to the pixels, the slower
//! (official `optim_factory.py` and `utils.py`).

use serde::{Deserialize, Serialize};

/// Blocks of the third stage that share a layer in the grouped numbering.
const GROUP: usize = 3;
/// Layers of the grouped numbering.
const GROUPED_LAYERS: usize = 12;

/// How parameters are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerIds {
    /// Every block is a layer: the official choice for Atto to Tiny.
    #[default]
    Single,
    /// Twelve groups, made for the 27 blocks of the third stage of Base and larger.
    Group,
}

/// Factors on the learning rate by layer.
#[derive(Debug, Clone)]
pub struct LayerDecay<'a> {
    /// Blocks of every stage.
    pub depths: &'a [usize],
    /// How layers are numbered.
    pub ids: LayerIds,
    /// Factor from one layer to the one below it; 1 treats all alike.
    pub rate: f64,
}

impl LayerDecay<'_> {
    /// Layers, without the stem's 0 and the head.
    fn layers(&self) -> usize {
        match self.ids {
            LayerIds::Single => self.depths.iter().sum(),
            LayerIds::Group => GROUPED_LAYERS,
        }
    }

    /// The layer of a parameter, by its official name. What is neither stem, downsampling nor block
    /// belongs to the head.
    pub fn id(&self, name: &str) -> usize {
        let mut parts = name.split('.');
        let kind = parts.next();
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        match (kind, number(), number()) {
            (Some("downsample_layers"), Some(stage), _) => self.downsample_id(stage),
            (Some("stages"), Some(stage), Some(block)) => self.block_id(stage, block),
            _ => self.layers() + 1,
        }
    }

    fn downsample_id(&self, stage: usize) -> usize {
        match (self.ids, stage) {
            // With the first block that follows.
            (LayerIds::Single, _) => self.depths[..stage].iter().sum::<usize>() + 1,
            (LayerIds::Group, 0) => 0,
            (LayerIds::Group, 1 | 2) => stage + 1,
            (LayerIds::Group, _) => GROUPED_LAYERS,
        }
    }

    fn block_id(&self, stage: usize, block: usize) -> usize {
        match (self.ids, stage) {
            (LayerIds::Single, _) => self.depths[..stage].iter().sum::<usize>() + block + 1,
            (LayerIds::Group, 0 | 1) => stage + 1,
            // Deeper third stages than the 27 blocks that this was made for end in the last group.
            (LayerIds::Group, 2) => (3 + block / GROUP).min(GROUPED_LAYERS),
            (LayerIds::Group, _) => GROUPED_LAYERS,
        }
    }

    /// The factor of a layer.
    pub fn scale(&self, id: usize) -> f64 {
        self.rate.powi((self.layers() + 1 - id) as i32)
    }
}
