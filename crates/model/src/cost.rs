//! What a network costs, counted from its configuration: parameters, multiply-adds, tokens.

use host::Precision;

use crate::config::ConvNextV2Config;
use crate::conv::DEPTHWISE_KERNEL;
use crate::engine::Compute;

/// Elements that a block keeps for its backward pass, for every site and channel (measured).
const ACTIVATIONS_PER_CHANNEL: usize = 24;

/// `3.39 M`.
pub fn in_millions(count: u64) -> String {
    format!("{:.2} M", count as f64 / 1e6)
}

/// `0.550 G`.
pub fn in_giga(count: u64) -> String {
    format!("{:.3} G", count as f64 / 1e9)
}

/// The mask and decoder of a pretraining step, as far as its cost depends on them.
#[derive(Debug, Clone, Copy)]
pub struct MaskedCost {
    /// Patches of an image.
    pub patches: usize,
    /// Visible patches among them.
    pub visible: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Decoder width.
    pub decoder_dim: usize,
    /// Decoder blocks.
    pub decoder_depth: usize,
}

/// One stage of the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCost {
    /// Channels of the stage.
    pub channels: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Rows and columns of the feature map.
    pub map: [usize; 2],
    /// Multiply-adds per image over the whole map: downsampling or stem, and blocks.
    pub macs: u64,
    /// Parameters of downsampling or stem, and blocks.
    pub parameters: u64,
}

/// Cost of an encoder for images of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderCost {
    /// The cost of each stage.
    pub stages: Vec<StageCost>,
}

/// Multiply-adds that one block spends on a token: depthwise, C → 4C, 4C → C.
fn block_macs(channels: usize) -> [u64; 3] {
    let c = channels as u64;
    [(DEPTHWISE_KERNEL * DEPTHWISE_KERNEL) as u64 * c, 4 * c * c, 4 * c * c]
}

fn block_parameters(channels: usize) -> u64 {
    let c = channels as u64;
    (DEPTHWISE_KERNEL * DEPTHWISE_KERNEL) as u64 * c + c // dwconv
        + 2 * c // norm
        + 8 * c * c + 5 * c // both linears
        + 8 * c // GRN
}

/// Bytes that blocks keep for their backward pass: of stages of so many sites and channels, and blocks.
/// Where they compute again, inputs, and all that one block at a time needs.
fn block_bytes(stages: impl Iterator<Item = (usize, usize)> + Clone, compute: Compute) -> u64 {
    let within = ACTIVATIONS_PER_CHANNEL * compute.precision.bytes();
    let sum =
        |of_a_block: usize| stages.clone().map(|(size, depth)| size * depth * of_a_block).sum::<usize>();
    let largest = stages.clone().filter(|(_, depth)| *depth > 0).map(|(size, _)| size).max().unwrap_or(0);
    let kept = match compute.recompute {
        // Residual sums are f32 always.
        true => sum(Precision::F32.bytes()) + largest * within,
        false => sum(within),
    };
    kept as u64
}

impl EncoderCost {
    /// The cost of an encoder for images of `[height, width]` pixels.
    pub fn of(config: &ConvNextV2Config, image: [usize; 2]) -> Self {
        let mut map = image;
        let stages = (0..config.num_stages).map(|i| {
            let channels = config.hidden_sizes[i];
            let (inputs, kernel) = match i {
                0 => (config.num_channels, config.patch_size),
                _ => (config.hidden_sizes[i - 1], 2),
            };
            map = map.map(|side| side / kernel);
            let (sites, depth) = ((map[0] * map[1]) as u64, config.depths[i]);
            let entry = (inputs * kernel * kernel * channels) as u64;
            let entry_norm = 2 * if i == 0 { channels } else { inputs } as u64;
            StageCost {
                channels,
                depth,
                map,
                macs: sites * (entry + depth as u64 * block_macs(channels).iter().sum::<u64>()),
                parameters: entry + channels as u64 + entry_norm + depth as u64 * block_parameters(channels),
            }
        });
        Self { stages: stages.collect() }
    }

    /// Multiply-adds of a forward pass over one whole image.
    pub fn macs(&self) -> u64 {
        self.stages.iter().map(|stage| stage.macs).sum()
    }

    /// Parameters, without final norm and head.
    pub fn parameters(&self) -> u64 {
        self.stages.iter().map(|stage| stage.parameters).sum()
    }

    /// Bytes of activations per image that a training step keeps for its backward pass.
    pub fn activation_bytes(&self, compute: Compute) -> u64 {
        let stages = self.stages.iter().map(|s| (s.map[0] * s.map[1] * s.channels, s.depth));
        block_bytes(stages, compute)
    }
}

impl MaskedCost {
    /// Multiply-adds of the encoder on visible sites only.
    pub fn encoder_macs(&self, encoder: &EncoderCost) -> u64 {
        self.visible_share(encoder.macs())
    }

    /// The part of `amount`, which grows with sites, that belongs to visible patches.
    pub fn visible_share(&self, amount: u64) -> u64 {
        amount * self.visible as u64 / self.patches as u64
    }

