//! The FCMAE decoder: a plain, narrow ConvNeXt V2 over all patches (paper, section 3).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::block::Block;
use crate::config::ConvNextV2Config;
use crate::conv::StridedConv;
use crate::encoder::Observe;
use crate::engine::Compute;
use crate::grn_stats::GrnStats;
use crate::patch_mask::PatchMask;
use crate::sites::Sites;

/// Projection, mask token, blocks, prediction of pixels.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Encoder channels → decoder width, 1×1.
    pub proj: StridedConv,
    /// Stands in for hidden sites, `[1, D, 1, 1]`.
    pub mask_token: Param<Tensor<4>>,
    /// Always over all sites and with per-sample GRN, whatever the encoder does.
    pub blocks: Vec<Block>,
    /// Decoder width → the pixels that a site stands for, 1×1.
    pub pred: StridedConv,
    /// Pixels per side of a site.
    stride: usize,
}

/// For which patches the decoder predicts pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predict {
    /// The hidden ones: all that the loss reads.
    Hidden,
    /// All of them.
    All,
}

impl Decoder {
    /// A decoder of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(
        config: &ConvNextV2Config,
        dim: usize,
        depth: usize,
        compute: Compute,
        device: &Device,
    ) -> Self {
        let pixels = config.total_stride().pow(2) * config.num_channels;
        let block = |_| Block::zeros(dim, config.hidden_act, GrnStats::Sample, compute, device);
        Self {
            proj: StridedConv::zeros(config.last_hidden_size(), dim, 1, compute, device),
            mask_token: Param::from_tensor(Tensor::zeros([1, dim, 1, 1], device)),
            blocks: (0..depth).map(block).collect(),
            pred: StridedConv::zeros(dim, pixels, 1, compute, device),
            stride: config.total_stride(),
        }
    }

    /// Predicts the pixels of patches from the encoder's visible tokens.
    ///
    /// # Shapes
    /// `visible`: `[N, V·s², C]`, the tokens of visible patches, ascending, s×s of them a patch;
    /// returns `[N, K, P·P·channels]` for the K patches of `predict`, ascending, pixels in the
    /// order row, column, channel.
    pub fn forward(&self, visible: Tensor<3>, mask: &PatchMask, predict: Predict) -> Tensor<3> {
        self.forward_observed(visible, mask, predict, &mut |_, _| {})
    }

    /// The same, layer by layer before the eyes of `observe`.
    pub fn forward_observed(
        &self,
        visible: Tensor<3>,
        mask: &PatchMask,
        predict: Predict,
        observe: &mut Observe,
    ) -> Tensor<3> {
        let device = visible.device();
        let (batch, shown) = (mask.batch(), mask.patches() - mask.hidden()[0].len());
        let side = (visible.dims()[1] / shown).isqrt();
        let sites = Sites::all_patches(batch, mask.grid(), [side, side]);
        let hidden = mask.hidden_rows(&device);
        let x = mask.visible_rows(&device).spread(self.proj.pointwise(visible));
        observe(format_args!("proj"), &x);

        let dim = self.mask_token.dims()[1];
        let tokens = (mask.patches() - shown) * side * side;
        let is_hidden = hidden.spread(Tensor::ones([batch, tokens, 1], &device));
        let mut x = x + self.mask_token.val().reshape([1, 1, dim]) * is_hidden;

        observe(format_args!("mask_token"), &x);
        let whole = match predict {
            Predict::All => self.blocks.len(),
            Predict::Hidden => self.blocks.len().saturating_sub(1),
        };
        for (j, block) in self.blocks[..whole].iter().enumerate() {
            x = block.forward(x, &sites, None);
            observe(format_args!("decoder.{j}"), &x);
        }
        x = match (predict, self.blocks.last()) {
            (Predict::All, _) => x,
            (Predict::Hidden, Some(block)) => block.forward_selected(x, &sites, &hidden),
            (Predict::Hidden, None) => hidden.select(x),
        };
        let x = self.pred.pointwise(x);
        observe(format_args!("pred"), &x);
        self.assemble_patches(x, side)
    }

    /// `[N, K·s², p·p·c]`, the pixels of sites, → `[N, K, P·P·c]`, those of patches (P = s·p).
    fn assemble_patches(&self, pixels: Tensor<3>, side: usize) -> Tensor<3> {
        if side == 1 {
            return pixels;
        }
        let [batch, tokens, values] = pixels.dims();
        let patches = tokens / (side * side);
        pixels
            .reshape([batch * patches * side, side, self.stride, values / self.stride])
            .permute([0, 2, 1, 3])
            .reshape([batch, patches, side * side * values])
    }
}
