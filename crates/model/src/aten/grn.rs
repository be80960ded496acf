//! Global Response Normalization in ATen operations, on activations `[N, T, H]`.

use std::sync::{Mutex, PoisonError};

use burn::backend::libtorch::TchTensor;
use tch::{Device, Kind, Tensor};

use super::cast;
use crate::epsilon;
use crate::grn_stats::GrnStats;

/// GRN's norms below this count as zero, where its gradient is zero too.
const SMALLEST_NORM: f64 = 1e-20;

/// Over what norms are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grn<'a> {
    pub(super) stats: GrnStats,
    /// `[N, T, 1]`, 1 = visible; none where every token is.
    pub(super) keep: Option<&'a Tensor>,
}

/// What the forward pass leaves, in f32: `[N or 1, 1, H]` unless said otherwise.
#[derive(Debug)]
pub(super) struct Saved {
    norm: TchTensor,
    /// Over channels, and ε: `[N or 1, 1, 1]`.
    mean_norm: TchTensor,
    /// Norms by their mean.
    response: TchTensor,
    /// 1 + γ · response.
    scale: TchTensor,
    /// `[H]`.
    gamma: TchTensor,
}

impl Grn<'_> {
    /// Dimensions of `[N, T, H]` that norms are taken over.
    fn dims(self) -> &'static [i64] {
        match self.stats {
            GrnStats::Sample => &[1],
            GrnStats::Batch => &[0, 1],
        }
    }

    /// By γ and β in f32.
    pub(super) fn forward(self, active: &Tensor, [gamma, beta]: [&Tensor; 2]) -> (Tensor, Saved) {
        let [gamma, beta] = [gamma, beta].map(|weight| weight.view([-1]));
        let visible = self.keep.map(|keep| active * cast(keep, active.kind()));
        let counted = visible.as_ref().unwrap_or(active);
        let norm = counted.norm_scalaropt_dim_dtype(2.0, self.dims(), true, Kind::Float);
        let mean_norm = norm.mean_dim([-1].as_slice(), true, Kind::Float).g_add_scalar_(epsilon::GRN);
        let response = &norm / &mean_norm;
        let scale = one(gamma.device()).addcmul(&response, &gamma);
        let grown = multiply_add(active, &scale, &beta);
        let [norm, mean_norm, response, scale, gamma] =
            [norm, mean_norm, response, scale, gamma].map(TchTensor::new);
        (grown, Saved { norm, mean_norm, response, scale, gamma })
    }

    /// Gradients of the activations and of γ, `[1, H]`. Overwrites `dy`.
    pub(super) fn backward(self, mut dy: Tensor, active: &Tensor, saved: &Saved) -> [Tensor; 2] {
        let Saved { norm, mean_norm, response, scale, gamma } = saved;
        let [norm, mean_norm, response, scale, gamma] =
            [norm, mean_norm, response, scale, gamma].map(|tensor| &tensor.tensor);
        let d_scale = (&dy * active).sum_dim_intlist(self.dims(), true, Kind::Float); // [N or 1, 1, H]
        let d_gamma = Tensor::linalg_vecdot(&d_scale, response, 0);

        // n = g / m with m = mean(g) + ε, so dg = (dn − mean(dn · n)) / m, and da = dg · a / g.
        let d_response = d_scale * gamma;
        let shared = (&d_response * response).mean_dim([-1].as_slice(), true, Kind::Float);
        let by_norm = (d_response - shared) / (norm.clamp_min(SMALLEST_NORM) * mean_norm);
        let by_norm = match self.keep {
            Some(keep) => by_norm * keep,
            None => by_norm,
        };
        [dy.g_mul_(scale).addcmul_(active, &by_norm), d_gamma]
    }
}

/// The number 1 on a device, made once.
fn one(device: Device) -> Tensor {
    static ONES: Mutex<Vec<Tensor>> = Mutex::new(Vec::new());
    let mut ones = ONES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(one) = ones.iter().find(|one| one.device() == device) {
        return one.shallow_clone();
    }
    let one = Tensor::ones([1], (Kind::Float, device));
    ones.push(one.shallow_clone());
    one
}

/// a · scale + shift: sums in f32, the result in the kind of a, in a single pass.
fn multiply_add(a: &Tensor, scale: &Tensor, shift: &Tensor) -> Tensor {
    if a.kind() == Kind::Float {
        return shift.addcmul(a, scale);
    }
    let result = a.empty_like();
    let _ = shift.addcmul_out(&result, a, scale);
    result
}
