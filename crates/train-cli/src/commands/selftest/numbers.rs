//! The numbers that everything is tested on, the same everywhere.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// A cheap fixed sequence in [−1, 1).
pub(super) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// A tensor of them.
pub(super) fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product(), seed), shape), device)
}

/// Moves every parameter away from the special values it starts at, by what depends on its place alone.
pub(super) fn shaken<M: Module>(module: M) -> M {
    module.map(&mut Shake(0))
}

struct Shake(u32);

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        const FAR: f32 = 0.3;
        self.0 += 1;
        let seed = self.0;
        param.map(|old| {
            let (device, learns) = (old.device(), old.is_require_grad());
            let noise = tensor(old.dims(), seed, &device);
            (old + noise * FAR).detach().set_require_grad(learns)
        })
    }
}
