//! All gradients of a network together.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DispatchTensor, Gradients as AllGradients, Tensor};
use checkpoint::StateDict;
use host::Lists;

use crate::deferred::Deferred;
use crate::tensor_list::{TensorList, address};

/// The gradients of the parameters that have one, in the order of the network.
#[derive(Debug)]
pub struct Gradients {
    ids: Vec<ParamId>,
    pub(crate) list: TensorList,
    /// Where the backward pass has left them.
    addresses: Vec<usize>,
}

impl Gradients {
    /// The gradients of a loss, contiguous as what updates by them wants them.
    pub fn of<M: Module>(loss: Tensor<1>, model: &M, lists: Lists) -> Self {
        let mut collect = Collect { gradients: loss.backward(), ids: Vec::new(), tensors: Vec::new() };
        model.visit(&mut collect);
        let addresses = collect.tensors.iter().map(|tensor| address(lists, tensor)).collect();
        Self { ids: collect.ids, list: TensorList::new(lists, collect.tensors), addresses }
    }

    /// The same parameters with other gradients.
    pub(crate) fn replaced(ids: Vec<ParamId>, list: TensorList) -> Self {
        Self { ids, list, addresses: Vec::new() }
    }

    /// Where the backward pass has left the gradients.
    pub(crate) fn addresses(&self) -> &[usize] {
        &self.addresses
    }

    pub(crate) fn into_parts(self) -> (Vec<ParamId>, TensorList) {
        (self.ids, self.list)
    }

    /// The parameters, in the order of the network.
    pub(crate) fn ids(&self) -> &[ParamId] {
        &self.ids
    }

    /// L2 norm over all gradients.
    pub fn norm(&self) -> Deferred {
        self.list.norm()
    }

    /// Scales all gradients so that their norm, which is given, is at most `max_norm`, as PyTorch's
    /// `clip_grad_norm_`.
    pub fn clip(&mut self, norm: &Deferred, max_norm: f64) {
        self.list.clip(norm, max_norm);
    }

    /// Adds the gradients of another loss, which the same parameters have a part in.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.ids, other.ids, "gradients of different parameters");
        self.list.add(&other.list);
    }

    /// The gradients by the names of their parameters.
    pub fn to_dict<M: Module>(&self, model: &M, name: &dyn Fn(&str) -> String) -> StateDict {
        let (params, tensors) = (GradientsParams::new(), self.list.clone().into_tensors());
        let found = self.ids.iter().copied().zip(tensors);
        let mut register = Register { found: found.collect::<Vec<_>>().into_iter().peekable(), params };
        model.visit(&mut register);
        StateDict::of_gradients(model, &register.params, name)
    }

    /// The first parameter, by name, whose gradient is not finite.
    pub fn first_non_finite<M: Module>(&self, model: &M, name: &dyn Fn(&str) -> String) -> Option<String> {
        self.to_dict(model, name).first_non_finite(|_| true).map(|(name, _)| name.to_owned())
    }
}

struct Collect {
    gradients: AllGradients,
    ids: Vec<ParamId>,
    tensors: Vec<DispatchTensor>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            self.ids.push(param.id);
            self.tensors.push(gradient.into_dispatch());
        }
    }
}

/// Puts gradients into Burn's container, which knows their dimensions.
struct Register {
    found: std::iter::Peekable<std::vec::IntoIter<(ParamId, DispatchTensor)>>,
    params: GradientsParams,
}

impl ModuleVisitor for Register {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some((id, gradient)) = self.found.next_if(|(id, _)| *id == param.id) {
            self.params.register(id, Tensor::<D>::from_dispatch(gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, all_lists, name};

    fn norm_of(dict: &StateDict) -> f64 {
        dict.iter().flat_map(|(_, e)| &e.values).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn clipping_scales_all_gradients_by_one_factor() {
        for (lists, device) in all_lists() {
            let toy = Toy::new(1.0, &device.autodiff());
            let mut gradients = Gradients::of(toy.loss(0.5), &toy, lists);
            let before = gradients.to_dict(&toy, &name);
            assert_eq!(before.len(), 3);
            let norm = gradients.norm();
            assert!((norm.read() - norm_of(&before)).abs() < 1e-6 * norm.read());

            gradients.clip(&norm, 10.0 * norm.read());
            assert_eq!(gradients.to_dict(&toy, &name), before);
            gradients.clip(&norm, 0.25 * norm.read());
            for ((_, a), (_, b)) in before.iter().zip(gradients.to_dict(&toy, &name).iter()) {
                for (a, b) in a.values.iter().zip(&b.values) {
                    assert!((0.25 * a - b).abs() <= 1e-5 * a.abs());
                }
            }
        }
    }

    #[test]
    fn gradients_add_up() {
        for (lists, device) in all_lists() {
            let toy = Toy::new(1.0, &device.autodiff());
            let of = |input| Gradients::of(toy.loss(input), &toy, lists);
            let mut sum = of(0.5);
            sum.add(&of(-0.2));
            let [one, other, sum] = [of(0.5), of(-0.2), sum].map(|gradients| gradients.to_dict(&toy, &name));
            for (name, entry) in sum.iter() {
                for (i, sum) in entry.values.iter().enumerate() {
                    assert_eq!(*sum, one.get(name).unwrap().values[i] + other.get(name).unwrap().values[i]);
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        for (lists, device) in all_lists() {
            let toy = Toy::new(1.0, &device.autodiff());
            let of = |input| Gradients::of(toy.loss(input), &toy, lists);
            assert_eq!(of(0.5).first_non_finite(&toy, &name), None);
            assert!(!of(f32::NAN).norm().read().is_finite());
            assert_eq!(of(f32::NAN).first_non_finite(&toy, &name), Some("toy.a.0.w".into()));
        }
    }
}
