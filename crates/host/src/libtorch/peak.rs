//! How fast libtorch multiplies matrices.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::upload::gpu;
use crate::precision::Precision;

/// Operations a second of a large matrix product, two for each multiply-add, in 10⁹: the best of several
/// rounds. None of a device that is not libtorch's.
pub(crate) fn product_gflops(device: &burn::tensor::Device, precision: Precision) -> Option<f64> {
    if !super::is_device(&device.clone().inner()) {
        return None;
    }
    let place = gpu(device).map_or(Device::Cpu, Device::Cuda);
    // Large enough that starting a product does not count.
    let (side, products) = if place.is_cuda() { (8192, 8) } else { (1024, 2) };
    let kind = match precision {
        Precision::F32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    };
    let matrix = Tensor::full([side, side], 0.5, (kind, place));
    let mut out = matrix.matmul(&matrix);
    let mut round = || {
        wait(place);
        let start = Instant::now();
        for _ in 0..products {
            out = matrix.matmul(&matrix);
        }
        wait(place);
        start.elapsed().as_secs_f64()
    };
    let seconds = (0..5).map(|_| round()).fold(f64::INFINITY, f64::min);
    Some(2.0 * products as f64 * (side as f64).powi(3) / seconds / 1e9)
}

fn wait(place: Device) {
    if let Device::Cuda(index) = place {
        tch::Cuda::synchronize(index as i64);
    }
}
