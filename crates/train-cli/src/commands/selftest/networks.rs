//! Whole networks: losses, all gradients, and what three updates make of them.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::Tensor;
use checkpoint::StateDict;
use fcmae::{Fcmae, FcmaeConfig};
use finetune::soft_cross_entropy;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Execution, official_name};
use trainer::Gradients;

use super::numbers::{shaken, tensor};
use super::operations::{Found, entries, mask, of_gradients, values};
use super::optimizer::{LEARNING_RATE, optimizer};
use super::ways::{Run, Way};

/// `[N, C, H, W]` of the images: two rows and three columns of patches.
const IMAGES: [usize; 4] = [2, 5, 16, 24];
/// Side of a patch, which is one site of the last stage.
const PATCH: usize = 8;
const STEPS: usize = 3;

fn config() -> ConvNextV2Config {
    ConvNextV2Config {
        num_channels: IMAGES[1],
        patch_size: 2,
        num_stages: 3,
        hidden_sizes: vec![6, 9, 14],
        depths: vec![1, 2, 1],
        num_labels: 7,
        ..ConvNextV2Config::default()
    }
}

/// The prediction's error, patch by patch, and the gradient of the prediction.
pub(super) fn patch_loss(way: &Way, _: Run) -> Result<Found> {
    let network = pretrained(way)?;
    let pred = tensor([2, 6, PATCH * PATCH * IMAGES[1]], 21, &way.device).require_grad();
    let losses = network.patch_loss(tensor(IMAGES, 20, &way.device), pred.clone());
    let gradients = losses.clone().sum().backward();
    let gradient =
        pred.grad(&gradients).map(|gradient| ("gradient of the input".to_owned(), values(gradient)));
    Ok([("output".to_owned(), values(losses.detach()))].into_iter().chain(gradient).collect())
}

pub(super) fn pretraining(way: &Way, run: Run) -> Result<Found> {
    let network = pretrained(way)?;
    let loss = pretraining_loss(&network, way, run)?;
    Ok(loss_and_gradients(&network, loss, way))
}

pub(super) fn pretraining_steps(way: &Way, run: Run) -> Result<Found> {
    steps(pretrained(way)?, way, |network| pretraining_loss(network, way, run))
}

pub(super) fn classifier(way: &Way, _: Run) -> Result<Found> {
    let network = classifying(way)?;
    let loss = classifier_loss(&network, way);
    Ok(loss_and_gradients(&network, loss, way))
}

pub(super) fn classifier_steps(way: &Way, _: Run) -> Result<Found> {
    steps(classifying(way)?, way, |network| Ok(classifier_loss(network, way)))
}

fn pretrained(way: &Way) -> Result<Fcmae> {
    let config = config();
    let fcmae = FcmaeConfig { decoder_dim: 11, patch_size: PATCH, ..FcmaeConfig::default() };
    Ok(shaken(Fcmae::new(&fcmae, &config, way.compute, 1, &way.device)?))
}

fn pretraining_loss(network: &Fcmae, way: &Way, run: Run) -> Result<Tensor<1>> {
    let execution = run.execution().unwrap_or(Execution::Compact);
    Ok(network.loss(tensor(IMAGES, 20, &way.device), &mask([2, 3])?, execution, None))
}

fn classifying(way: &Way) -> Result<ConvNextV2ForImageClassification> {
    let network = ConvNextV2ForImageClassification::new(&config(), 1, &way.device)?;
    Ok(shaken(network.with_compute(way.compute)))
}

fn classifier_loss(network: &ConvNextV2ForImageClassification, way: &Way) -> Tensor<1> {
    let targets = (tensor([2, 7], 22, &way.device) + 1.0) / 7.0;
    soft_cross_entropy(network.forward(tensor(IMAGES, 20, &way.device), None), targets)
}

fn loss_and_gradients<M: Module>(network: &M, loss: Tensor<1>, way: &Way) -> Found {
    let mut found = vec![("loss".to_owned(), values(loss.clone().detach()))];
    let gradients = Gradients::of(loss, network, way.lists()).to_dict(network, &official_name);
    found.extend(of_gradients(&gradients));
    found
}

/// The loss before each update, and the weights after the last.
fn steps<M: Module>(mut network: M, way: &Way, loss: impl Fn(&M) -> Result<Tensor<1>>) -> Result<Found> {
    let (mut optimizer, mut found) = (optimizer(&network, &official_name), Vec::new());
    for step in 1..=STEPS {
        let loss = loss(&network)?;
        found.push((format!("loss of step {step}"), values(loss.clone().detach())));
        let gradients = Gradients::of(loss, &network, way.lists());
        network = optimizer.step(LEARNING_RATE, network, gradients);
    }
    found.extend(entries(&StateDict::of_module(&network, &official_name)));
    Ok(found)
}
