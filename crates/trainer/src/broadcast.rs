//! That all processes train the same network: rank 0's state for all, and a check.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use distributed::{Communicator, DistributedError};
use host::HostTensor;

use crate::error::TrainError;
use checkpoint::{Entry, StateDict};

/// Gives all processes the parameters of rank 0.
pub(crate) fn broadcast_parameters<M: Module>(
    module: M,
    world: &dyn Communicator,
    name: &dyn Fn(&str) -> String,
) -> Result<M, TrainError> {
    if world.world_size() == 1 {
        return Ok(module);
    }
    let dict = broadcast_dict(world, || Ok(StateDict::of_module(&module, name)))?;
    let (module, report) = dict.apply_to(module, name);
    report.require_complete()?;
    Ok(module)
}

/// Gives all processes the tensors that rank 0 reads.
pub(crate) fn broadcast_dict(
    world: &dyn Communicator,
    read: impl FnOnce() -> Result<StateDict, TrainError>,
) -> Result<StateDict, TrainError> {
    if world.world_size() == 1 {
        return read();
    }
    let own = if world.is_leader() { read()? } else { StateDict::default() };
    let header: Vec<(&str, &[usize])> = own.iter().map(|(name, entry)| (name, &entry.shape[..])).collect();
    let header = world.broadcast_text(&serde_json::to_string(&header).unwrap_or_default())?;
    let header: Vec<(String, Vec<usize>)> =
        serde_json::from_str(&header).map_err(|_| DistributedError::Disagreement)?;
    let mut shared = StateDict::default();
    for (name, shape) in header {
        let mut bytes: Vec<u8> = match own.get(&name) {
            Some(entry) => entry.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            None => vec![0; shape.iter().product::<usize>() * size_of::<f32>()],
        };
        world.broadcast(&mut bytes)?;
        let values = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        shared.insert(name, Entry { shape, values });
    }
    Ok(shared)
}

/// Checks that all processes have the same parameters, to the bit.
///
/// # Errors
/// Names the first rank whose parameters are not those of rank 0.
pub(crate) fn require_equal<M: Module>(
    module: &M,
    world: &dyn Communicator,
    step: u64,
) -> Result<(), TrainError> {
    if world.world_size() == 1 {
        return Ok(());
    }
    let all = world.all_gather(&fingerprint(module).to_le_bytes())?;
    match all.iter().position(|rank| rank != &all[0]) {
        Some(rank) => Err(TrainError::Diverged { rank, step }),
        None => Ok(()),
    }
}

/// A number that differs when any bit of any parameter does, as good as always.
fn fingerprint<M: Module>(module: &M) -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    module.visit(&mut hash);
    hash.0
}

struct Hash(u64);

impl Hash {
    /// FNV-1a, a number at a time instead of a byte.
    fn add(&mut self, values: &[f32]) {
        let step = |hash: u64, value: &f32| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        };
        self.0 = values.iter().fold(self.0, step);
    }
}

impl ModuleVisitor for Hash {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().without_autodiff();
        match HostTensor::new(tensor.clone()) {
            Some(tensor) => self.add(tensor.values()),
            None => {
                let values = tensor.into_data().convert::<f32>().try_into_vec();
                self.add(&values.expect("data was just converted to f32"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Other, Toy, name};
    use burn::tensor::Device;

    #[test]
    fn a_process_takes_over_the_parameters_of_the_leader() {
        let (device, leader) = (Device::flex().autodiff(), Other::default());
        let ours = Toy::new(1.0, &device);
        broadcast_parameters(ours, &leader, &name).unwrap();
        let world = leader.follow();
        let shared = broadcast_parameters(Toy::new(5.0, &device), &world, &name).unwrap();
        let dict = |toy: &Toy| StateDict::of_module(toy, &name);
        assert_eq!(dict(&shared), dict(&Toy::new(1.0, &device)));
        assert!(shared.b_requires_grad());
    }

    #[test]
    fn a_process_that_differs_by_one_bit_is_named() {
        let device = Device::flex();
        let toy = Toy::new(1.0, &device);
        for (offset, same) in [(1.0, true), (1.0 + f32::EPSILON, false)] {
            let world = Other::default();
            require_equal(&Toy::new(offset, &device), &world, 7).unwrap();
            let found = require_equal(&toy, &world.answer(), 7);
            assert_eq!(found.is_ok(), same);
            if let Err(error) = found {
                assert!(
                    error.to_string().contains("rank 1") && error.to_string().contains("step 7"),
                    "{error}"
                );
            }
        }
    }
}
