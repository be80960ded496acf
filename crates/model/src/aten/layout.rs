//! Tokens ↔ the dense, channels-last map that the depthwise convolution runs on.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::Tensor;
use tch::Tensor as Raw;

use crate::map_rows::MapRows;
use crate::sites::TokenLayout;

/// The tensor of libtorch behind a tensor of Burn, without its autodiff.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> TchTensor {
    tensor.without_autodiff().try_into_primitive::<LibTorch>().expect("a tensor of libtorch")
}

/// Rows of channels, one after another, seen as channels-last maps `[maps, C, height, width]`.
pub(super) fn as_map(rows: &Raw, [maps, height, width]: [i64; 3]) -> Raw {
    let channels = *rows.size().last().expect("channels");
    let strides = [height * width * channels, 1, width * channels, channels];
    rows.as_strided([maps, channels, height, width], strides, None)
}

/// Maps `[maps, C, height, width]` → tokens `[samples, T, C]`: the same memory if they are channels last.
pub(super) fn as_tokens(map: &Raw, samples: i64) -> Raw {
    let [maps, channels, height, width] = map.size().try_into().expect("maps [N, C, H, W]");
    in_rows(map, &[samples, maps / samples * height * width, channels])
}

/// A map's rows of channels in this contiguous shape.
fn in_rows(map: &Raw, shape: &[i64]) -> Raw {
    let [_, channels, height, width] = map.size().try_into().expect("maps [N, C, H, W]");
    if map.stride() != [height * width * channels, 1, width * channels, channels] {
        return map.permute([0, 2, 3, 1]).reshape(shape);
    }
    let strides: Vec<i64> = (1..=shape.len()).map(|i| shape[i..].iter().product()).collect();
    map.as_strided(shape, strides, None)
}

/// How the tokens of a batch lie on the map.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Samples, rows, columns.
    pub(crate) map: [i64; 3],
    /// Flat sites of the map by token, `[N, T]`; none where the tokens are all of them, row by row.
    pub(crate) rows: Option<TchTensor>,
    /// `[N, T, 1]`, 1 = visible; none where every token is.
    pub(crate) keep: Option<TchTensor>,
    /// What blocks of the stage share.
    places: MapRows,
}

impl Layout {
    pub(crate) fn of(tokens: TokenLayout) -> Self {
        let TokenLayout { map, grid, patch, patch_rows, keep, map_rows } = tokens;
        Self {
            map: map.map(|n| n as i64),
            rows: patch_rows.map(|rows| map_rows.get(|| rows, map[0], grid, patch)),
            keep: keep.map(primitive),
            places: map_rows.clone(),
        }
    }

    /// Tokens `[N, T, C]` → `[N, C, H, W]` channels last, zero where no token stands.
    pub(crate) fn to_map(&self, tokens: &Raw) -> Raw {
        let Some(rows) = &self.rows else { return as_map(tokens, self.map) };
        let [mut sites, map] = self.empty_map(tokens);
        let _ = sites.index_put_(&[Some(&rows.tensor)], tokens, false);
        map
    }

    /// The same for a moment: another call for a block of the stage overwrites it.
    pub(crate) fn lend_map(&self, tokens: &Raw) -> Raw {
        match &self.rows {
            None => as_map(tokens, self.map),
            Some(rows) => self.places.lend(tokens, &rows.tensor, || self.empty_map(tokens)),
        }
    }

    /// Sites `[N·H·W, C]` of zeros for such tokens, and the same as a map.
    fn empty_map(&self, tokens: &Raw) -> [Raw; 2] {
        let ([n, h, w], channels) = (self.map, tokens.size()[2]);
        let sites = tokens.new_zeros([n * h * w, channels], (tokens.kind(), tokens.device()));
        let map = as_map(&sites, self.map);
        [sites, map]
    }

    /// The dense map `[N, C, H, W]` → tokens `[N, T, C]`.
    pub(crate) fn to_tokens(&self, map: &Raw) -> Raw {
        let ([n, h, w], channels) = (self.map, map.size()[1]);
        let Some(rows) = &self.rows else { return as_tokens(map, n) };
        // Looked up by row as in a table of embeddings: one operation that keeps the shape of the indices.
        let sites = in_rows(map, &[n * h * w, channels]);
        Raw::embedding(&sites, &rows.tensor, -1, false, false)
    }
}
