//! The operations by themselves: what comes out, and every gradient.

use anyhow::Result;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use checkpoint::StateDict;
use finetune::soft_cross_entropy;
use model::activation::Activation;
use model::block::Block;
use model::conv::StridedConv;
use model::grn::Grn;
use model::layer_norm::LayerNorm;
use model::linear::Linear;
use model::{GrnStats, PatchMask, Sites, epsilon};
use trainer::{Ema, EmaDecay, Gradients};

use super::numbers::{shaken, tensor};
use super::optimizer::{LEARNING_RATE, optimizer};
use super::ways::{Run, Way};

/// What was computed, by name.
pub(super) type Found = Vec<(String, Vec<f32>)>;

/// Channels, none a multiple of what a vector holds.
const CHANNELS: usize = 7;
/// Rows and columns of patches, sites of a patch, and the patches of each image that are visible.
const GRID: [usize; 2] = [2, 3];
const PATCH: [usize; 2] = [3, 3];
const VISIBLE: [[usize; 2]; 2] = [[5, 0], [1, 2]];
const MAP: [usize; 2] = [GRID[0] * PATCH[0], GRID[1] * PATCH[1]];

pub(super) fn layer_norm(way: &Way, _: Run) -> Result<Found> {
    let layer = shaken(LayerNorm::new(13, epsilon::LAYER_NORM, way.compute, &way.device));
    let x = tensor([3, 11, 13], 1, &way.device).require_grad();
    Ok(with_gradients(&layer, x.clone(), layer.forward(x)))
}

pub(super) fn linear(way: &Way, _: Run) -> Result<Found> {
    let layer = shaken(Linear::zeros(13, 5, way.compute, &way.device));
    let x = tensor([3, 13], 2, &way.device).require_grad();
    Ok(with_gradients(&layer, x.clone(), layer.forward(x)))
}

pub(super) fn gelu(way: &Way, _: Run) -> Result<Found> {
    let x = (tensor([3, 11, 13], 3, &way.device) * 4.0).require_grad();
    Ok(with_gradients(&nothing(), x.clone(), Activation::Gelu.forward(x)))
}

pub(super) fn grn(way: &Way, run: Run) -> Result<Found> {
    let sites = sites(way, run, PATCH)?;
    let layer = shaken(Grn::new(CHANNELS, GrnStats::Sample, &way.device));
    let map = tensor([2, CHANNELS, MAP[0], MAP[1]], 4, &way.device).require_grad();
    let y = layer.forward(sites.hide(sites.gather(map.clone())), &sites);
    Ok(with_gradients(&layer, map, y))
}

/// As the stem, from images, and as between stages, from tokens.
pub(super) fn strided_convolution(way: &Way, run: Run) -> Result<Found> {
    let pixels = sites(way, run, [4, 4])?;
    let stem = shaken(StridedConv::zeros(5, CHANNELS, 2, way.compute, &way.device));
    let down = shaken(StridedConv::zeros(CHANNELS, 9, 2, way.compute, &way.device));
    let images = tensor([2, 5, 4 * GRID[0], 4 * GRID[1]], 5, &way.device).require_grad();
    let (x, coarser) = stem.forward_map(images.clone(), &pixels);
    let (y, _) = down.forward(x, &coarser);
    Ok(with_gradients(&vec![stem, down], images, y))
}

pub(super) fn block(way: &Way, run: Run) -> Result<Found> {
    let sites = sites(way, run, PATCH)?;
    let block = Block::zeros(CHANNELS, Activation::Gelu, GrnStats::Sample, way.compute, &way.device);
    let block = shaken(block);
    let map = tensor([2, CHANNELS, MAP[0], MAP[1]], 6, &way.device).require_grad();
    let drop_path = tensor([2, 1, 1], 7, &way.device) + 1.5;
    let y = block.forward(sites.hide(sites.gather(map.clone())), &sites, Some(drop_path));
    Ok(with_gradients(&block, map, y))
}

pub(super) fn cross_entropy(way: &Way, _: Run) -> Result<Found> {
    let logits = (tensor([5, 7], 8, &way.device) * 5.0).require_grad();
    let targets = (tensor([5, 7], 9, &way.device) + 1.0) / 7.0;
    Ok(with_gradients(&nothing(), logits.clone(), soft_cross_entropy(logits, targets)))
}

