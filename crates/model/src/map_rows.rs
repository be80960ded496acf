//! Where tokens lie on the dense map, worked out once for all blocks of a stage: what libtorch's kernels
//! gather and scatter by.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{Int, Tensor};
use tch::{Kind, Tensor as Raw};

/// Where the tokens of a stage lie on its map.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapRows(Arc<Places>);

#[derive(Debug, Default)]
struct Places {
    /// Flat sites of the N × H × W map in the order of the tokens, `[N, T]`.
    rows: OnceLock<TchTensor>,
    /// Sites, and the same seen as a map, zero where no token stands.
    borrowed: Mutex<Option<[Raw; 2]>>,
}

impl MapRows {
    /// `patches`: indices into the N · L patches of the grid, in the order of the tokens.
    pub(crate) fn get(
        &self,
        patches: impl FnOnce() -> Tensor<1, Int>,
        samples: usize,
        grid: [usize; 2],
        patch: [usize; 2],
    ) -> TchTensor {
        let make = || TchTensor::new(map_rows(&index(patches()).tensor, samples, grid, patch));
        self.0.rows.get_or_init(make).clone()
    }

    /// Tokens on a map that the next call overwrites: their places are the same in all blocks of a stage, so
    /// that the zeros between them are written once. `make`: sites of zeros, and the same as a map.
    pub(crate) fn lend(&self, tokens: &Raw, rows: &Raw, make: impl FnOnce() -> [Raw; 2]) -> Raw {
        let mut borrowed = self.0.borrowed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_like = |[sites, _]: &[Raw; 2]| {
            sites.kind() == tokens.kind() && sites.size().last() == tokens.size().last()
        };
        let [sites, map] = match borrowed.take().filter(is_like) {
            Some(known) => borrowed.insert(known),
            None => borrowed.insert(make()),
        };
        let _ = sites.index_put_(&[Some(rows)], tokens, false);
        map.shallow_clone()
    }
}

/// Computed on the device, so that nothing waits for a copy: the sites of all patches, of which those that
/// exist are picked.
fn map_rows(patches: &Raw, samples: usize, grid: [usize; 2], patch: [usize; 2]) -> Raw {
    let ([rows, columns], [height, width]) = (grid.map(|n| n as i64), patch.map(|n| n as i64));
    let samples = samples as i64;
    let all = samples * rows * columns * height * width;
    Raw::arange(all, (Kind::Int64, patches.device()))
        .view([samples, rows, height, columns, width])
        .permute([0, 1, 3, 2, 4])
        .reshape([samples * rows * columns, height * width])
        .index_select(0, patches)
        .view([samples, -1])
}

/// The tensor of libtorch behind a tensor of indices.
pub(crate) fn index(tensor: Tensor<1, Int>) -> TchTensor {
    tensor.without_autodiff().try_into_primitive::<LibTorch>().expect("a tensor of libtorch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_patches_are_sites_of_the_map() {
        // Two samples of 2 × 2 patches of 2 × 3 sites: a map of 4 × 6. Patches 1 and, in the second
        // sample, 2.
        let rows = map_rows(&Raw::from_slice(&[1_i64, 6]), 2, [2, 2], [2, 3]);
        assert_eq!(rows.size(), [2, 6]);
        let rows: Vec<i64> = rows.view([-1]).try_into().unwrap();
        assert_eq!(rows, [3, 4, 5, 9, 10, 11, 36, 37, 38, 42, 43, 44]);
    }

    #[test]
    fn a_map_that_is_lent_again_has_zeros_between_its_tokens() {
        // Two tokens on a map of four sites.
        let (places, rows) = (MapRows::default(), Raw::from_slice(&[2_i64, 0]).view([1, 2]));
        let zeros = |tokens: &Raw| {
            let sites = Raw::zeros([4, 1], (tokens.kind(), tokens.device()));
            [sites.shallow_clone(), sites.view([1, 1, 2, 2])]
        };
        let lend = |values: [f32; 2], kind| {
            let tokens = Raw::from_slice(&values).view([1, 2, 1]).to_kind(kind);
            let map = places.lend(&tokens, &rows, || zeros(&tokens));
            (map.kind(), Vec::<f32>::try_from(map.to_kind(Kind::Float).view([-1])).unwrap())
        };
        for kind in [Kind::Float, Kind::Float, Kind::BFloat16] {
            assert_eq!(lend([1.0, 2.0], kind), (kind, vec![2.0, 0.0, 1.0, 0.0]));
            assert_eq!(lend([3.0, 4.0], kind), (kind, vec![4.0, 0.0, 3.0, 0.0]));
        }
    }
}
