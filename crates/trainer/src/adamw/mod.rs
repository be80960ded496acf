//! AdamW with PyTorch's arithmetic, updating all parameters in place.

mod moments;

use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::tensor::DispatchTensor;
use host::Precision;

use crate::gradients::Gradients;
use crate::groups::{ParameterGroup, ParameterRule};
use crate::tensor_list::{Clock, Copies, Taken, TensorList, give, take};
use moments::Moments;
pub use moments::{OptimizerStateError, load_optimizer, save_optimizer};

/// Settings shared by all parameter groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// AdamW (arXiv:1711.05101) as `torch.optim.AdamW` computes it: decoupled decay first, then the
/// bias-corrected update.
///
/// Burn's own goes parameter by parameter, with several operations for each: on the host it allocates as many
/// temporaries, and a GPU waits for the processor. This one makes a single pass over memory on the host, and
/// elsewhere one call for all parameters under the same [rule](ParameterRule).
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    /// By path; whoever is missing learns at the full rate and does not decay.
    rules: HashMap<String, ParameterRule>,
    /// Of the parameters that were updated, by path.
    moments: BTreeMap<String, Moments>,
    clocks: Vec<Clock>,
    /// Weights in the numbers that heavy operations compute in.
    copies: Copies,
}

/// An update of parameters under one rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWUpdate {
    pub(crate) config: AdamWConfig,
    pub(crate) lr: f64,
    pub(crate) weight_decay: f64,
}

/// What one update multiplies with.
pub(crate) struct Factors {
    pub(crate) keep: f32,
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    /// Learning rate over the first bias correction.
    pub(crate) step_size: f32,
    /// Root of the second bias correction.
    pub(crate) root: f32,
    pub(crate) eps: f32,
}

impl AdamWUpdate {
    /// For update number `steps`, counted from 1.
    pub(crate) fn factors(&self, steps: i64) -> Factors {
        let Self { config: AdamWConfig { betas: [beta_1, beta_2], eps }, lr, weight_decay } = *self;
        let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
        Factors {
            keep: (1.0 - lr * weight_decay) as f32,
            beta_1: beta_1 as f32,
            beta_2: beta_2 as f32,
            step_size: (lr / correction(beta_1)) as f32,
            root: correction(beta_2).sqrt() as f32,
            eps: eps as f32,
        }
    }
}

/// Parameters that one call updates: they have a rule and a number of updates in common.
struct Call {
    rule: ParameterRule,
    steps: i64,
    /// Their places in the order of the gradients.
    places: Vec<usize>,
    paths: Vec<String>,
    weights: Vec<DispatchTensor>,
    gradients: Vec<DispatchTensor>,
    /// First ones and second ones; none before the first update.
    moments: [Vec<DispatchTensor>; 2],
}

impl AdamW {
    /// A fresh optimizer of these groups, without moments.
    pub fn new(groups: &[ParameterGroup], config: AdamWConfig) -> Self {
        let of = |group: &ParameterGroup| {
            let rule = group.rule;
            group.paths.iter().map(move |path| (path.clone(), rule)).collect::<Vec<_>>()
        };
        let rules = groups.iter().flat_map(of).collect();
        Self {
            config,
            rules,
            moments: BTreeMap::new(),
            clocks: Vec::new(),
            copies: Copies::new(Precision::F32),
        }
    }

