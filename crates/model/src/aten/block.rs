//! The block forward and backward in ATen operations.
//!
//! M = N·T tokens, M' of them selected, C channels, H = 4C hidden ones.

use burn::backend::libtorch::TchTensor;
use host::libtorch::aten::{Convolution, layer_norm_backward};
use host::libtorch::copies::in_kind;
use tch::{Kind, Tensor};

use super::layout::Layout;
use crate::epsilon;
use crate::grn_stats::GrnStats;

/// GRN's norms below this count as zero, where its gradient is zero too.
const SMALLEST_NORM: f64 = 1e-20;

/// What a block does beside its weights.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) layout: Layout,
    pub(crate) stats: GrnStats,
    /// Numbers of the heavy operations.
    pub(crate) kind: Kind,
    /// Flat tokens that come out; all of them without.
    pub(crate) selected: Option<TchTensor>,
    /// Factor `[N, 1, 1]` on the residual branch.
    pub(crate) branch_scale: Option<TchTensor>,
}

impl Spec {
    /// Dimensions of `[N, T, H]` that GRN's norms are taken over.
    fn grn_dims(&self) -> &'static [i64] {
        match self.stats {
            GrnStats::Sample => &[1],
            GrnStats::Batch => &[0, 1],
        }
    }

    /// Factor on the residual branch: dropped paths and hidden sites.
    fn branch_factor(&self) -> Option<Tensor> {
        match (&self.branch_scale, &self.layout.keep) {
            (Some(scale), Some(keep)) => Some(&scale.tensor * &keep.tensor),
            (Some(factor), None) | (None, Some(factor)) => Some(factor.tensor.shallow_clone()),
            (None, None) => None,
        }
    }

    fn depthwise(channels: i64) -> Convolution {
        Convolution { stride: 1, padding: 3, groups: channels }
    }

    fn select(&self, tokens: &Tensor) -> Tensor {
        match &self.selected {
            Some(rows) => tokens.index_select(0, &rows.tensor),
            None => tokens.shallow_clone(),
        }
    }
}

/// Weights in the kind of the heavy operations; biases with them.
struct Weights {
    dwconv: [Tensor; 2],
    norm: [Tensor; 2],
    pwconv1: [Tensor; 2],
    /// γ and β of GRN in f32, `[H]`.
    grn: [Tensor; 2],
    pwconv2: [Tensor; 2],
}

impl Weights {
    fn new(t: &[TchTensor; 11], kind: Kind) -> Self {
        let pair = |i: usize| [&t[i], &t[i + 1]].map(|weight| in_kind(&weight.tensor, kind));
        let grn = [&t[7], &t[8]].map(|weight| weight.tensor.reshape([-1]));
        Self { dwconv: pair(1), norm: pair(3), pwconv1: pair(5), grn, pwconv2: pair(9) }
    }
}

/// What the forward pass leaves for the backward pass, besides inputs.
#[derive(Debug)]
pub(super) struct Saved {
    /// Input of the convolution, `[N, C, H, W]`.
    map: TchTensor,
    /// Output of the convolution, `[M, C]`, of which LayerNorm takes mean and deviation.
    conv: TchTensor,
    stats: [TchTensor; 2],
    /// After LayerNorm, `[M, C]`.
    normed: TchTensor,
    /// Before and after GELU, `[M, H]`.
    hidden: [TchTensor; 2],
    /// GRN's response `[N or 1, 1, H]` and the mean norm it was divided by, in f32.
    response: [TchTensor; 2],
    /// After GRN, selected: `[M', H]`.
    grown: TchTensor,
}

/// `[N, T, C]` → `[N, T', C]`.
pub(super) fn forward(t: &[TchTensor; 11], spec: &Spec) -> (Tensor, Saved) {
    let x = &t[0].tensor;
    let (batch, tokens, channels) = x.size3().expect("tokens [N, T, C]");
    let w = Weights::new(t, spec.kind);
    let x = x.reshape([-1, channels]);

    let map = spec.layout.to_map(&x.to_kind(spec.kind));
    let conv = Spec::depthwise(channels).forward(&map, &w.dwconv[0], &w.dwconv[1]);
    let conv = spec.layout.to_tokens(&conv);
    let [norm, norm_bias] = &w.norm;
    let (normed, mean, deviation) =
        conv.native_layer_norm([channels], Some(norm), Some(norm_bias), epsilon::LAYER_NORM);
    let hidden = normed.linear(&w.pwconv1[0], Some(&w.pwconv1[1]));
    let active = hidden.gelu("none");
    let (grown, response, mean_norm) = grn(&active.view([batch, tokens, -1]), &w.grn, spec);
    let grown = spec.select(&grown.view([batch * tokens, -1]));
    let branch = grown.linear(&w.pwconv2[0], Some(&w.pwconv2[1])).view([batch, -1, channels]);

    let x = spec.select(&x).view([batch, -1, channels]);
    let y = match spec.branch_factor() {
        Some(factor) => x.addcmul(&branch, &factor),
        None => x + branch,
    };
    let [map, conv, normed, hidden, active, grown, mean, deviation, response, mean_norm] =
        [map, conv, normed, hidden, active, grown, mean, deviation, response, mean_norm].map(TchTensor::new);
    let saved = Saved {
        map,
        conv,
        stats: [mean, deviation],
        normed,
        hidden: [hidden, active],
        response: [response, mean_norm],
        grown,
    };
    (y, saved)
}

