//! Gradients of a block's weights, and how those of LayerNorm and GRN follow from those of the linear layers.

use rayon::prelude::*;

use super::Weights;
use crate::columns::{add, add_scaled};
use crate::{Arch, dispatch};

/// Gradients, in the order and layout of [`Weights`].
#[derive(Debug, Clone)]
pub struct WeightGradients {
    /// See [`Weights`].
    pub dwconv: Vec<f32>,
    /// See [`Weights`].
    pub dwconv_bias: Vec<f32>,
    /// See [`Weights`].
    pub norm: Vec<f32>,
    /// See [`Weights`].
    pub norm_bias: Vec<f32>,
    /// See [`Weights`].
    pub pwconv1: Vec<f32>,
    /// See [`Weights`].
    pub pwconv1_bias: Vec<f32>,
    /// See [`Weights`].
    pub gamma: Vec<f32>,
    /// See [`Weights`].
    pub beta: Vec<f32>,
    /// See [`Weights`].
    pub pwconv2: Vec<f32>,
    /// See [`Weights`].
    pub pwconv2_bias: Vec<f32>,
}

impl WeightGradients {
    /// Zeros, but for the weights of the linear layers, which are computed by themselves: nothing yet.
    pub(super) fn started(w: &Weights) -> Self {
        let zeros = |like: &[f32]| vec![0.0; like.len()];
        Self {
            dwconv: zeros(w.dwconv),
            dwconv_bias: zeros(w.dwconv_bias),
            norm: zeros(w.norm),
            norm_bias: zeros(w.norm_bias),
            pwconv1: Vec::new(),
            pwconv1_bias: zeros(w.pwconv1_bias),
            gamma: zeros(w.gamma),
            beta: zeros(w.beta),
            pwconv2: Vec::new(),
            pwconv2_bias: zeros(w.pwconv2_bias),
        }
    }

    /// All of them, in order.
    pub fn into_array(self) -> [Vec<f32>; 10] {
        [
            self.dwconv,
            self.dwconv_bias,
            self.norm,
            self.norm_bias,
            self.pwconv1,
            self.pwconv1_bias,
            self.gamma,
            self.beta,
            self.pwconv2,
            self.pwconv2_bias,
        ]
    }

    fn each_mut(&mut self) -> [&mut Vec<f32>; 10] {
        [
            &mut self.dwconv,
            &mut self.dwconv_bias,
            &mut self.norm,
            &mut self.norm_bias,
            &mut self.pwconv1,
            &mut self.pwconv1_bias,
            &mut self.gamma,
            &mut self.beta,
            &mut self.pwconv2,
            &mut self.pwconv2_bias,
        ]
    }

    /// Adds others, in their order.
    pub(super) fn add(&mut self, arch: Arch, others: impl IntoIterator<Item = Self>) {
        for other in others {
            for (sum, other) in self.each_mut().into_iter().zip(other.into_array()) {
                add(arch, sum, &other);
            }
        }
    }

    /// Turns gradients of the linear layers that read x̂ and a·scale, as the passes see them, into those of the
    /// layers that read LayerNorm's and GRN's outputs, and adds the rest of the gradients of these two.
    ///
    /// With y = W·(γ·x̂ + β) + b and G = ∂L/∂(W·γ): ∂L/∂W = G·γ + ∂L/∂b ⊗ β, ∂L/∂γ = Σ W·G over outputs and
    /// ∂L/∂β = Wᵀ·∂L/∂b. GRN's γ belongs to its norms, so only its β is part of this.
    pub(super) fn unfold(&mut self, arch: Arch, w: &Weights) {
        let norm = Some((w.norm, &mut self.norm[..]));
        unfold(
            arch,
            w.pwconv1,
            &mut self.pwconv1,
            &self.pwconv1_bias,
            norm,
            (w.norm_bias, &mut self.norm_bias),
        );
        unfold(arch, w.pwconv2, &mut self.pwconv2, &self.pwconv2_bias, None, (w.beta, &mut self.beta));
    }
}

/// Rows of a weight that a thread works on at a time.
const ROWS: usize = 64;

/// `gradient`: G of a weight `[outputs, inputs]`, which becomes that of the weight. `gain` and `offset`: γ and
/// β, and their gradients, which are added to.
fn unfold(
    arch: Arch,
    weight: &[f32],
    gradient: &mut [f32],
    d_bias: &[f32],
    gain: Option<(&[f32], &mut [f32])>,
    (offset, d_offset): (&[f32], &mut [f32]),
) {
    let inputs = offset.len();
    let (gain, d_gain) = gain.unzip();
    let parts: Vec<[Vec<f32>; 2]> = (gradient.par_chunks_mut(ROWS * inputs))
        .zip(weight.par_chunks(ROWS * inputs).zip(d_bias.par_chunks(ROWS)))
        .map(|(gradient, (weight, d_bias))| {
            let (mut d_gain, mut d_offset) = (vec![0.0; inputs], vec![0.0; inputs]);
            dispatch!(arch, {
                let rows = gradient.chunks_exact_mut(inputs).zip(weight.chunks_exact(inputs)).zip(d_bias);
                for ((gradient, weight), d_bias) in rows {
                    if let Some(gain) = gain {
                        for (((g, w), gain), d_gain) in
                            gradient.iter_mut().zip(weight).zip(gain).zip(&mut d_gain)
                        {
                            *d_gain += *g * w;
                            *g *= gain;
                        }
                    }
                    add_scaled(gradient, offset, *d_bias);
                    add_scaled(&mut d_offset, weight, *d_bias);
                }
            });
            [d_gain, d_offset]
        })
        .collect();
    for part in &parts {
        add(arch, d_offset, &part[1]);
    }
    if let Some(d_gain) = d_gain {
        parts.iter().for_each(|part| add(arch, d_gain, &part[0]));
    }
}
