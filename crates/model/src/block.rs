//! The ConvNeXt V2 block.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::activation::Activation;
use crate::conv::DepthwiseConv;
use crate::engine::Compute;
use crate::epsilon;
use crate::grn::Grn;
use crate::grn_stats::GrnStats;
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::ops::{self, BlockSpec, BlockWeights};
use crate::sites::{Rows, Sites};

/// The ConvNeXt V2 block (arXiv:2301.00808, figure 5): GRN replaces LayerScale.
#[derive(Module, Debug)]
pub struct Block {
    /// Depthwise 7×7.
    pub dwconv: DepthwiseConv,
    /// LayerNorm over channels.
    pub norm: LayerNorm,
    /// Pointwise expansion, C → 4C.
    pub pwconv1: Linear,
    /// GRN over 4C channels.
    pub grn: Grn,
    /// Pointwise projection, 4C → C.
    pub pwconv2: Linear,
    #[module(skip)]
    act: Activation,
    #[module(skip)]
    compute: Compute,
}

impl Block {
    /// A block of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(
        channels: usize,
        act: Activation,
        stats: GrnStats,
        compute: Compute,
        device: &Device,
    ) -> Self {
        Self {
            dwconv: DepthwiseConv::zeros(channels, device),
            norm: LayerNorm::new(channels, epsilon::LAYER_NORM, compute, device),
            pwconv1: Linear::zeros(channels, 4 * channels, compute, device),
            grn: Grn::new(4 * channels, stats, device),
            pwconv2: Linear::zeros(4 * channels, channels, compute, device),
            act,
            compute,
        }
    }

    /// Chooses what computes the block.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
        self.norm.set_compute(compute);
        self.pwconv1.set_compute(compute);
        self.pwconv2.set_compute(compute);
    }

    /// What computes the block.
    pub(crate) fn compute(&self) -> Compute {
        self.compute
    }

    /// The activation.
    pub(crate) fn activation(&self) -> Activation {
        self.act
    }

    /// Keeps γ and β of GRN as they are.
    pub fn freeze_grn(&mut self) {
        self.grn = self.grn.clone().no_grad();
    }

    /// Tokens `[N, T, C]` → the same. `drop_path`: factor `[N, 1, 1]` on the residual branch.
    ///
    /// Figure 5 is what a block computes; where one fused operation computes the same, that one does.
    /// `sites` says which tokens exist and how the depthwise convolution and GRN see them; everything
    /// else works token by token.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites, drop_path: Option<Tensor<3>>) -> Tensor<3> {
        let figure_5 = |x: Tensor<3>| {
            let shortcut = x.clone();
            let x = self.dwconv.forward(x, sites); // 7×7
            let x = self.norm.forward(x);
            let x = self.act.forward(self.pwconv1.forward(x)); // C → 4C
            let x = self.grn.forward(x, sites);
            let x = scaled(self.pwconv2.forward(x), drop_path.clone()); // 4C → C
            shortcut + sites.hide(x) // biases must not leak into hidden sites
        };
        let spec = self.spec(sites, None, drop_path.clone());
        ops::block(self.compute, x, spec, || self.weights(), figure_5)
    }

    /// As [`forward`](Self::forward) with every site visible, but only the tokens of the patches
    /// `keep` come out. GRN needs every token, what follows it does not.
    pub fn forward_selected(&self, x: Tensor<3>, sites: &Sites, keep: &Rows) -> Tensor<3> {
        let figure_5 = |x: Tensor<3>| {
            let shortcut = keep.select(x.clone());
            let x = self.norm.forward(self.dwconv.forward(x, sites));
            let x = self.grn.forward(self.act.forward(self.pwconv1.forward(x)), sites);
            shortcut + self.pwconv2.forward(keep.select(x))
        };
        ops::block(self.compute, x, self.spec(sites, Some(keep), None), || self.weights(), figure_5)
    }

    /// The expanded features of tokens, behind the activation and before GRN: `[N, T, C]` → `[N, T, 4C]`.
    pub fn expanded(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        self.act.forward(self.pwconv1.forward(self.norm.forward(self.dwconv.forward(x, sites))))
    }

    fn spec<'a>(
        &self,
        sites: &'a Sites,
        selected: Option<&'a Rows>,
        drop_path: Option<Tensor<3>>,
    ) -> BlockSpec<'a> {
        BlockSpec { sites, act: self.act, stats: self.grn.stats(), selected, drop_path }
    }

    pub(crate) fn weights(&self) -> BlockWeights {
        BlockWeights {
            dwconv: self.dwconv.weight.val(),
            dwconv_bias: self.dwconv.bias.val(),
            norm: self.norm.weight.val(),
            norm_bias: self.norm.bias.val(),
            pwconv1: self.pwconv1.weight.val(),
            pwconv1_bias: self.pwconv1.bias.val(),
            gamma: self.grn.gamma.val(),
            beta: self.grn.beta.val(),
            pwconv2: self.pwconv2.weight.val(),
            pwconv2_bias: self.pwconv2.bias.val(),
        }
    }
}

/// The residual branch, dropped or enlarged sample by sample.
fn scaled(branch: Tensor<3>, drop_path: Option<Tensor<3>>) -> Tensor<3> {
    match drop_path {
        Some(scale) => branch * scale,
        None => branch,
    }
}
