//! The images of a batch on the device that computes.

use burn::tensor::{Device, Tensor};
use data::Pixels;
use data::transform::Normalize;

/// The pixels of a batch `[N, C, H, W]` as a tensor; intensities are normalised on the device where
/// that is libtorch's, and on the way elsewhere.
pub fn to_device(pixels: Pixels, shape: [usize; 4], normalize: &Normalize, device: &Device) -> Tensor<4> {
    match pixels {
        Pixels::F32(values) => host::floats(values, shape, device),
        Pixels::U8(values) => host::intensities(&values, shape, &normalize.mean, &normalize.std, device),
    }
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
            let pixels = Pixels::U8(raw.clone());
            let found = to_device(pixels, [2, 3, 4, 5], &normalize, &device.autodiff());
            let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
            for (a, b) in found.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
    }
}
