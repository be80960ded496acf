//! A network on every image of a loader: how well it does, and what it says.

use burn::tensor::Device;
use data::{Loader, Pixels, Targets};
use distributed::{Communicator, DistributedError};
use model::ConvNextV2ForImageClassification;

use crate::error::FinetuneError;
use crate::metrics::Metrics;

/// How well a network does over all images of a loader, those of the other processes included. Counted
/// in the order of one process, so that any number of processes finds the same.
///
/// # Errors
/// An image that cannot be read, or another process that has ended.
pub fn evaluate(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
    mut metrics: Metrics,
    device: &Device,
    communicator: &dyn Communicator,
) -> Result<Metrics, FinetuneError> {
    for_every_batch(network, loader, device, communicator, |logits, targets| metrics.add(logits, targets))?;
    Ok(metrics)
}

/// Outputs and targets of every image of a loader and of those of the other processes, batch by batch
/// in the order of the source.
///
/// # Errors
/// As [`evaluate`].
pub fn for_every_batch(
    network: &ConvNextV2ForImageClassification,
    loader: &Loader,
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
                (logits(network, images, batch.shape, device), batch.targets)
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
pub fn logits(
    network: &ConvNextV2ForImageClassification,
    images: Vec<f32>,
    shape: [usize; 4],
    device: &Device,
) -> Vec<f32> {
    let images = host::floats(images, shape, device);
    kernels::on_pool(|| network.forward(images, None).into_data().try_into_vec().expect("f32 outputs"))
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
