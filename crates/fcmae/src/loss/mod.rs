//! The loss: the one place that chooses what computes it.

#[cfg_attr(not(feature = "tch"), path = "no_aten.rs")]
mod aten;
mod kernel;

use burn::tensor::Tensor;
use kernels::patch_loss::Target;
use model::{Compute, Engine};

/// Mean squared error of predicted patches `[N, K, P·P·C]` against those of images `[N, C, H, W]`,
/// `[1]`: by our kernels or libtorch's in one operation, or as `definition` has it. No gradient
/// reaches the images.
pub(crate) fn patch_loss(
    compute: Compute,
    predicted: Tensor<3>,
    images: Tensor<4>,
    target: Target,
    definition: impl FnOnce(Tensor<3>, Tensor<4>) -> Tensor<1>,
) -> Tensor<1> {
    match compute.engine(&images.device()) {
        Engine::Slices => kernel::patch_loss(predicted, images, target),
        Engine::Aten(_) => aten::patch_loss(predicted, images, target),
        Engine::Tensors => definition(predicted, images),
    }
}
