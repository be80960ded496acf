//! A network on every image of a loader: how well it does, and what it says.

use burn::tensor::{Device, Tensor};
use data::{Loader, Pixels, Targets};
use distributed::{Communicator, DistributedError};
use model::{ConvNextV2ForImageClassification, Observe, official_name};
use trainer::NotFinite;

use crate::error::FinetuneError;

/// What a network is shown of an image in evaluation (test-time augmentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tta {
    /// The image.
    #[default]
    None,
    /// The image and its mirror image; what counts is the mean of the two outputs, before they become
    /// probabilities.
    Flip,
}

/// Outputs and targets of every image of a loader and of those of the other processes, batch by batch
/// in the order of one process, so that any number of processes finds the same.
///
/// # Errors
/// An image that cannot be read, outputs that are not finite, another process that has ended, and those of
/// `visit`.
pub fn for_every_batch(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
    tta: Tta,
    device: &Device,
    communicator: &dyn Communicator,
    mut visit: impl FnMut(&[f32], &Targets) -> Result<(), FinetuneError>,
) -> Result<(), FinetuneError> {
    let mut batches = loader.batches(0, 0);
    for _ in 0..loader.rounds() {
        // In the last round, some processes have none.
        let own = match batches.next() {
            Some(batch) => {
                let batch = batch?;
                let Pixels::F32(images) = batch.pixels else { return Err(FinetuneError::NotNormalized) };
                (logits(network, images, batch.shape, tta, device)?, batch.targets)
            }
            None => (Vec::new(), Targets::None),
        };
        if communicator.world_size() == 1 {
            visit(&own.0, &own.1)?;
            continue;
        }
        for (logits, targets) in gather(own, communicator)? {
            visit(&logits, &targets)?;
        }
    }
    Ok(())
}

/// Outputs of normalised images `[N, C, H, W]`, row by row.
///
/// # Errors
/// Outputs that are not finite: nothing can be told from them.
pub fn logits(
    network: &ConvNextV2ForImageClassification,
    images: Vec<f32>,
    shape: [usize; 4],
    tta: Tta,
    device: &Device,
) -> Result<Vec<f32>, NotFinite> {
    let images = host::floats(images, shape, device);
    let found = forward(network, images.clone())?;
    match tta {
        Tta::None => Ok(found),
        Tta::Flip => {
            let mirrored = forward(network, images.flip([3]))?;
            Ok(found.iter().zip(mirrored).map(|(a, b)| 0.5 * (a + b)).collect())
        }
    }
}

fn forward(network: &ConvNextV2ForImageClassification, images: Tensor<4>) -> Result<Vec<f32>, NotFinite> {
    host::compute_on(&images.device(), || {
        let outputs = network.forward(images.clone(), None).into_data();
        let outputs: Vec<f32> = outputs.try_into_vec().expect("f32 outputs");
        if outputs.iter().all(|output| output.is_finite()) {
            return Ok(outputs);
        }
        let walk = |observe: &mut Observe| network.observe(images.clone(), observe);
        Err(NotFinite::find(network, &official_name, &images, walk))
    })
}

/// The outputs and targets of those processes that have some in this round.
fn gather(
    (logits, targets): (Vec<f32>, Targets),
    communicator: &dyn Communicator,
) -> Result<Vec<(Vec<f32>, Targets)>, DistributedError> {
    let logits = communicator.all_gather(&bytes(&logits, f32::to_le_bytes))?;
    let (kind, own) = match &targets {
        Targets::None => (0, Vec::new()),
        Targets::Classes(classes) => (1, bytes(classes, u32::to_le_bytes)),
        Targets::Numbers(values) => (2, bytes(values, f32::to_le_bytes)),
    };
    let targets = communicator.all_gather(&[&[kind], &own[..]].concat())?;
    let read = |(logits, targets): (Vec<u8>, Vec<u8>)| {
        let (kind, own) = targets.split_first()?;
        let targets = match kind {
            1 => Targets::Classes(numbers(own, u32::from_le_bytes)),
            2 => Targets::Numbers(numbers(own, f32::from_le_bytes)),
            _ => Targets::None,
        };
        Some((numbers(&logits, f32::from_le_bytes), targets))
    };
    let ranks = logits.into_iter().zip(targets).filter(|(logits, _)| !logits.is_empty());
    ranks.map(|rank| read(rank).ok_or(DistributedError::Disagreement)).collect()
}

