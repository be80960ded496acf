//! The block forward and backward in ATen operations.
//!
//! T tokens of each of N samples, T' of them selected, C channels, H = 4C hidden ones.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use host::libtorch::aten::{Convolution, layer_norm_backward};
use host::libtorch::copies::in_kind;
use tch::{Kind, Tensor};

use super::grn::{self, Grn};
use super::layout::Layout;
use super::linear::weight_gradients;
use super::{cast, gradient};
use crate::epsilon;
use crate::grn_stats::GrnStats;
use crate::nodes::Operation;

/// A block: input and weights in the order of [`BlockWeights`](crate::ops::BlockWeights).
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) layout: Layout,
    pub(crate) stats: GrnStats,
    /// Numbers of the heavy operations.
    pub(crate) kind: Kind,
    /// Flat tokens that come out, `[N, T']`; all of them without.
    pub(crate) selected: Option<TchTensor>,
    /// Factor `[N, 1, 1]` on the residual branch.
    pub(crate) branch_scale: Option<TchTensor>,
}

/// Weights in the kind of the heavy operations; biases with them.
#[derive(Debug)]
struct Weights {
    dwconv: [TchTensor; 2],
    norm: [TchTensor; 2],
    pwconv1: [TchTensor; 2],
    pwconv2: [TchTensor; 2],
}

impl Weights {
    fn new(t: &[TchTensor; 11], kind: Kind) -> Self {
        let pair = |i: usize| [&t[i], &t[i + 1]].map(|weight| TchTensor::new(in_kind(&weight.tensor, kind)));
        Self { dwconv: pair(1), norm: pair(3), pwconv1: pair(5), pwconv2: pair(9) }
    }
}

/// What the forward pass leaves for the backward pass, besides inputs.
#[derive(Debug)]
pub(crate) struct Saved {
    weights: Weights,
    /// Input of the convolution, `[N, C, H, W]`.
    map: TchTensor,
    /// Output of the convolution, `[N, T, C]`, of which LayerNorm takes mean and deviation.
    conv: TchTensor,
    stats: [TchTensor; 2],
    /// After LayerNorm, `[N, T, C]`.
    normed: TchTensor,
    /// Before and after GELU, `[N, T, H]`.
    hidden: [TchTensor; 2],
    grn: grn::Saved,
    /// After GRN, selected: `[N, T', H]`.
    grown: TchTensor,
}