    /// The same for a network whose heavy operations compute in these numbers: its weights are cast once an
    /// update, on devices of libtorch.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { copies: Copies::new(precision), ..self }
    }

    /// One update at learning rate `lr`, of the parameters that have a gradient.
    pub fn step<M: Module>(&mut self, lr: f64, model: M, gradients: Gradients) -> M {
        let (ids, gradients) = gradients.into_parts();
        let (model, taken) = take(model, &ids);
        let (lists, count) = (gradients.lists(), ids.len());
        let mut updated: Vec<Option<DispatchTensor>> = vec![None; count];
        for call in self.calls(taken, gradients.into_tensors()) {
            let mut weights = TensorList::new(lists, call.weights);
            let gradients = TensorList::new(lists, call.gradients);
            let mut moments = match call.steps {
                0 => [weights.zeros_like(), weights.zeros_like()],
                _ => call.moments.map(|moments| TensorList::new(lists, moments)),
            };
            let ParameterRule { lr_scale, weight_decay } = call.rule;
            let update = AdamWUpdate { config: self.config, lr: lr * lr_scale, weight_decay };
            let clock = self.clock(call.steps, &weights);
            weights.adamw(&update, &gradients, moments.each_mut(), clock);
            let steps = call.steps + 1;
            let [first, second] = moments.map(TensorList::into_tensors);
            for (path, (first, second)) in call.paths.into_iter().zip(first.into_iter().zip(second)) {
                self.moments.insert(path, Moments { first, second, steps });
            }
            for (place, weight) in call.places.into_iter().zip(weights.into_tensors()) {
                updated[place] = Some(weight);
            }
        }
        self.clocks.iter_mut().for_each(Clock::end_update);
        let weights: Vec<_> = updated.into_iter().flatten().collect();
        self.copies.refresh(lists, &weights);
        give(model, &ids, weights)
    }

    /// Sorts parameters by the calls that update them.
    fn calls(&mut self, taken: Taken, gradients: Vec<DispatchTensor>) -> Vec<Call> {
        let Taken { paths, weights } = taken;
        let mut calls: Vec<Call> = Vec::new();
        for (place, ((path, weight), gradient)) in paths.into_iter().zip(weights).zip(gradients).enumerate() {
            let rule = self.rules.get(&path).copied();
            let rule = rule.unwrap_or(ParameterRule { lr_scale: 1.0, weight_decay: 0.0 });
            let moments = self.moments.remove(&path);
            let steps = moments.as_ref().map_or(0, |moments| moments.steps);
            let index = match calls.iter().position(|call| call.rule == rule && call.steps == steps) {
                Some(index) => index,
                None => {
                    calls.push(Call::new(rule, steps));
                    calls.len() - 1
                }
            };
            calls[index].add(place, path, weight, gradient, moments);
        }
        calls
    }

    /// The clock that stands at one update more, for weights that have had so many.
    fn clock(&mut self, steps: i64, weights: &TensorList) -> &Clock {
        let known = self.clocks.iter().position(|clock| clock.began_at(steps));
        let index = known.unwrap_or_else(|| {
            self.clocks.push(Clock::at(steps));
            self.clocks.len() - 1
        });
        let clock = &mut self.clocks[index];
        clock.count(weights);
        clock
    }
}

impl Call {
    fn new(rule: ParameterRule, steps: i64) -> Self {
        let (places, paths) = (Vec::new(), Vec::new());
        let (weights, gradients, moments) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        Self { rule, steps, places, paths, weights, gradients, moments }
    }

