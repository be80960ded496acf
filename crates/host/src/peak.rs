//! What a device can do at most.

use burn::tensor::Device;

use crate::libtorch;
use crate::precision::Precision;

/// Operations a second of a large matrix product by libtorch, two for each multiply-add, in 10⁹, with the
/// threads that libtorch has on a processor and with TF32 where that is [set](crate::set_tf32) on a GPU. None of
/// a device that is not libtorch's.
pub fn product_gflops(device: &Device, precision: Precision) -> Option<f64> {
    libtorch::product_gflops(device, precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_multiplies_on_its_own_devices() {
        let found = crate::processors().into_iter().map(|device| {
            let speeds = [Precision::F32, Precision::Bf16]
                .map(|precision| product_gflops(&device.clone().autodiff(), precision));
            assert!(speeds.iter().flatten().all(|speed| *speed > 0.0 && speed.is_finite()), "{speeds:?}");
            speeds.map(|speed| speed.is_some())
        });
        let expected = [[false; 2], [true; 2]];
        assert!(found.zip(expected).all(|(found, expected)| found == expected));
    }
}