/// The norm of all gradients, and what is left of them when it is cut to a fifth.
pub(super) fn clipping(way: &Way, _: Run) -> Result<Found> {
    let (layers, mut gradients) = layers_and_gradients(way);
    let norm = gradients.norm();
    let known = norm.read();
    gradients.clip(&norm, known / 5.0);
    let mut found = vec![("norm".to_owned(), vec![known as f32])];
    found.extend(entries(&gradients.to_dict(&layers, &str::to_owned)));
    Ok(found)
}

pub(super) fn moving_average(way: &Way, _: Run) -> Result<Found> {
    let layers = layers(way);
    let average = Ema::new(EmaDecay { decay: 0.9, warmup: false }, layers.valid());
    let average = average.update(&shaken(layers).valid(), 1, way.lists());
    Ok(entries(&StateDict::of_module(average.model(), &str::to_owned)))
}

/// Two updates by gradients that are the same everywhere.
pub(super) fn adamw(way: &Way, _: Run) -> Result<Found> {
    let mut layers = layers(way);
    let mut optimizer = optimizer(&layers, &str::to_owned);
    for seed in [11, 12] {
        let x = tensor([3, 13], seed, &way.device);
        let loss = functional(layers.iter().fold(x, |x, layer| layer.forward(x)));
        let gradients = Gradients::of(loss, &layers, way.lists());
        layers = optimizer.step(LEARNING_RATE, layers, gradients);
    }
    Ok(entries(&StateDict::of_module(&layers, &str::to_owned)))
}

fn layers(way: &Way) -> Vec<Linear> {
    shaken(vec![
        Linear::zeros(13, 5, way.compute, &way.device),
        Linear::zeros(5, 3, way.compute, &way.device),
    ])
}

fn layers_and_gradients(way: &Way) -> (Vec<Linear>, Gradients) {
    let (layers, x) = (layers(way), tensor([3, 13], 10, &way.device));
    let loss = functional(layers.iter().fold(x, |x, layer| layer.forward(x)));
    let gradients = Gradients::of(loss, &layers, way.lists());
    (layers, gradients)
}

/// A module without parameters.
fn nothing() -> Vec<Linear> {
    Vec::new()
}

/// Which of the sites of two images exist, where a patch has so many.
fn sites(way: &Way, run: Run, patch: [usize; 2]) -> Result<Sites> {
    let Some(execution) = run.execution() else {
        return Ok(Sites::all(VISIBLE.len(), [GRID[0] * patch[0], GRID[1] * patch[1]]));
    };
    Ok(Sites::masked(&mask(GRID)?, patch, execution, &way.device))
}

/// The mask of two images of six patches.
pub(super) fn mask(grid: [usize; 2]) -> Result<PatchMask> {
    Ok(PatchMask::new(grid, VISIBLE.map(Vec::from).to_vec())?)
}

/// A sum in which every value weighs differently.
fn functional<const D: usize>(y: Tensor<D>) -> Tensor<1> {
    let weights = tensor(y.dims(), 99, &y.device());
    (y * weights).sum()
}

/// What came out, and the gradients of what went in and of every parameter.
fn with_gradients<M: Module, const D: usize, const E: usize>(
    module: &M,
    input: Tensor<D>,
    output: Tensor<E>,
) -> Found {
    let mut found = vec![("output".to_owned(), values(output.clone().detach()))];
    let gradients = functional(output).backward();
    found.extend(
        input.grad(&gradients).map(|gradient| ("gradient of the input".to_owned(), values(gradient))),
    );
    let gradients = GradientsParams::from_grads(gradients, module);
    found.extend(of_gradients(&StateDict::of_gradients(module, &gradients, &str::to_owned)));
    found
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

pub(super) fn of_gradients(gradients: &StateDict) -> Found {
    entries(gradients).into_iter().map(|(name, values)| (format!("gradient of {name}"), values)).collect()
}

pub(super) fn entries(dict: &StateDict) -> Found {
    dict.iter().map(|(name, entry)| (name.to_owned(), entry.values.clone())).collect()
}