    fn add(
        &mut self,
        place: usize,
        path: String,
        weight: DispatchTensor,
        gradient: DispatchTensor,
        moments: Option<Moments>,
    ) {
        self.places.push(place);
        self.paths.push(path);
        self.weights.push(weight);
        self.gradients.push(gradient);
        if let Some(Moments { first, second, .. }) = moments {
            self.moments[0].push(first);
            self.moments[1].push(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::parameter_groups;
    use crate::testing::{Toy, all_lists, name};
    use checkpoint::StateDict;
    use host::{HostTensor, Lists};

    const CONFIG: AdamWConfig = AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 };

    /// The second layer learns at half the rate, and the bias does not decay.
    fn rule(name: &str, _: &[usize]) -> ParameterRule {
        ParameterRule {
            lr_scale: if name == "toy.a.1.w" { 0.5 } else { 1.0 },
            weight_decay: if name == "toy.b" { 0.0 } else { 0.1 },
        }
    }

    fn gradients(toy: &Toy, step: usize, lists: Lists) -> Gradients {
        Gradients::of(toy.loss(step as f32 * 0.3), toy, lists)
    }

    /// PyTorch's documented algorithm in double precision, on one number.
    struct Published {
        w: f64,
        m: f64,
        v: f64,
    }

    impl Published {
        fn step(&mut self, g: f64, lr: f64, wd: f64, t: i32) {
            let [b1, b2] = CONFIG.betas;
            self.w -= lr * wd * self.w;
            self.m = b1 * self.m + (1.0 - b1) * g;
            self.v = b2 * self.v + (1.0 - b2) * g * g;
            let (m_hat, v_hat) = (self.m / (1.0 - b1.powi(t)), self.v / (1.0 - b2.powi(t)));
            self.w -= lr * m_hat / (v_hat.sqrt() + CONFIG.eps);
        }
    }

    #[test]
    fn every_kind_of_list_equals_the_published_algorithm() {
        for (lists, device) in all_lists() {
            let mut toy = Toy::new(1.0, &device.autodiff());
            let mut adamw = AdamW::new(&parameter_groups(&toy, &name, &rule), CONFIG);
            let mut expected: BTreeMap<String, Vec<Published>> = StateDict::of_module(&toy, &name)
                .into_iter()
                .map(|(name, entry)| {
                    let numbers = entry.values.iter().map(|w| Published { w: f64::from(*w), m: 0.0, v: 0.0 });
                    (name, numbers.collect())
                })
                .collect();
            for step in 0..7 {
                let found = gradients(&toy, step, lists);
                for (name, entry) in found.to_dict(&toy, &name) {
                    let ParameterRule { lr_scale, weight_decay } = rule(&name, &[]);
                    for (number, g) in expected.get_mut(&name).unwrap().iter_mut().zip(entry.values) {
                        number.step(f64::from(g), 0.01 * lr_scale, weight_decay, step as i32 + 1);
                    }
                }
                toy = adamw.step(0.01, toy, found);
            }
            for (name, entry) in StateDict::of_module(&toy, &name) {
                for (found, expected) in entry.values.iter().zip(&expected[&name]) {
                    assert!((f64::from(*found) - expected.w).abs() < 1e-6, "{lists:?} {name}");
                }
            }
        }
    }

    #[test]
    fn weights_and_moments_stay_where_they_are() {
        let place = |tensor: &DispatchTensor| {
            HostTensor::from_dispatch(tensor.clone()).unwrap().values().as_ptr() as usize
        };
        for (lists, device) in all_lists() {
            let toy = Toy::new(1.0, &device.autodiff());
            let mut adamw = AdamW::new(&parameter_groups(&toy, &name, &rule), CONFIG);
            let places = |toy: &Toy, adamw: &AdamW| {
                let weights = toy.weights().map(|weight| place(&weight.into_dispatch()));
                let moments = adamw.moments.values().flat_map(|m| [place(&m.first), place(&m.second)]);
                (weights, moments.collect::<Vec<_>>())
            };
            let found = gradients(&toy, 0, lists);
            let toy = adamw.step(0.01, toy, found);
            let before = places(&toy, &adamw);
            let found = gradients(&toy, 1, lists);
            let toy = adamw.step(0.01, toy, found);
            assert_eq!(before, places(&toy, &adamw), "{lists:?}");
            assert_eq!(before.1.len(), 6);
        }
    }

    #[test]
    fn weights_that_others_hold_are_left_to_them() {
        for (lists, device) in all_lists() {
            let toy = Toy::new(1.0, &device.autodiff());
            let held = toy.valid();
            let before = StateDict::of_module(&held, &name);
            let found = gradients(&toy, 0, lists);
            let toy = AdamW::new(&[], CONFIG).step(0.01, toy, found);
            assert_eq!(StateDict::of_module(&held, &name), before);
            assert_ne!(StateDict::of_module(&toy, &name), before);
            assert!(toy.b_requires_grad());
        }
    }

    #[test]
    fn a_parameter_without_a_gradient_is_not_touched_and_counts_its_own_updates() {
        for (lists, device) in all_lists() {
            let mut toy = Toy::new(1.0, &device.autodiff());
            let (mut adamw, mut alone) = (AdamW::new(&[], CONFIG), AdamW::new(&[], CONFIG));
            let found = gradients(&toy, 0, lists);
            toy = adamw.step(0.01, toy, found);
            toy = toy.without_gradient_of_b();
            let b = |toy: &Toy| StateDict::of_module(toy, &name).get("toy.b").cloned();
            let before = b(&toy);
            let found = gradients(&toy, 1, lists);
            toy = adamw.step(0.01, toy, found);
            assert_eq!(b(&toy), before);
            let found = gradients(&toy, 2, lists);
            let _ = alone.step(0.01, toy, found);
            let steps = |adamw: &AdamW| adamw.moments.values().map(|m| m.steps).collect::<Vec<_>>();
            assert_eq!((steps(&adamw), steps(&alone)), (vec![2, 2, 1], vec![1, 1]));
        }
    }
}
