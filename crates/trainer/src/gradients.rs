//! All gradients of a module together: their norm, clipping, and what is not finite.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::state_dict::StateDict;

/// L2 norm over all gradients.
pub fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> f64 {
    let mut sum = SumOfSquares { gradients, sum: 0.0 };
    module.visit(&mut sum);
    sum.sum.sqrt()
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sum += f64::from(gradient.square().sum().into_scalar::<f32>());
        }
    }
}

/// Scales all gradients so that their norm is at most `max_norm`, as PyTorch's `clip_grad_norm_`.
pub fn clip<M: Module>(module: &M, gradients: &mut GradientsParams, norm: f64, max_norm: f64) {
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        module.visit(&mut Scale { gradients, factor });
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
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
    let mut entries = dict.iter();
    entries.find(|(_, entry)| entry.values.iter().any(|v| !v.is_finite())).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, name};
    use burn::tensor::Device;

    fn norm_of(dict: &StateDict) -> f64 {
        dict.iter().flat_map(|(_, e)| &e.values).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let mut gradients = GradientsParams::from_grads(toy.loss(0.5).backward(), &toy);
        let before = StateDict::of_gradients(&toy, &gradients, &name);
        let norm = global_norm(&toy, &gradients);
        assert!((norm - norm_of(&before)).abs() < 1e-6 * norm);

        clip(&toy, &mut gradients, norm, 10.0 * norm);
        assert_eq!(StateDict::of_gradients(&toy, &gradients, &name), before);
        clip(&toy, &mut gradients, norm, 0.25 * norm);
        let after = StateDict::of_gradients(&toy, &gradients, &name);
        for ((_, a), (_, b)) in before.iter().zip(after.iter()) {
            for (a, b) in a.values.iter().zip(&b.values) {
                assert!((0.25 * a - b).abs() <= 1e-5 * a.abs());
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let gradients = |input| GradientsParams::from_grads(toy.loss(input).backward(), &toy);
        assert_eq!(first_non_finite(&toy, &gradients(0.5), &name), None);
        assert!(!global_norm(&toy, &gradients(f32::NAN)).is_finite());
        assert_eq!(first_non_finite(&toy, &gradients(f32::NAN), &name), Some("toy.a.0.w".into()));
    }
}