fn bytes<T: Copy>(numbers: &[T], bytes: fn(T) -> [u8; 4]) -> Vec<u8> {
    numbers.iter().flat_map(|number| bytes(*number)).collect()
}

fn numbers<T>(bytes: &[u8], number: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::StateDict;
    use model::ConvNextV2Config;

    const SHAPE: [usize; 4] = [2, 3, 16, 24];

    fn network() -> ConvNextV2ForImageClassification {
        let (depths, hidden_sizes) = (vec![1, 2], vec![8, 16]);
        let config = ConvNextV2Config {
            depths,
            hidden_sizes,
            patch_size: 2,
            num_stages: 2,
            num_labels: 3,
            ..ConvNextV2Config::default()
        };
        ConvNextV2ForImageClassification::new(&config, 1, &Device::flex()).unwrap()
    }

    fn images() -> Vec<f32> {
        (0..SHAPE.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    fn outputs(network: &ConvNextV2ForImageClassification, images: Vec<f32>) -> Result<Vec<f32>, NotFinite> {
        logits(network, images, SHAPE, Tta::None, &Device::flex())
    }

    /// Whichever weight is broken: its tensor is named, and no number comes out.
    #[test]
    fn every_weight_that_is_not_finite_is_found() {
        let sound = StateDict::of_module(&network(), &official_name);
        assert!(outputs(&network(), images()).is_ok());
        for broken in sound.names() {
            for value in [f32::NAN, f32::INFINITY] {
                let mut dict = sound.clone();
                let mut entry = dict.get(broken).unwrap().clone();
                entry.values[1] = value;
                dict.insert(broken.to_owned(), entry);
                let (network, _) = dict.apply_to(network(), &official_name);
                match outputs(&network, images()) {
                    Err(NotFinite::Weight { weight, count, layer }) => {
                        assert_eq!((&weight[..], count), (broken, 1));
                        assert!(broken.starts_with(&layer) && layer.len() < broken.len(), "{layer}");
                    }
                    found => panic!("{broken} {value}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn a_layer_that_overflows_is_named_and_so_are_images() {
        let mut dict = StateDict::of_module(&network(), &official_name);
        let mut entry = dict.get("stages.1.0.pwconv2.bias").unwrap().clone();
        entry.values.fill(f32::MAX);
        dict.insert("stages.1.0.pwconv2.bias".to_owned(), entry.clone());
        dict.insert("stages.1.1.pwconv2.bias".to_owned(), entry);
        let (large, _) = dict.apply_to(network(), &official_name);
        assert_eq!(outputs(&large, images()), Err(NotFinite::Layer("stages.1.1".to_owned())));
        let mut values = images();
        values[7] = f32::NAN;
        assert_eq!(outputs(&network(), values), Err(NotFinite::Images));
    }

    #[test]
    fn the_mirror_image_counts_as_much_as_the_image() {
        let mirrored: Vec<f32> =
            images().chunks(SHAPE[3]).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect();
        let network = network();
        let [a, b] = [images(), mirrored.clone()].map(|images| outputs(&network, images).unwrap());
        let mean: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect();
        let flipped = |images| logits(&network, images, SHAPE, Tta::Flip, &Device::flex()).unwrap();
        assert_eq!(flipped(images()), mean);
        assert_eq!(flipped(mirrored), mean);
        assert_ne!(a, mean);
    }
}
