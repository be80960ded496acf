//! Gradients averaged over the processes of a job.
//!
//! They travel in flat buckets. Each is under way while the next is filled.

#[cfg_attr(not(feature = "tch"), path = "no_cuda.rs")]
mod cuda;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use distributed::{Bucket, Communicator, DistributedError, Pending};
use host::HostTensor;

/// Numbers of a bucket, unless a single tensor has more: 25 MB, as in PyTorch.
const BUCKET: usize = (25 << 20) / size_of::<f32>();

/// Replaces the gradients of this process by the means over all. The same parameters have gradients
/// everywhere.
pub(crate) fn all_reduce_gradients<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    world: &dyn Communicator,
) -> Result<(), DistributedError> {
    if world.world_size() == 1 {
        return Ok(());
    }
    if world.sums_on_device() && cuda::is_on_cuda(module) {
        return cuda::all_reduce(module, gradients, world, BUCKET);
    }
    let sums = pack(module, gradients, world, BUCKET)?;
    unpack(module, gradients, sums, 1.0 / world.world_size() as f32)
}

type Sums = Vec<Box<dyn Pending>>;

fn pack<M: Module>(
    module: &M,
    gradients: &GradientsParams,
    world: &dyn Communicator,
    size: usize,
) -> Result<Sums, DistributedError> {
    let mut pack = Pack { gradients, world, size, open: Vec::new(), sums: Ok(Vec::new()) };
    module.visit(&mut pack);
    pack.send();
    pack.sums
}

struct Pack<'a> {
    gradients: &'a GradientsParams,
    world: &'a dyn Communicator,
    size: usize,
    /// The bucket that is being filled.
    open: Vec<f32>,
    sums: Result<Sums, DistributedError>,
}

impl Pack<'_> {
    fn send(&mut self) {
        if let (Ok(sums), false) = (&mut self.sums, self.open.is_empty()) {
            let bucket = std::mem::take(&mut self.open);
            match self.world.all_reduce_sum(Bucket::Host(bucket)) {
                Ok(sum) => sums.push(sum),
                Err(error) => self.sums = Err(error),
            }
        }
    }

    fn add(&mut self, values: &[f32]) {
        if !self.open.is_empty() && self.open.len() + values.len() > self.size {
            self.send();
        }
        if self.open.is_empty() {
            self.open.reserve(self.size.max(values.len()));
        }
        self.open.extend_from_slice(values);
    }
}

impl ModuleVisitor for Pack<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        match HostTensor::new(gradient.clone()) {
            Some(gradient) => self.add(gradient.values()),
            None => self.add(&values(gradient)),
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("data was just converted to f32")
}

fn unpack<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    sums: Sums,
    share: f32,
) -> Result<(), DistributedError> {
    let mut unpack =
        Unpack { gradients, sums: sums.into_iter(), share, open: Vec::new(), taken: 0, failed: None };
    module.visit(&mut unpack);
    unpack.failed.map_or(Ok(()), Err)
}

struct Unpack<'a> {
    gradients: &'a mut GradientsParams,
    sums: std::vec::IntoIter<Box<dyn Pending>>,
    share: f32,
    /// The bucket that is being emptied, and how far it is.
    open: Vec<f32>,
    taken: usize,
    failed: Option<DistributedError>,
}

impl Unpack<'_> {
    /// The next so many sums; none after a failure.
    fn take(&mut self, count: usize) -> Option<&[f32]> {
        if self.taken == self.open.len() {
            self.taken = 0;
            self.open = match self.sums.next()?.wait() {
                Ok(sums) => on_host(sums),
                Err(error) => {
                    self.failed = Some(error);
                    Vec::new()
                }
            };
        }
        let sums = self.open.get(self.taken..self.taken + count)?;
        self.taken += count;
        Some(sums)
    }
}

/// The sums of a bucket that was sent from the host; nothing of one that was not.
fn on_host(bucket: Bucket) -> Vec<f32> {
    #[allow(irrefutable_let_patterns, reason = "without libtorch there is no other kind of bucket")]
    if let Bucket::Host(sums) = bucket { sums } else { Vec::new() }
}

impl ModuleVisitor for Unpack<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.failed.is_some() {
            return;
        }
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let (shape, device, share) = (gradient.dims(), gradient.device(), self.share);
        let Some(sums) = self.take(shape.iter().product()) else { return };
        let averaged: Tensor<D> = match HostTensor::new(gradient) {
            Some(mut gradient) => {
                gradient.values_mut().iter_mut().zip(sums).for_each(|(mean, sum)| *mean = sum * share);
                gradient.into_tensor()
            }
            None => {
                let means: Vec<_> = sums.iter().map(|sum| sum * share).collect();
                Tensor::from_data(TensorData::new(means, shape), &device)
            }
        };
        self.gradients.register(param.id, averaged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Other, Toy, name};
    use burn::tensor::Device;
    use checkpoint::StateDict;

    #[test]
    fn gradients_of_two_processes_become_their_mean_in_buckets_of_any_size() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let gradients = |input: f32| GradientsParams::from_grads(toy.loss(input).backward(), &toy);
        let dict = |gradients: &GradientsParams| StateDict::of_gradients(&toy, gradients, &name);
        let (own, others) = (dict(&gradients(0.5)), dict(&gradients(-0.2)));
        for size in [1, 10, 18, 1000] {
            // Another process, whose buckets are those of the same module.
            let world = Other::default();
            pack(&toy, &gradients(-0.2), &world, size).unwrap();
            let world = world.answer();
            let mut averaged = gradients(0.5);
            let sums = pack(&toy, &averaged, &world, size).unwrap();
            assert_eq!(sums.len(), if size == 1 { 3 } else { 21usize.div_ceil(size) });
            unpack(&toy, &mut averaged, sums, 0.5).unwrap();
            for ((name, found), (own, others)) in dict(&averaged).iter().zip(own.iter().zip(others.iter())) {
                for (i, mean) in found.values.iter().enumerate() {
                    assert_eq!(*mean, 0.5 * (own.1.values[i] + others.1.values[i]), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_failed_collective_is_passed_on() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let mut gradients = GradientsParams::from_grads(toy.loss(0.5).backward(), &toy);
        // One that knows no answer.
        let world = Other::default().answer();
        assert!(all_reduce_gradients(&toy, &mut gradients, &world).is_err());
    }
}
