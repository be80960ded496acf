//! All gradients of a module together: their norm, clipping, and what is not finite.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use host::HostTensor;
use rayon::prelude::*;

use crate::deferred::Deferred;
use checkpoint::StateDict;

/// L2 norm over all gradients.
pub fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> Deferred {
    let mut sum = SumOfSquares { gradients, sum: Deferred::Known(0.0) };
    module.visit(&mut sum);
    match sum.sum {
        Deferred::Known(sum) => Deferred::Known(sum.sqrt()),
        Deferred::Pending(sum) => Deferred::Pending(sum.sqrt()),
    }
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Deferred,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let so_far = std::mem::replace(&mut self.sum, Deferred::Known(0.0));
            self.sum = so_far.plus(sum_of_squares(gradient));
        }
    }
}

/// On the host by ourselves: Flex's sum over large tensors takes its parts in an order that varies
/// from call to call, and a clipped run would not be repeatable to the bit.
pub(crate) fn sum_of_squares<const D: usize>(tensor: Tensor<D>) -> Deferred {
    match HostTensor::new(tensor.clone()) {
        // A fixed partition, so that the sum does not depend on the number of threads.
        Some(tensor) => {
            let parts: Vec<f64> = tensor.values().par_chunks(1 << 16).map(in_lanes).collect();
            Deferred::Known(parts.iter().sum())
        }
        None => Deferred::of(tensor.square().sum()),
    }
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

/// Scales all gradients so that their norm is at most `max_norm`, as PyTorch's `clip_grad_norm_`.
pub fn clip<M: Module>(module: &M, gradients: &mut GradientsParams, norm: &Deferred, max_norm: f64) {
    let factor = match norm {
        Deferred::Known(norm) if max_norm >= norm + 1e-6 => return,
        Deferred::Known(norm) => Deferred::Known(max_norm / (norm + 1e-6)),
        Deferred::Pending(norm) => {
            Deferred::Pending(((norm.clone() + 1e-6).recip() * max_norm).clamp_max(1.0))
        }
    };
    module.visit(&mut Scale { gradients, factor });
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Deferred,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let scaled = match &self.factor {
                Deferred::Known(factor) => gradient * *factor,
                Deferred::Pending(factor) => gradient * factor.clone().reshape([1; D]),
            };
            self.gradients.register(param.id, scaled);
        }
    }
}

/// The first parameter, by name, whose gradient is not finite.
pub fn first_non_finite<M: Module>(
    module: &M,
    gradients: &GradientsParams,
    name: &dyn Fn(&str) -> String,
) -> Option<String> {
    let dict = StateDict::of_gradients(module, gradients, name);
    dict.first_non_finite(|_| true).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, name};
    use burn::tensor::{Device, TensorData};

    fn norm_of(dict: &StateDict) -> f64 {
        dict.iter().flat_map(|(_, e)| &e.values).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let mut gradients = GradientsParams::from_grads(toy.loss(0.5).backward(), &toy);
        let before = StateDict::of_gradients(&toy, &gradients, &name);
        let norm = global_norm(&toy, &gradients).read();
        assert!((norm - norm_of(&before)).abs() < 1e-6 * norm);

        clip(&toy, &mut gradients, &Deferred::Known(norm), 10.0 * norm);
        assert_eq!(StateDict::of_gradients(&toy, &gradients, &name), before);
        clip(&toy, &mut gradients, &Deferred::Known(norm), 0.25 * norm);
        let after = StateDict::of_gradients(&toy, &gradients, &name);
        for ((_, a), (_, b)) in before.iter().zip(after.iter()) {
            for (a, b) in a.values.iter().zip(&b.values) {
                assert!((0.25 * a - b).abs() <= 1e-5 * a.abs());
            }
        }
    }

    #[test]
    fn clipping_by_a_norm_that_nobody_has_read_is_the_same() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let gradients = || GradientsParams::from_grads(toy.loss(0.5).backward(), &toy);
        let norm = global_norm(&toy, &gradients()).read();
        let pending = Deferred::Pending(Tensor::full([1], norm, &Device::flex()));
        for max_norm in [0.25 * norm, 10.0 * norm] {
            let [known, unread] = [Deferred::Known(norm), pending.clone()].map(|norm| {
                let mut gradients = gradients();
                clip(&toy, &mut gradients, &norm, max_norm);
                StateDict::of_gradients(&toy, &gradients, &name)
            });
            for ((_, a), (_, b)) in known.iter().zip(unread.iter()) {
                for (a, b) in a.values.iter().zip(&b.values) {
                    assert!((a - b).abs() <= 1e-5 * a.abs(), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn the_norm_of_a_large_tensor_is_exact_and_repeatable() {
        let count = (5 << 20) + 3;
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
        let expected: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        let tensor = Tensor::<1>::from_data(TensorData::new(values, [count]), &Device::flex());
        let found = sum_of_squares(tensor.clone()).read();
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        for _ in 0..20 {
            assert_eq!(sum_of_squares(tensor.clone()).read().to_bits(), found.to_bits());
        }
        // Squares that single precision cannot hold.
        let huge = Tensor::<2>::full([2, 2], 1e30, &Device::flex());
        assert!((sum_of_squares(huge.transpose()).read() / 4e60 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let gradients = |input| GradientsParams::from_grads(toy.loss(input).backward(), &toy);
        assert_eq!(first_non_finite(&toy, &gradients(0.5), &name), None);
        assert!(!global_norm(&toy, &gradients(f32::NAN)).read().is_finite());
        assert_eq!(first_non_finite(&toy, &gradients(f32::NAN), &name), Some("toy.a.0.w".into()));
    }
}
