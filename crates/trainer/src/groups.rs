//! Parameter groups: which parameters decay, and how fast each learns.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use checkpoint::ParameterNames;

/// How the optimizer treats a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterRule {
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// Parameters under the same rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterGroup {
    /// The rule.
    pub rule: ParameterRule,
    /// Official names of the parameters.
    pub names: Vec<String>,
    /// Paths in the module, in the same order.
    pub paths: Vec<String>,
    /// Elements of all its parameters.
    pub elements: usize,
}

/// Sorts the parameters of a module by what `rule` says of official name and shape; groups are in
/// the order of their first parameter.
pub fn parameter_groups<M: Module>(
    module: &M,
    name: &dyn Fn(&str) -> String,
    rule: &dyn Fn(&str, &[usize]) -> ParameterRule,
) -> Vec<ParameterGroup> {
    let mut sort = Sort { names: ParameterNames::new(name), rule, groups: Vec::new() };
    module.visit(&mut sort);
    sort.groups
}

struct Sort<'a> {
    names: ParameterNames<'a>,
    rule: &'a dyn Fn(&str, &[usize]) -> ParameterRule,
    groups: Vec<ParameterGroup>,
}

impl ModuleVisitor for Sort<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (name, shape) = (self.names.name(), param.dims());
        let rule = (self.rule)(&name, &shape);
        let index = match self.groups.iter().position(|group| group.rule == rule) {
            Some(index) => index,
            None => {
                let empty = ParameterGroup { rule, names: Vec::new(), paths: Vec::new(), elements: 0 };
                self.groups.push(empty);
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[index];
        group.names.push(name);
        group.paths.push(self.names.path());
        group.elements += shape.iter().product::<usize>();
    }
}

/// Whether weight decay applies to a parameter in official pretraining: to everything but 1-D
/// tensors and biases. GRN's γ and β and the mask token have more dimensions and do decay, unless
/// `decay_grn` is false, as in official fine-tuning.
pub fn decays(name: &str, shape: &[usize], decay_grn: bool) -> bool {
    let exempt = shape.len() == 1 || name.ends_with(".bias");
    let grn = name.ends_with(".gamma") || name.ends_with(".beta") || name == "mask_token";
    !exempt && (decay_grn || !grn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adamw::{AdamW, AdamWConfig};
    use crate::gradients::Gradients;
    use crate::testing::{Toy, name};
    use burn::tensor::Device;
    use checkpoint::StateDict;
    use host::Lists;

    #[test]
    fn who_decays() {
        for (name, shape, pretraining, finetuning) in [
            ("stages.0.0.dwconv.weight", &[8, 1, 7, 7][..], true, true),
            ("stages.0.0.dwconv.bias", &[8], false, false),
            ("stages.0.0.norm.weight", &[8], false, false),
            ("stages.0.0.grn.gamma", &[1, 1, 1, 32], true, false),
            ("stages.0.0.grn.beta", &[1, 1, 1, 32], true, false),
            ("mask_token", &[1, 8, 1, 1], true, false),
        ] {
            assert_eq!(decays(name, shape, true), pretraining, "{name}");
            assert_eq!(decays(name, shape, false), finetuning, "{name}");
        }
    }

    #[test]
    fn a_parameter_learns_by_the_rule_of_its_group() {
        let device = Device::flex().autodiff();
        let toy = Toy::new(1.0, &device);
        let rule = |name: &str, _: &[usize]| ParameterRule {
            lr_scale: if name == "toy.a.0.w" { 0.0 } else { 1.0 },
            weight_decay: if name == "toy.b" { 10.0 } else { 0.0 },
        };
        let groups = parameter_groups(&toy, &name, &rule);
        let found: Vec<_> = groups.iter().map(|g| (g.names.join(" "), g.elements)).collect();
        assert_eq!(found, [("toy.a.0.w".into(), 9), ("toy.a.1.w".into(), 9), ("toy.b".into(), 3)]);

        let before = StateDict::of_module(&toy, &name);
        let mut optimizer = AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 });
        let gradients = Gradients::of(toy.loss(0.5), &toy, Lists::Slices);
        let toy = optimizer.step(0.01, toy, gradients);
        let after = StateDict::of_module(&toy, &name);
        assert_eq!(before.get("toy.a.0.w"), after.get("toy.a.0.w"));
        // The first Adam step is one learning rate long, whatever the gradient.
        let moved =
            |name: &str, i: usize| after.get(name).unwrap().values[i] - before.get(name).unwrap().values[i];
        assert!((moved("toy.a.1.w", 0).abs() - 0.01).abs() < 1e-5);
        let decay = 0.01 * 10.0 * before.get("toy.b").unwrap().values[0];
        assert!(((moved("toy.b", 0) + decay).abs() - 0.01).abs() < 1e-5);
    }
}
