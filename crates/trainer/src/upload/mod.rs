//! The images of a batch on the device that computes.

#[cfg_attr(not(feature = "tch"), path = "no_aten.rs")]
mod aten;

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use data::mixup::Mix;
use data::transform::{Erased, Normalize};
use data::{Batch, MemoryPool, Pixels};
use host::{Arena, At, Uploaded};

/// Makes the images of batches tensors: normalised, with boxes erased, mixed. What the loader left to the
/// device is done by the device.
#[derive(Debug)]
pub struct Images {
    normalize: Normalize,
    device: Device,
    /// On a device of libtorch.
    normalization: Option<aten::Normalization>,
}

/// The images of a batch, on their way to the device.
#[derive(Debug)]
pub struct ImagesAt(Kind);

#[derive(Debug)]
enum Kind {
    /// As the network is to see them, `[N, C, H, W]`.
    Ready(At, [usize; 4]),
    /// Intensities, and what is to be done to them.
    Raw(aten::RawAt),
}

impl Images {
    /// For images of this normalisation on a device.
    pub fn new(normalize: Normalize, device: &Device) -> Self {
        let on_device = host::is_libtorch(device).then(|| aten::Normalization::new(&normalize, device));
        Self { normalize, device: device.clone(), normalization: on_device }
    }

    /// Adds the images of a batch, to be mixed, to what goes to the device.
    pub fn put(&self, batch: Batch, mix: Mix, arena: &mut Arena) -> ImagesAt {
        let Batch { pixels, shape, erased, .. } = batch;
        let mut values = match pixels {
            Pixels::F32(values) => values,
            raw if self.normalization.is_some() => {
                return ImagesAt(Kind::Raw(aten::put(raw, shape, &erased, mix, arena)));
            }
            Pixels::U8(intensities) => self.normalized(&intensities, shape, &erased),
            Pixels::Staged(_) => unreachable!("only devices of libtorch have batches in memory of their own"),
        };
        mix.apply(&mut values, shape);
        ImagesAt(Kind::Ready(arena.floats(values), shape))
    }

    /// The images, once they have arrived, `[N, C, H, W]`.
    pub fn arrived(&self, ImagesAt(images): ImagesAt, uploaded: &mut Uploaded) -> Tensor<4> {
        match (images, &self.normalization) {
            (Kind::Ready(at, shape), _) => uploaded.floats(at, shape),
            (Kind::Raw(raw), Some(normalization)) => aten::images(raw, normalization, uploaded, &self.device),
            (Kind::Raw(_), None) => unreachable!("raw images are put by who normalises them"),
        }
    }

    /// Intensities as the loader would have normalised them, without boxes that are erased.
    fn normalized(&self, intensities: &[u8], shape: [usize; 4], erased: &[(usize, Erased)]) -> Vec<f32> {
        let ([_, channels, height, width], Normalize { mean, std }) = (shape, &self.normalize);
        let planes = intensities.chunks_exact(height * width).zip((0..channels).cycle());
        let normalized = planes.flat_map(|(plane, channel)| {
            let (mean, std) = (mean[channel], std[channel]);
            plane.iter().map(move |value| (f32::from(*value) / 255.0 - mean) / std)
        });
        let (mut values, image_len): (Vec<f32>, _) = (normalized.collect(), channels * height * width);
        for (image, erased) in erased {
            erased.apply(&mut values[image * image_len..][..image_len], [height, width]);
        }
        values
    }
}

/// Where a device reads batches from, if it wants them in memory of its own.
pub(crate) fn memory_pool(device: &Device) -> Option<Arc<dyn MemoryPool>> {
    host::is_libtorch(device).then(|| aten::memory_pool(device))
}

#[cfg(test)]
mod tests;
