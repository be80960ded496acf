//! What an update does, layer by layer: the norm of its gradients, and how far it moves the weights.

use std::iter::Peekable;
use std::vec::IntoIter;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DispatchTensor, Tensor};
use checkpoint::ParameterNames;
use host::Lists;
use serde::{Deserialize, Serialize};

use crate::deferred::Deferred;
use crate::gradients::Gradients;
use crate::tensor_list::TensorList;

/// The layer that a parameter belongs to, by its official name: the first part of it, and the second if that
/// is a number: `stages.2`, `downsample_layers.0`, `decoder.0`, `pred`, `mask_token`.
pub fn layer_of(name: &str) -> &str {
    let first = name.find('.').unwrap_or(name.len());
    let rest = name.get(first + 1..).unwrap_or_default();
    let second = rest.find('.').unwrap_or(rest.len());
    match rest[..second].parse::<usize>() {
        Ok(_) => &name[..first + 1 + second],
        Err(_) => &name[..first],
    }
}

/// What one update did to the parameters that have a gradient, by [layer](layer_of), in the order of the
/// network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerUpdates {
    /// L2 norm of the gradients, before clipping.
    #[serde(with = "as_map", default, skip_serializing_if = "Vec::is_empty")]
    pub grad_norm: Vec<(String, f64)>,
    /// ‖change of the weights‖ / ‖weights before‖; of no layer of zeros.
    #[serde(with = "as_map", default, skip_serializing_if = "Vec::is_empty")]
    pub update_ratio: Vec<(String, f64)>,
}

/// Gradients and weights of before an update, to be compared with those behind it.
pub(crate) struct Before {
    lists: Lists,
    parameters: Vec<Parameter>,
}

/// A parameter that has a gradient.
struct Parameter {
    id: ParamId,
    layer: String,
    /// Σ gradient².
    gradient: Deferred,
    weights: DispatchTensor,
}

impl Before {
    /// Takes note of an update that is about to be made. The weights are held, not copied.
    pub(crate) fn of<M: Module>(model: &M, gradients: &Gradients, name: &dyn Fn(&str) -> String) -> Self {
        let squares = gradients.ids().iter().copied().zip(gradients.list.squares());
        let squares = squares.collect::<Vec<_>>().into_iter().peekable();
        let lists = gradients.list.lists();
        let mut collect = Collect { names: ParameterNames::new(name), squares, found: Vec::new() };
        model.visit(&mut collect);
        Self { lists, parameters: collect.found }
    }

    /// What the update did that led to the weights of `model`; on a GPU this waits for it.
    pub(crate) fn compare<M: Module>(self, model: &M) -> LayerUpdates {
        let before = self.parameters.into_iter().peekable();
        let mut compare = Compare { lists: self.lists, before, sums: Vec::new() };
        model.visit(&mut compare);
        let mut made = LayerUpdates::default();
        for Sums { layer, squares } in compare.sums {
            let [gradient, change, weights] = squares.map(|sum| sum.read().sqrt());
            if weights > 0.0 {
                made.update_ratio.push((layer.clone(), change / weights));
            }
            made.grad_norm.push((layer, gradient));
        }
        made
    }
}

struct Collect<'a> {
    names: ParameterNames<'a>,
    /// Σ gradient² of the parameters that have one.
    squares: Peekable<IntoIter<(ParamId, Deferred)>>,
    found: Vec<Parameter>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some((id, gradient)) = self.squares.next_if(|(id, _)| *id == param.id) {
            let (layer, weights) = (layer_of(&self.names.name()).to_owned(), weights_of(param));
            self.found.push(Parameter { id, layer, gradient, weights });
        }
    }
}

fn weights_of<const D: usize>(param: &Param<Tensor<D>>) -> DispatchTensor {
    param.val().without_autodiff().into_dispatch()
}

/// Σ x² of some tensors.
fn squares<const N: usize>(lists: Lists, tensors: [DispatchTensor; N]) -> [Deferred; N] {
    let mut squares = TensorList::new(lists, tensors.into()).squares().into_iter();
    std::array::from_fn(|_| squares.next().unwrap_or(Deferred::Known(0.0)))
}