/// GRN of `[N, T, H]`: result, response, mean norm.
fn grn(active: &Tensor, [gamma, beta]: &[Tensor; 2], spec: &Spec) -> (Tensor, Tensor, Tensor) {
    let visible = spec.layout.keep.as_ref().map(|keep| active * keep.tensor.to_kind(spec.kind));
    let counted = visible.as_ref().unwrap_or(active);
    let norm = counted.norm_scalaropt_dim_dtype(2.0, spec.grn_dims(), true, Kind::Float);
    let mean_norm = norm.mean_dim([-1].as_slice(), true, Kind::Float) + epsilon::GRN;
    let response = norm / &mean_norm;
    let scale = &response * gamma + 1.0;
    // Sums in f32, result in the kind of the rest, in a single pass.
    let grown = active.empty_like();
    let _ = beta.addcmul_out(&grown, active, &scale);
    (grown, response, mean_norm)
}

/// Gradients of the block's input and weights, from that of its output `[N, T', C]`.
pub(super) fn backward(t: &[TchTensor; 11], spec: &Spec, saved: &Saved, dy: &Tensor) -> [Tensor; 11] {
    let (batch, tokens, channels) = t[0].tensor.size3().expect("tokens [N, T, C]");
    let w = Weights::new(t, spec.kind);
    let [hidden, active] = saved.hidden.each_ref().map(|tensor| &tensor.tensor);

    let d_branch = match spec.branch_factor() {
        Some(factor) => dy * factor,
        None => dy.shallow_clone(),
    };
    let d_branch = d_branch.to_kind(spec.kind).reshape([-1, channels]);
    let (d_grown, [d_pwconv2, d_pwconv2_bias]) =
        linear_backward(&d_branch, &saved.grown.tensor, &w.pwconv2[0]);
    let d_grown = match &spec.selected {
        Some(rows) => active.zeros_like().index_copy_(0, &rows.tensor, &d_grown),
        None => d_grown,
    };
    let d_grown = d_grown.view([batch, tokens, -1]);
    let (d_active, [d_gamma, d_beta]) =
        grn_backward(d_grown, &active.view([batch, tokens, -1]), &w.grn[0], spec, saved);

    let d_hidden = hidden.gelu_backward(&d_active.view([batch * tokens, -1]), "none");
    let (d_normed, [d_pwconv1, d_pwconv1_bias]) =
        linear_backward(&d_hidden, &saved.normed.tensor, &w.pwconv1[0]);
    let [mean, deviation] = saved.stats.each_ref().map(|tensor| &tensor.tensor);
    let [d_conv, d_norm, d_norm_bias] =
        layer_norm_backward(&d_normed, &saved.conv.tensor, [mean, deviation], w.norm.each_ref());
    let d_conv = spec.layout.to_map(&d_conv);
    let [d_map, d_dwconv, d_dwconv_bias] =
        Spec::depthwise(channels).backward(&d_conv, &saved.map.tensor, &w.dwconv[0], true);
    let dx = spec.layout.to_tokens(&d_map);
    let dy = dy.reshape([-1, channels]);
    let dx = match &spec.selected {
        Some(rows) => dx.to_kind(Kind::Float).index_add(0, &rows.tensor, &dy),
        None => dx + dy,
    };
    [
        dx,
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
    ]
}

/// Gradients of x, and of weight and bias, of x·Wᵀ + b on rows.
pub(super) fn linear_backward(dy: &Tensor, x: &Tensor, weight: &Tensor) -> (Tensor, [Tensor; 2]) {
    (dy.mm(weight), [dy.tr().mm(x), dy.sum_dim_intlist([0].as_slice(), false, Kind::Float)])
}

/// Gradients of GRN's input, and of γ and β. Overwrites `dy`.
fn grn_backward(
    mut dy: Tensor,
    active: &Tensor,
    gamma: &Tensor,
    spec: &Spec,
    saved: &Saved,
) -> (Tensor, [Tensor; 2]) {
    let [response, mean_norm] = saved.response.each_ref().map(|tensor| &tensor.tensor);
    let all: &[i64] = &[0, 1];
    let d_beta = dy.sum_dim_intlist(all, false, Kind::Float);
    let d_scale = (&dy * active).sum_dim_intlist(spec.grn_dims(), true, Kind::Float); // [N or 1, 1, H]
    let d_gamma = (&d_scale * response).sum_dim_intlist(all, false, Kind::Float);

    // n = g / m with m = mean(g) + ε, so dg = (dn − mean(dn · n)) / m, and da = dg · a / g.
    let d_response = d_scale * gamma;
    let shared = (&d_response * response).mean_dim([-1].as_slice(), true, Kind::Float);
    let norm = (response * mean_norm).clamp_min(SMALLEST_NORM);
    let by_norm = (d_response - shared) / mean_norm / norm;
    let by_norm = match &spec.layout.keep {
        Some(keep) => by_norm * &keep.tensor,
        None => by_norm,
    };
    let scale = response * gamma + 1.0;
    let d_active = dy.g_mul_(&scale).addcmul_(active, &by_norm);
    (d_active, [d_gamma, d_beta])
}
