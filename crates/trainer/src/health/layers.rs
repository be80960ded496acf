//! What an update does, layer by layer: the norm of its gradients, and how far it moves the weights.

use std::iter::Peekable;
use std::vec::IntoIter;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use checkpoint::ParameterNames;
use serde::{Deserialize, Serialize};

use crate::deferred::Deferred;
use crate::gradients::sum_of_squares;

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
pub(crate) struct Before(Vec<Parameter>);

/// A parameter that has a gradient.
struct Parameter {
    id: ParamId,
    layer: String,
    /// Σ gradient².
    gradient: Deferred,
    weights: Tensor<1>,
}

impl Before {
    /// Takes note of an update that is about to be made. The weights are held, not copied.
    pub(crate) fn of<M: Module>(
        model: &M,
        gradients: &GradientsParams,
        name: &dyn Fn(&str) -> String,
    ) -> Self {
        let mut collect = Collect { names: ParameterNames::new(name), gradients, found: Vec::new() };
        model.visit(&mut collect);
        Self(collect.found)
    }

    /// What the update did that led to the weights of `model`; on a GPU this waits for it.
    pub(crate) fn compare<M: Module>(self, model: &M) -> LayerUpdates {
        let mut compare = Compare { before: self.0.into_iter().peekable(), sums: Vec::new() };
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
    gradients: &'a GradientsParams,
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
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let (layer, weights) = (layer_of(&self.names.name()).to_owned(), flat(param));
            self.found.push(Parameter { id: param.id, layer, gradient: sum_of_squares(gradient), weights });
        }
    }
}

fn flat<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<1> {
    param.val().without_autodiff().reshape([-1])
}

/// Sums over a layer: of squared gradients, changes and weights.
struct Sums {
    layer: String,
    squares: [Deferred; 3],
}

struct Compare {
    before: Peekable<IntoIter<Parameter>>,
    sums: Vec<Sums>,
}

impl ModuleVisitor for Compare {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(before) = self.before.next_if(|before| before.id == param.id) else { return };
        let change = sum_of_squares(flat(param) - before.weights.clone());
        let squares = [before.gradient, change, sum_of_squares(before.weights)];
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
    use crate::adamw::AdamWConfig;
    use crate::groups::{ParameterRule, build_optimizer, learning_rates, parameter_groups};
    use crate::testing::{Toy, name};
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
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let rule = |_: &str, _: &[usize]| ParameterRule { lr_scale: 1.0, weight_decay: 0.1 };
        let groups = parameter_groups(&toy, &name, &rule);
        let mut optimizer = build_optimizer(&groups, &AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 });
        let gradients = GradientsParams::from_grads(toy.loss(0.5).backward(), &toy);
        let official = |path: &str| path.replace("a.", "stages.");
        let (g, w) =
            (StateDict::of_gradients(&toy, &gradients, &official), StateDict::of_module(&toy, &official));
        let before = Before::of(&toy, &gradients, &official);
        let toy = optimizer.step(learning_rates(0.01, &groups), toy, gradients);
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
