//! Images to the device that computes.

use burn::tensor::{Device, Tensor, TensorData};
use data::Batch;
use data::transform::Normalize;

/// Images `[N, C, H, W]` on a device.
pub(crate) fn to_device(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    #[cfg(feature = "tch")]
    if !host::is_on_host(device) {
        return host::libtorch::upload(&values, shape, device);
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The images of a batch; normalised there if they come as intensities.
pub(crate) fn batch_to_device(batch: Batch, normalize: &Normalize, device: &Device) -> Tensor<4> {
    #[cfg(feature = "tch")]
    if !batch.raw.is_empty() && host::is_libtorch(device) {
        return host::libtorch::upload_intensities(
            &batch.raw,
            batch.shape,
            &normalize.mean,
            &normalize.std,
            device,
        );
    }
    if batch.raw.is_empty() {
        return to_device(batch.images, batch.shape, device);
    }
    let plane = batch.shape[2] * batch.shape[3];
    let planes = batch.raw.chunks_exact(plane).zip((0..normalize.channels()).cycle());
    let values = planes.flat_map(|(plane, channel)| {
        let (mean, std) = (normalize.mean[channel], normalize.std[channel]);
        plane.iter().map(move |value| (f32::from(*value) / 255.0 - mean) / std)
    });
    to_device(values.collect(), batch.shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intensities_become_the_same_numbers_on_every_device() {
        let normalize = Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
        let raw: Vec<u8> = (0..2 * 3 * 4 * 5_u8).map(|i| i.wrapping_mul(37)).collect();
        let plane = |i: usize| (i / 20) % 3;
        let expected: Vec<f32> = (raw.iter().enumerate())
            .map(|(i, v)| (f32::from(*v) / 255.0 - normalize.mean[plane(i)]) / normalize.std[plane(i)])
            .collect();
        for device in host::processors() {
            let (shape, indices) = ([2, 3, 4, 5], vec![0, 1]);
            let batch = Batch {
                images: Vec::new(),
                raw: raw.clone(),
                shape,
                labels: Vec::new(),
                values: Vec::new(),
                indices,
                epoch: 0,
            };
            let found: Vec<f32> =
                batch_to_device(batch, &normalize, &device.autodiff()).into_data().try_into_vec().unwrap();
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
    }
}
