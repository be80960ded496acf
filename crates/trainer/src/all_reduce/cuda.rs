//! Gradients summed where they are, on CUDA devices.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use burn::backend::libtorch::TchTensor;
use burn::backend::{DispatchDevice, LibTorch, LibTorchDevice};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use distributed::{Bucket, Communicator, DistributedError};

pub(super) fn is_on_cuda<M: Module>(module: &M) -> bool {
    module.devices().iter().any(|device| {
        let device = device.clone().inner();
        matches!(device.as_dispatch(), DispatchDevice::LibTorch(LibTorchDevice::Cuda(_)))
    })
}

pub(super) fn all_reduce<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    world: &dyn Communicator,
    size: usize,
) -> Result<(), DistributedError> {
    let mut collect = Collect { gradients, found: Vec::new() };
    module.visit(&mut collect);
    let mut sums = Vec::new();
    for bucket in buckets(&collect.found, size) {
        let flat: Vec<_> = bucket.iter().map(|gradient| gradient.reshape([-1])).collect();
        sums.push(world.all_reduce_sum(Bucket::Cuda(tch::Tensor::cat(&flat, 0)))?);
    }
    let mut means = Vec::new();
    for (bucket, sum) in buckets(&collect.found, size).into_iter().zip(sums) {
        let Bucket::Cuda(sum) = sum.wait()? else { return Err(DistributedError::Disagreement) };
        let mean = sum / world.world_size() as f64;
        let lengths: Vec<_> = bucket.iter().map(|gradient| gradient.numel() as i64).collect();
        let parts = mean.split_with_sizes(lengths, 0);
        means.extend(parts.iter().zip(bucket).map(|(mean, like)| mean.reshape(like.size())));
    }
    module.visit(&mut Replace { gradients, means: means.into_iter() });
    Ok(())
}

/// Consecutive tensors that fill a bucket.
fn buckets(all: &[tch::Tensor], size: usize) -> Vec<&[tch::Tensor]> {
    let (mut found, mut start, mut filled) = (Vec::new(), 0, 0);
    for (end, tensor) in all.iter().enumerate() {
        if filled > 0 && filled + tensor.numel() > size {
            found.push(&all[start..end]);
            (start, filled) = (end, 0);
        }
        filled += tensor.numel();
    }
    found.extend((start < all.len()).then(|| &all[start..]));
    found
}

struct Collect<'a> {
    gradients: &'a GradientsParams,
    found: Vec<tch::Tensor>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        let gradient = gradient.and_then(|gradient| gradient.try_into_primitive::<LibTorch>().ok());
        self.found.extend(gradient.map(|gradient| gradient.tensor.shallow_clone()));
    }
}

struct Replace<'a> {
    gradients: &'a mut GradientsParams,
    means: std::vec::IntoIter<tch::Tensor>,
}

impl ModuleVisitor for Replace<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.gradients.remove::<D>(param.id).is_some()
            && let Some(mean) = self.means.next()
        {
            let mean = Tensor::<D>::from_primitive::<LibTorch>(TchTensor::new(mean));
            self.gradients.register(param.id, mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_tensors_in_order() {
        let tensors: Vec<_> =
            [3, 2, 9, 1, 1, 4].map(|n| tch::Tensor::zeros([n], tch::kind::FLOAT_CPU)).into();
        let lengths: Vec<_> = buckets(&tensors, 5).iter().map(|bucket| bucket.len()).collect();
        assert_eq!(lengths, [2, 1, 2, 1]);
        assert!(buckets(&[], 5).is_empty());
    }
}
