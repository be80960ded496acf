//! Where tokens lie on the dense map, worked out once for all blocks of a stage: what libtorch's kernels
//! gather and scatter by.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use std::sync::{Arc, OnceLock};

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{Int, Tensor};
use tch::{Kind, Tensor as Raw};

/// Flat sites of the N × H × W map in the order of the tokens; worked out once for all blocks of a
/// stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapRows(Arc<OnceLock<TchTensor>>);

impl MapRows {
    /// `patches`: indices into the N · L patches of the grid, in the order of the tokens.
    pub(crate) fn get(
        &self,
        patches: impl FnOnce() -> Tensor<1, Int>,
        grid: [usize; 2],
        patch: [usize; 2],
    ) -> TchTensor {
        let make = || TchTensor::new(map_rows(&index(patches()).tensor, grid, patch));
        self.0.get_or_init(make).clone()
    }
}

/// Computed on the device, so that nothing waits for a copy.
fn map_rows(patches: &Raw, grid: [usize; 2], patch: [usize; 2]) -> Raw {
    let ([_, columns], [height, width]) = (grid.map(|n| n as i64), patch.map(|n| n as i64));
    let line = columns * width;
    // Patch number → its first site: whole samples, rows of patches, patches within the row.
    let row = patches.floor_divide_scalar(columns);
    let column = patches - &row * columns;
    // Samples lie one after another, so rows of patches count on from sample to sample.
    let first = row * (height * line) + column * width;
    let range = |end| Raw::arange(end, (Kind::Int64, patches.device()));
    let within = (range(height) * line).unsqueeze(1) + range(width);
    (first.unsqueeze(1) + within.reshape([1, -1])).reshape([-1])
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
        let rows = map_rows(&Raw::from_slice(&[1_i64, 6]), [2, 2], [2, 3]);
        let rows: Vec<i64> = rows.try_into().unwrap();
        assert_eq!(rows, [3, 4, 5, 9, 10, 11, 36, 37, 38, 42, 43, 44]);
    }
}
