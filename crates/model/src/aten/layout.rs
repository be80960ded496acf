//! Tokens ↔ the dense, channels-last map that the depthwise convolution runs on.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;
use tch::Tensor as Raw;

use crate::sites::TokenLayout;

/// The tensor of libtorch behind a tensor of Burn, without its autodiff.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> TchTensor {
    tensor.without_autodiff().try_into_primitive::<LibTorch>().expect("a tensor of libtorch")
}

/// How the tokens of a batch lie on the map.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Samples, rows, columns.
    pub(crate) map: [i64; 3],
    /// Flat sites of the map by token; none where the tokens are all of them, row by row.
    pub(crate) rows: Option<TchTensor>,
    /// `[N, T, 1]`, 1 = visible; none where every token is.
    pub(crate) keep: Option<TchTensor>,
}

impl Layout {
    pub(crate) fn of(tokens: TokenLayout) -> Self {
        let TokenLayout { map, grid, patch, patch_rows, keep, map_rows } = tokens;
        Self {
            map: map.map(|n| n as i64),
            rows: patch_rows.map(|rows| map_rows.get(|| rows, grid, patch)),
            keep: keep.map(primitive),
        }
    }

    /// Tokens `[N·T, C]` → `[N, C, H, W]` channels last, zero where no token stands.
    pub(crate) fn to_map(&self, tokens: &Raw) -> Raw {
        let ([n, h, w], channels) = (self.map, tokens.size()[1]);
        let sites = match &self.rows {
            None => tokens.shallow_clone(),
            Some(rows) => tokens
                .new_zeros([n * h * w, channels], (tokens.kind(), tokens.device()))
                .index_copy_(0, &rows.tensor, tokens),
        };
        sites.view([n, h, w, channels]).permute([0, 3, 1, 2])
    }

    /// The dense map `[N, C, H, W]` → tokens `[N·T, C]`.
    pub(crate) fn to_tokens(&self, map: &Raw) -> Raw {
        let channels = map.size()[1];
        let sites = map.permute([0, 2, 3, 1]).reshape([-1, channels]);
        match &self.rows {
            None => sites,
            Some(rows) => sites.index_select(0, &rows.tensor),
        }
    }
}
