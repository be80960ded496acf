//! Where tokens lie on the dense map, worked out once for all blocks of a stage: what libtorch's kernels
//! gather and scatter by.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use std::sync::{Arc, OnceLock};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{Int, Tensor};
use tch::{Kind, Tensor as Raw};

/// Flat sites of the N × H × W map in the order of the tokens, `[N, T]`; worked out once for all blocks of
/// a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapRows(Arc<OnceLock<TchTensor>>);

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
        self.0.get_or_init(make).clone()
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
}
