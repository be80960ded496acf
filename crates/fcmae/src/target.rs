//! What the decoder has to predict.

use burn::tensor::Tensor;

/// Added to the variance of a patch.
pub(crate) const EPSILON: f64 = 1e-6;

/// `[N, C, H, W]` → `[N, L, P·P·C]`, patches in row-major order, pixels in the order row, column,
/// channel (`patchify` of the official `fcmae.py`).
pub fn patchify(images: Tensor<4>, patch: usize) -> Tensor<3> {
    let [batch, channels, height, width] = images.dims();
    let (rows, columns) = (height / patch, width / patch);
    images.reshape([batch, channels, rows, patch, columns, patch]).permute([0, 2, 4, 3, 5, 1]).reshape([
        batch,
        rows * columns,
        patch * patch * channels,
    ])
}

/// The inverse of [`patchify`] for a grid of `[rows, columns]` patches.
pub fn unpatchify(patches: Tensor<3>, grid: [usize; 2], patch: usize) -> Tensor<4> {
    let [batch, _, values] = patches.dims();
    let ([rows, columns], channels) = (grid, values / (patch * patch));
    patches.reshape([batch, rows, columns, patch, patch, channels]).permute([0, 5, 1, 3, 2, 4]).reshape([
        batch,
        channels,
        rows * patch,
        columns * patch,
    ])
}

/// Mean and standard deviation √(var + 1e-6) of every patch, each `[N, L, 1]`; the variance is
/// unbiased, as in the official code.
pub fn patch_statistics(patches: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let values = patches.dims()[2];
    let mean = patches.clone().mean_dim(2);
    let squares = (patches - mean.clone()).square().sum_dim(2);
    (mean, (squares / (values as f64 - 1.0) + EPSILON).sqrt())
}

/// (x − mean) / √(var + 1e-6) patch by patch.
pub fn normalize_patches(patches: Tensor<3>) -> Tensor<3> {
    let (mean, std) = patch_statistics(patches.clone());
    (patches - mean) / std
}
