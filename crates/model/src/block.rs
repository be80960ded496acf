//! The ConvNeXt V2 block.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kernels::block::{Batch, Statistics};

use crate::activation::Activation;
#[cfg(feature = "tch")]
use crate::aten;
use crate::conv::DepthwiseConv;
use crate::engine::{Engine, Kernels};
use crate::grn::{Grn, GrnStats};
use crate::layer_norm::{EPSILON, LayerNorm};
use crate::linear::Linear;
use crate::ops;
use crate::sites::{Rows, Sites};

/// The ConvNeXt V2 block (arXiv:2301.00808, figure 5): GRN replaces LayerScale.
#[derive(Module, Debug)]
pub struct Block {
    /// Depthwise 7×7.
    pub dwconv: DepthwiseConv,
    /// LayerNorm over channels.
    pub norm: LayerNorm,
    /// C → 4C.
    pub pwconv1: Linear,
    /// Over 4C channels.
    pub grn: Grn,
    /// 4C → C.
    pub pwconv2: Linear,
    #[module(skip)]
    act: Activation,
    #[module(skip)]
    kernels: Kernels,
}

impl Block {
    /// A block of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(
        channels: usize,
        act: Activation,
        stats: GrnStats,
        kernels: Kernels,
        device: &Device,
    ) -> Self {
        Self {
            dwconv: DepthwiseConv::zeros(channels, device),
            norm: LayerNorm::new(channels, EPSILON, kernels, device),
            pwconv1: Linear::zeros(channels, 4 * channels, device),
            grn: Grn::new(4 * channels, stats, device),
            pwconv2: Linear::zeros(4 * channels, channels, device),
            act,
            kernels,
        }
    }

    /// Chooses what computes the block.
    pub fn set_kernels(&mut self, kernels: Kernels) {
        self.kernels = kernels;
        self.norm.set_kernels(kernels);
    }

    /// Tokens `[N, T, C]` → the same. `drop_path`: factor `[N, 1, 1]` on the residual branch.
    ///
    /// This is the place where a block chooses its execution: `sites` says which tokens exist and
    /// how the depthwise convolution and GRN see them; everything else works token by token.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites, drop_path: Option<Tensor<3>>) -> Tensor<3> {
        #[cfg(feature = "tch")]
        if let Some(spec) = self.aten_spec(&x, sites) {
            let branch_scale = drop_path.map(aten::primitive);
            return aten::block(x, self, aten::Spec { branch_scale, ..spec });
        }
        if let Some(batch) = self.fused_batch(&x, sites) {
            let branch_scale = drop_path.map(ops::host_values);
            return ops::fused_block(x, self, Batch { branch_scale, ..batch });
        }
        let branch = self.pwconv2.forward(self.expand(x.clone(), sites));
        let branch = match drop_path {
            Some(scale) => branch * scale,
            None => branch,
        };
        x + sites.hide(branch) // biases must not leak into hidden sites
    }

    /// As [`forward`](Self::forward) with every site visible, but only the tokens of the patches
    /// `keep` come out. GRN needs every token, what follows it does not.
    pub fn forward_selected(&self, x: Tensor<3>, sites: &Sites, keep: &Rows) -> Tensor<3> {
        #[cfg(feature = "tch")]
        if let Some(spec) = self.aten_spec(&x, sites) {
            let selected = Some(aten::index(keep.token_indices(sites.patch_sites())));
            return aten::block(x, self, aten::Spec { selected, ..spec });
        }
        if let Some(batch) = self.fused_batch(&x, sites) {
            let selected = Some(keep.host().to_vec());
            return ops::fused_block(x, self, Batch { selected, ..batch });
        }
        let hidden = self.expand(x.clone(), sites);
        keep.select(x) + self.pwconv2.forward(keep.select(hidden))
    }

    /// What the kernels need to know of the batch, if they can compute this block.
    fn fused_batch(&self, x: &Tensor<3>, sites: &Sites) -> Option<Batch> {
        let statistics = match self.grn.stats() {
            GrnStats::Sample => Statistics::Sample,
            GrnStats::Batch => Statistics::Batch,
        };
        let applies = self.kernels.engine(&x.device()) == Engine::Slices && self.act == Activation::Gelu;
        if applies { sites.kernel_batch(statistics) } else { None }
    }

    /// What libtorch's kernels need to know of the batch, if they compute this block.
    #[cfg(feature = "tch")]
    fn aten_spec(&self, x: &Tensor<3>, sites: &Sites) -> Option<aten::Spec> {
        let device = x.device();
        let Engine::Aten(precision) = self.kernels.engine(&device) else { return None };
        let (layout, stats) = (sites.aten_layout(&device), self.grn.stats());
        let spec =
            || aten::Spec { layout, stats, kind: aten::kind(precision), selected: None, branch_scale: None };
        (self.act == Activation::Gelu).then(spec)
    }

    /// Everything up to the second linear layer: `[N, T, C]` → `[N, T, 4C]`.
    fn expand(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        let x = self.dwconv.forward(x, sites);
        let x = self.norm.forward(x);
        let x = self.act.forward(self.pwconv1.forward(x));
        self.grn.forward(x, sites)
    }
}
