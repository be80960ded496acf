//! Lists of tensors in this machine's memory: a single pass over it.

use host::HostTensor;
use kernels::Arch;
use rayon::prelude::*;

use crate::adamw::Factors;

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// By ourselves: Flex's sum over large tensors takes its parts in an order that varies from call to call, and
/// a clipped run would not be repeatable to the bit.
pub(crate) fn sum_of_squares(tensor: &HostTensor) -> f64 {
    // A fixed partition, so that the sum does not depend on the number of threads.
    let parts: Vec<f64> = tensor.values().par_chunks(1 << 16).map(in_lanes).collect();
    parts.iter().sum()
}

/// Several sums at once, because each addition waits for the one before it.
fn in_lanes(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value).powi(2);
        }
    }
    let rest: f64 = rest.iter().map(|value| f64::from(*value).powi(2)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Pieces of the memory of all tensors, to be written, by the threads.
fn written(tensors: &mut [HostTensor]) -> impl Iterator<Item = &mut [f32]> {
    tensors.iter_mut().flat_map(|tensor| tensor.values_mut().chunks_mut(CHUNK))
}

/// The same pieces, to be read.
fn read(tensors: &[HostTensor]) -> impl Iterator<Item = &[f32]> {
    tensors.iter().flat_map(|tensor| tensor.values().chunks(CHUNK))
}

/// Does something with every piece of tensors and that of others of the same shapes.
fn in_pairs(tensors: &mut [HostTensor], others: &[HostTensor], write: impl Fn(&mut f32, f32) + Sync) {
    let pieces: Vec<_> = written(tensors).zip(read(others)).collect();
    pieces.into_par_iter().for_each(|(values, others)| {
        Arch::new().dispatch(
            #[inline(always)]
            || values.iter_mut().zip(others).for_each(|(value, other)| write(value, *other)),
        );
    });
}

pub(super) fn scale(tensors: &mut [HostTensor], factor: f32) {
    let pieces: Vec<_> = written(tensors).collect();
    pieces.into_par_iter().for_each(|values| values.iter_mut().for_each(|value| *value *= factor));
}

pub(super) fn add(tensors: &mut [HostTensor], others: &[HostTensor]) {
    in_pairs(tensors, others, |value, other| *value += other);
}

pub(super) fn follow(tensors: &mut [HostTensor], others: &[HostTensor], keep: f64) {
    let (keep, take) = (keep as f32, (1.0 - keep) as f32);
    in_pairs(tensors, others, |value, other| *value = keep * *value + take * other);
}

/// Every buffer that nobody else holds is updated where it lies.
pub(super) fn adamw(
    f: &Factors,
    weights: &mut [HostTensor],
    gradients: &[HostTensor],
    [first, second]: [&mut [HostTensor]; 2],
) {
    let moments = written(first).zip(written(second));
    let pieces: Vec<_> = written(weights).zip(read(gradients)).zip(moments).collect();
    pieces.into_par_iter().for_each(|((weights, gradients), (first, second))| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((w, g), (m, v)) in weights.iter_mut().zip(gradients).zip(first.iter_mut().zip(second)) {
                    *m += (g - *m) * (1.0 - f.beta_1);
                    *v = f.beta_2 * *v + (1.0 - f.beta_2) * g * g;
                    *w = f.keep * *w - f.step_size * *m / (v.sqrt() / f.root + f.eps);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn the_sum_over_a_large_tensor_is_exact_and_repeatable() {
        let count = (5 << 20) + 3;
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
        let expected: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        let tensor = Tensor::<1>::from_data(TensorData::new(values, [count]), &Device::flex());
        let tensor = HostTensor::new(tensor).unwrap();
        let found = sum_of_squares(&tensor);
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        for _ in 0..20 {
            assert_eq!(sum_of_squares(&tensor).to_bits(), found.to_bits());
        }
        // Squares that single precision cannot hold.
        let huge = Tensor::<2>::full([2, 2], 1e30, &Device::flex());
        let huge = HostTensor::new(huge.transpose()).unwrap();
        assert!((sum_of_squares(&huge) / 4e60 - 1.0).abs() < 1e-6);
    }
}
