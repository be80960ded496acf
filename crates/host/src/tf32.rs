//! TF32: f32 products of a GPU whose factors have ten bits behind the point.

use burn::tensor::Device;

use crate::libtorch;

/// Why products cannot be shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "train.tf32 = true takes an NVIDIA GPU (--device cuda:0); a processor multiplies in f32: leave it out, or \
     say false"
)]
pub struct Tf32Error;

/// Sets what is `asked` of products in f32 on a GPU, for the whole process: all of them or none of them in
/// TF32, or as PyTorch does where nothing is asked, convolutions alone. Ampere and later GPUs know TF32.
///
/// # Errors
/// TF32 is asked for on another device.
pub fn set_tf32(device: &Device, asked: Option<bool>) -> Result<(), Tf32Error> {
    match libtorch::gpu(device) {
        None if asked == Some(true) => Err(Tf32Error),
        _ => {
            follow_tf32(device, asked);
            Ok(())
        }
    }
}

/// The same for a network that was trained so, and may be used on a device without TF32.
pub fn follow_tf32(device: &Device, asked: Option<bool>) {
    if libtorch::gpu(device).is_some() {
        libtorch::set_tf32(asked.unwrap_or(false), asked.unwrap_or(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_no_tf32() {
        for device in crate::processors() {
            for device in [device.clone(), device.autodiff()] {
                let error = set_tf32(&device, Some(true)).unwrap_err().to_string();
                assert!(error.contains("--device cuda:0") && error.contains("train.tf32"), "{error}");
                assert_eq!([set_tf32(&device, None), set_tf32(&device, Some(false))], [Ok(()); 2]);
            }
        }
    }

    /// No GPU takes part: the switches are the process's.
    #[cfg(feature = "tch")]
    #[allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]
    #[test]
    fn the_switches_of_libtorch_are_what_was_asked() {
        let gpu = Device::libtorch_cuda(0);
        for (asked, [products, convolutions]) in
            [(Some(true), [true; 2]), (Some(false), [false; 2]), (None, [false, true])]
        {
            set_tf32(&gpu.clone().autodiff(), asked).unwrap();
            assert_eq!(libtorch::tf32(), [products, convolutions], "{asked:?}");
            // What is set for a GPU is not changed by a processor beside it.
            follow_tf32(&libtorch::processor(), Some(!products));
            assert_eq!(libtorch::tf32(), [products, convolutions], "{asked:?}");
        }
    }
}
