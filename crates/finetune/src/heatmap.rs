//! Where in an image the score of a class comes from.

use burn::tensor::Tensor;
use model::{ConvNextV2ForImageClassification, Sites};

/// Grad-CAM (arXiv:1610.02391) on the output of the last stage: rows, columns, and for every site
/// how much it speaks for `class`, 0 or more.
///
/// `image`: `[1, C, H, W]`, on a device with autodiff, like the network. None without a head.
pub fn heatmap(
    network: &ConvNextV2ForImageClassification,
    image: Tensor<4>,
    class: usize,
) -> Option<([usize; 2], Vec<f32>)> {
    let head = network.head.as_ref()?;
    let [_, _, height, width] = image.dims();
    let sites = Sites::all(1, [height, width]);
    let last = network.convnextv2.encoder.forward(image, &sites, None).pop()?;
    let map = last.sites.map();
    let tokens = last.tokens.detach().require_grad(); // [1, T, C]
    let channels = tokens.dims()[2];
    let pooled = tokens.clone().mean_dim(1).reshape([1, channels]);
    let score = head.forward(network.convnextv2.norm.forward(pooled)).slice([0..1, class..class + 1]);
    let gradient = tokens.grad(&score.sum().backward())?; // [1, T, C], without autodiff
    let weights = gradient.mean_dim(1);
    let cam = (tokens.inner() * weights).sum_dim(2).clamp_min(0.0);
    Some((map, cam.into_data().try_into_vec().ok()?))
}