/// Sums over a layer: of squared gradients, changes and weights.
struct Sums {
    layer: String,
    squares: [Deferred; 3],
}

struct Compare {
    lists: Lists,
    before: Peekable<IntoIter<Parameter>>,
    sums: Vec<Sums>,
}

impl ModuleVisitor for Compare {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(before) = self.before.next_if(|before| before.id == param.id) else { return };
        let weights = Tensor::<D>::from_dispatch(before.weights.clone());
        let change = param.val().without_autodiff() - weights;
        let [change, weights] = squares(self.lists, [change.into_dispatch(), before.weights]);
        let squares = [before.gradient, change, weights];
        match self.sums.iter_mut().find(|sums| sums.layer == before.layer) {
            None => self.sums.push(Sums { layer: before.layer, squares }),
            Some(sums) => {
                let so_far = std::mem::replace(&mut sums.squares, [0.0; 3].map(Deferred::Known));
                let mut both = so_far.into_iter().zip(squares).map(|(a, b)| a.plus(b));
                sums.squares = std::array::from_fn(|_| both.next().unwrap_or(Deferred::Known(0.0)));
            }
        }
    }
}

/// Names and numbers, in order, as an object.
mod as_map {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(
        entries: &[(String, f64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        // What is not finite is written as null.
        Ok(map.into_iter().map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adamw::{AdamW, AdamWConfig};
    use crate::groups::{ParameterRule, parameter_groups};
    use crate::testing::{Toy, all_lists, name};
    use burn::tensor::Device;
    use checkpoint::StateDict;

    #[test]
    fn layers_are_the_first_names_with_their_numbers() {
        for (name, layer) in [
            ("stages.2.5.pwconv1.weight", "stages.2"),
            ("downsample_layers.0.1.bias", "downsample_layers.0"),
            ("decoder.0.grn.gamma", "decoder.0"),
            ("pred.weight", "pred"),
            ("mask_token", "mask_token"),
            ("head.bias", "head"),
            ("", ""),
        ] {
            assert_eq!(layer_of(name), layer);
        }
    }

    #[test]
    fn norms_and_ratios_are_those_of_the_tensors() {
        for (lists, device) in all_lists() {
            assert_norms_and_ratios(lists, &device);
        }
    }

    fn assert_norms_and_ratios(lists: Lists, device: &Device) {
        let toy = Toy::new(1.0, &device.clone().autodiff());
        let rule = |_: &str, _: &[usize]| ParameterRule { lr_scale: 1.0, weight_decay: 0.1 };
        let groups = parameter_groups(&toy, &name, &rule);
        let mut optimizer = AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 });
        let gradients = Gradients::of(toy.loss(0.5), &toy, lists);
        let official = |path: &str| path.replace("a.", "stages.");
        let (g, w) = (gradients.to_dict(&toy, &official), StateDict::of_module(&toy, &official));
        let before = Before::of(&toy, &gradients, &official);
        let toy = optimizer.step(0.01, toy, gradients);
        let made = before.compare(&toy);
        let after = StateDict::of_module(&toy, &official);
        let norm = |values: Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        for (index, (tensor, layer)) in
            [("stages.0.w", "stages.0"), ("stages.1.w", "stages.1"), ("b", "b")].into_iter().enumerate()
        {
            let [g, w, after] = [&g, &w, &after].map(|dict| dict.get(tensor).unwrap().values.clone());
            let change = after.iter().zip(&w).map(|(a, b)| a - b).collect();
            let (gradient, ratio) = (norm(g), norm(change) / norm(w));
            assert_eq!((&made.grad_norm[index].0[..], &made.update_ratio[index].0[..]), (layer, layer));
            assert!((made.grad_norm[index].1 - gradient).abs() < 1e-6 * gradient);
            assert!((made.update_ratio[index].1 - ratio).abs() < 1e-6 * ratio);
        }
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<LayerUpdates>(&text).unwrap(), made);
        assert!(text.starts_with("{\"grad_norm\":{\"stages.0\":"), "{text}");
    }
}