    /// Multiply-adds of the decoder. With `all`, everything at every patch; else, as the loss
    /// needs it, the last linear layer and the prediction at hidden patches only.
    pub fn decoder_macs(&self, config: &ConvNextV2Config, all: bool) -> u64 {
        let per_patch = (self.patch_size / config.total_stride()).pow(2) as u64;
        let (patches, visible) = (self.patches as u64 * per_patch, self.visible as u64 * per_patch);
        let read = if all { patches } else { patches - visible };
        let dim = self.decoder_dim as u64;
        let block = block_macs(self.decoder_dim);
        let whole: u64 = block.iter().sum::<u64>() * patches * self.decoder_depth as u64;
        let skipped = if self.decoder_depth > 0 { block[2] * (patches - read) } else { 0 };
        let pixels = (config.total_stride().pow(2) * config.num_channels) as u64;
        visible * config.last_hidden_size() as u64 * dim + whole - skipped + read * dim * pixels
    }

    /// Bytes of the decoder's activations per image that a training step keeps.
    pub fn decoder_activation_bytes(&self, config: &ConvNextV2Config, compute: Compute) -> u64 {
        let per_patch = (self.patch_size / config.total_stride()).pow(2);
        let tokens = self.patches * per_patch;
        let pixels = config.total_stride().pow(2) * config.num_channels;
        let blocks = std::iter::once((tokens * self.decoder_dim, self.decoder_depth));
        let predicted = 4 * Precision::F32.bytes() * (tokens - self.visible * per_patch) * pixels;
        block_bytes(blocks, compute) + predicted as u64
    }

    /// Parameters of the decoder.
    pub fn decoder_parameters(&self, config: &ConvNextV2Config) -> u64 {
        let dim = self.decoder_dim as u64;
        let pixels = (config.total_stride().pow(2) * config.num_channels) as u64;
        let proj = config.last_hidden_size() as u64 * dim + dim;
        let blocks = self.decoder_depth as u64 * block_parameters(self.decoder_dim);
        proj + dim + blocks + dim * pixels + pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    /// Published parameters in millions and GFLOPs (multiply-adds) at 224² with 1000 classes
    /// (paper, table 14).
    #[test]
    fn published_sizes() {
        for (size, millions, giga) in [
            (Size::Atto, 3.7, 0.55),
            (Size::Femto, 5.2, 0.78),
            (Size::Pico, 9.1, 1.37),
            (Size::Nano, 15.6, 2.45),
            (Size::Tiny, 28.6, 4.47),
            (Size::Base, 88.7, 15.4),
            (Size::Large, 198.0, 34.4),
            (Size::Huge, 660.0, 115.0),
        ] {
            let config = ConvNextV2Config::from_size(size);
            let cost = EncoderCost::of(&config, [224, 224]);
            let last = config.last_hidden_size() as u64;
            let parameters = (cost.parameters() + 2 * last + 1001 * last - last + 1000) as f64 / 1e6;
            assert!((parameters / millions - 1.0).abs() < 0.012, "{size}: {parameters} M");
            let found = cost.macs() as f64 / 1e9;
            assert!((found / giga - 1.0).abs() < 0.012, "{size}: {found} G");
        }
    }

    #[test]
    fn the_loss_needs_less_than_the_whole_decoder() {
        let config = ConvNextV2Config::from_size(Size::Atto);
        let cost =
            MaskedCost { patches: 49, visible: 19, patch_size: 32, decoder_dim: 512, decoder_depth: 1 };
        // Projection of 19, depthwise and first linear of 49, second linear and pixels of 30.
        let expected = 19 * 320 * 512 + 49 * (49 * 512 + 4 * 512 * 512) + 30 * 512 * (2048 + 3072);
        assert_eq!(cost.decoder_macs(&config, false), expected);
        assert!(cost.decoder_macs(&config, true) > expected);
    }
    #[test]
    fn blocks_that_compute_again_keep_their_input_and_one_block_at_a_time() {
        let config = ConvNextV2Config::from_size(Size::Tiny);
        let cost = EncoderCost::of(&config, [224, 224]);
        // Sites and channels of a stage: 56² · 96, half of it, a quarter, an eighth; 3, 3, 9, 3 blocks.
        let [first, inputs] = [56 * 56 * 96, 56 * 56 * 12 * (3 * 8 + 3 * 4 + 9 * 2 + 3)];
        let (kept, again) = (Compute::default(), Compute { recompute: true, ..Compute::default() });
        assert_eq!(cost.activation_bytes(kept), 4 * 24 * inputs);
        assert_eq!(cost.activation_bytes(again), 4 * (inputs + 24 * first));
        let low = |compute| Compute { precision: Precision::Bf16, ..compute };
        assert_eq!(cost.activation_bytes(low(kept)), 2 * 24 * inputs);
        assert_eq!(cost.activation_bytes(low(again)), 4 * inputs + 2 * 24 * first);
        let mask =
            MaskedCost { patches: 49, visible: 19, patch_size: 32, decoder_dim: 512, decoder_depth: 1 };
        let predicted = 4 * 4 * 30 * 3072;
        assert_eq!(mask.decoder_activation_bytes(&config, kept), 4 * 24 * 49 * 512 + predicted);
        assert_eq!(mask.decoder_activation_bytes(&config, again), 4 * 25 * 49 * 512 + predicted);
    }
}