impl Block {
    fn grn(&self) -> Grn<'_> {
        Grn { stats: self.stats, keep: self.layout.keep.as_ref().map(|keep| &keep.tensor) }
    }

    fn depthwise(channels: i64) -> Convolution {
        Convolution { stride: 1, padding: 3, groups: channels }
    }

    /// Factor on the residual branch: dropped paths and hidden sites.
    fn branch_factor(&self) -> Option<Tensor> {
        match (&self.branch_scale, &self.layout.keep) {
            (Some(scale), Some(keep)) => Some(&scale.tensor * &keep.tensor),
            (Some(factor), None) | (None, Some(factor)) => Some(factor.tensor.shallow_clone()),
            (None, None) => None,
        }
    }

    /// `[N, T, …]` → `[N, T', …]`.
    fn select(&self, tokens: &Tensor) -> Tensor {
        let Some(rows) = &self.selected else { return tokens.shallow_clone() };
        let channels = tokens.size()[2];
        Tensor::embedding(&tokens.view([-1, channels]), &rows.tensor, -1, false, false)
    }

    /// The reverse: `[N, T', …]` → the shape of `like`, zero where nothing was selected.
    fn spread(&self, selected: Tensor, like: &Tensor) -> Tensor {
        let Some(rows) = &self.selected else { return selected };
        let all = like.zeros_like();
        let _ = all.view([-1, like.size()[2]]).index_put_(&[Some(&rows.tensor)], &selected, false);
        all
    }

    /// Everything up to the second linear layer.
    fn expand(&self, t: &[TchTensor; 11]) -> Saved {
        let weights = Weights::new(t, self.kind);
        let pair = |pair: &'_ [TchTensor; 2]| pair.each_ref().map(|tensor| tensor.tensor.shallow_clone());
        let channels = t[0].tensor.size()[2];
        let map = self.layout.to_map(&cast(&t[0].tensor, self.kind));
        let [weight, bias] = pair(&weights.dwconv);
        let conv = Self::depthwise(channels).forward(&map, &weight, &bias);
        let conv = self.layout.to_tokens(&conv);
        let [weight, bias] = pair(&weights.norm);
        let (normed, mean, deviation) =
            conv.native_layer_norm([channels], Some(weight), Some(bias), epsilon::LAYER_NORM);
        let [weight, bias] = pair(&weights.pwconv1);
        let hidden = normed.linear(&weight, Some(&bias));
        let active = hidden.gelu("none");
        let (grown, grn) = self.grn().forward(&active, [&t[7].tensor, &t[8].tensor]);
        let grown = self.select(&grown);
        let [map, conv, normed, hidden, active, grown, mean, deviation] =
            [map, conv, normed, hidden, active, grown, mean, deviation].map(TchTensor::new);
        let (stats, hidden) = ([mean, deviation], [hidden, active]);
        Saved { weights, map, conv, stats, normed, hidden, grn, grown }
    }

    /// The second linear layer and the residual sum: `[N, T', C]`.
    fn contract(&self, x: &Tensor, saved: &Saved) -> Tensor {
        let [weight, bias] = saved.weights.pwconv2.each_ref().map(|tensor| &tensor.tensor);
        let branch = saved.grown.tensor.linear(weight, Some(bias));
        let x = self.select(x);
        match self.branch_factor() {
            Some(factor) => x.addcmul(&branch, &factor),
            None => x + branch,
        }
    }

    /// Gradients from that of the normed tokens on: of the input, the convolution, and LayerNorm.
    fn backward_of_conv(&self, d_normed: &Tensor, saved: &Saved, channels: i64) -> (Tensor, [Tensor; 4]) {
        let stats = saved.stats.each_ref().map(|tensor| &tensor.tensor);
        let norm = saved.weights.norm.each_ref().map(|tensor| &tensor.tensor);
        let [d_conv, d_norm, d_norm_bias] = layer_norm_backward(d_normed, &saved.conv.tensor, stats, norm);
        let d_conv = self.layout.lend_map(&d_conv);
        let kernel = &saved.weights.dwconv[0].tensor;
        let [d_map, d_dwconv, d_dwconv_bias] =
            Self::depthwise(channels).backward(&d_conv, &saved.map.tensor, kernel, true);
        (self.layout.to_tokens(&d_map), [d_dwconv, d_dwconv_bias, d_norm, d_norm_bias])
    }

    /// The gradient of the input: by the branch `[N, T, C]`, and by the residual sum `[N, T', C]`.
    fn residual(&self, by_branch: Tensor, dy: &Tensor) -> Tensor {
        let Some(rows) = &self.selected else { return by_branch + dy };
        let channels = dy.size()[2];
        let dx = cast(&by_branch, Kind::Float);
        let _ = dx.view([-1, channels]).index_add_(0, &rows.tensor.view([-1]), &dy.view([-1, channels]));
        dx
    }
}

impl Operation<LibTorch, 11> for Block {
    type Saved = Saved;

    fn forward(&self, t: &[TchTensor; 11]) -> (TchTensor, Saved) {
        let saved = self.expand(t);
        (TchTensor::new(self.contract(&t[0].tensor, &saved)), saved)
    }

    fn save(&self, t: &[TchTensor; 11]) -> Saved {
        self.expand(t)
    }

    fn backward(
        &self,
        t: &[TchTensor; 11],
        saved: &Saved,
        dy: TchTensor,
        _wanted: [bool; 11],
    ) -> [Option<TchTensor>; 11] {
        let (dy, channels) = (dy.tensor, t[0].tensor.size()[2]);
        let [hidden, active] = saved.hidden.each_ref().map(|tensor| &tensor.tensor);
        let [pwconv1, pwconv2] =
            [&saved.weights.pwconv1, &saved.weights.pwconv2].map(|[weight, _]| &weight.tensor);

        let d_branch = match self.branch_factor() {
            Some(factor) => &dy * factor,
            None => dy.shallow_clone(),
        };
        let d_branch = cast(&d_branch, self.kind);
        let [d_pwconv2, d_pwconv2_bias] = weight_gradients(&d_branch, &saved.grown.tensor);
        // β is added to what the second linear layer multiplies, in every token that comes out.
        let d_beta = d_pwconv2_bias.matmul(&t[9].tensor);
        let d_grown = self.spread(d_branch.matmul(pwconv2), active);
        let [d_active, d_gamma] = self.grn().backward(d_grown, active, &saved.grn);

        let d_hidden = hidden.gelu_backward(&d_active, "none");
        let [d_pwconv1, d_pwconv1_bias] = weight_gradients(&d_hidden, &saved.normed.tensor);
        let d_normed = d_hidden.matmul(pwconv1);
        let (dx, [d_dwconv, d_dwconv_bias, d_norm, d_norm_bias]) =
            self.backward_of_conv(&d_normed, saved, channels);
        let values = [
            self.residual(dx, &dy),
            d_dwconv,
            d_dwconv_bias,
            d_norm,
            d_norm_bias,
            d_pwconv1,
            d_pwconv1_bias,
            d_gamma,
            d_beta,
            d_pwconv2,
            d_pwconv2_bias,
        ];
        gradient::all(t, values)
    }
}
