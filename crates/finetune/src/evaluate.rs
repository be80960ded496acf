//! Networks on every image of a loader: how well they do, and what they say.

use std::array;

use data::{Loader, Pixels, Targets};
use distributed::{Communicator, DistributedError};

use crate::error::FinetuneError;
use crate::inference::{Inference, Tta};

/// Outputs of networks that see the same images, and targets, of every image of a loader and of those of the
/// other processes, batch by batch in the order of one process, so that any number of processes finds the
/// same.
///
/// # Errors
/// An image that cannot be read, outputs that are not finite, another process that has ended, and those of
/// `visit`.
pub fn for_every_batch<const N: usize>(
    networks: [&Inference; N],
    loader: &Loader,
    tta: Tta,
    communicator: &dyn Communicator,
    mut visit: impl FnMut([&[f32]; N], &Targets) -> Result<(), FinetuneError>,
) -> Result<(), FinetuneError> {
    let mut batches = loader.batches(0, 0);
    for _ in 0..loader.rounds() {
        // In the last round, some processes have none.
        let own = match batches.next() {
            Some(batch) => {
                let batch = batch?;
                let Pixels::F32(images) = batch.pixels else { return Err(FinetuneError::NotNormalized) };
                let mut outputs = Vec::new();
                for network in networks {
                    outputs.extend(network.outputs(&images, batch.shape, tta)?);
                }
                (outputs, batch.targets)
            }
            None => (Vec::new(), Targets::None),
        };
        if communicator.world_size() == 1 {
            visit(parts(&own.0), &own.1)?;
            continue;
        }
        for (outputs, targets) in gather(own, communicator)? {
            visit(parts(&outputs), &targets)?;
        }
    }
    Ok(())
}

/// What each network said.
fn parts<const N: usize>(outputs: &[f32]) -> [&[f32]; N] {
    let size = outputs.len() / N;
    array::from_fn(|network| &outputs[network * size..][..size])
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
