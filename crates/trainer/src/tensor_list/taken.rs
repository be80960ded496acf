//! The weights of a network as a list, to be updated in place: only what nobody else holds can be, so they are
//! taken out of the network and put back.

use std::vec::IntoIter;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DispatchTensor, Tensor};

/// Weights taken out of a network, without autodiff.
pub(crate) struct Taken {
    /// Paths of their parameters in the network.
    pub(crate) paths: Vec<String>,
    pub(crate) weights: Vec<DispatchTensor>,
}

/// Takes the weights of these parameters, given in the order of the network, out of it. Nothing may be computed
/// with it before they are [given](give) back.
pub(crate) fn take<M: Module>(model: M, ids: &[ParamId]) -> (M, Taken) {
    let taken = Taken { paths: Vec::new(), weights: Vec::new() };
    let mut take = Take { ids, path: Vec::new(), stand_in: None, taken };
    let model = model.map(&mut take);
    assert_eq!(
        take.taken.weights.len(),
        ids.len(),
        "parameters with gradients that the network does not have"
    );
    (model, take.taken)
}

/// Puts the weights of these parameters back, in the same order.
pub(crate) fn give<M: Module>(model: M, ids: &[ParamId], weights: Vec<DispatchTensor>) -> M {
    model.map(&mut Give { ids: ids.iter().copied(), next: None, weights: weights.into_iter() }.ready())
}

struct Take<'a> {
    ids: &'a [ParamId],
    path: Vec<String>,
    /// What stands in the network meanwhile: one tensor for all, since a network without tensors cannot be.
    stand_in: Option<DispatchTensor>,
    taken: Taken,
}

impl ModuleMapper for Take<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.path.push(field.to_owned());
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.ids.get(self.taken.weights.len()) != Some(&param.id) {
            return param;
        }
        let (id, weight, mapper) = param.consume();
        let device = weight.device();
        self.taken.paths.push(self.path.join("."));
        self.taken.weights.push(weight.without_autodiff().into_dispatch());
        let stand_in = self.stand_in.get_or_insert_with(|| Tensor::<1>::empty([0], &device).into_dispatch());
        // Its type does not say how many dimensions it has, which nobody asks.
        Param::from_mapped_value(id, Tensor::from_dispatch(stand_in.clone()), mapper)
    }
}

struct Give<I> {
    ids: I,
    next: Option<ParamId>,
    weights: IntoIter<DispatchTensor>,
}

impl<I: Iterator<Item = ParamId>> Give<I> {
    fn ready(mut self) -> Self {
        self.next = self.ids.next();
        self
    }
}

impl<I: Iterator<Item = ParamId>> ModuleMapper for Give<I> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.next != Some(param.id) {
            return param;
        }
        self.next = self.ids.next();
        let (id, stand_in, mapper) = param.consume();
        let weight = Tensor::<D>::from_dispatch(self.weights.next().expect("a weight for each parameter"));
        let weight = match stand_in.is_autodiff() {
            true => Tensor::from_inner(weight).require_grad(),
            false => weight,
        };
        Param::from_mapped_value(id, weight, mapper)
    }
}
