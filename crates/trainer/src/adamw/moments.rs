//! What AdamW remembers of a parameter, and how that is saved: as a state dict, keyed by official names.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DispatchTensor, Tensor, TensorData};
use checkpoint::{Entry, ParameterNames, StateDict};

use super::AdamW;

/// Between a parameter's name and that of a moment.
const SEPARATOR: char = '|';
const FIRST: &str = "first";
const SECOND: &str = "second";
const STEPS: &str = "steps";

/// Moments of one parameter.
#[derive(Debug)]
pub(crate) struct Moments {
    /// The running mean of the gradient.
    pub(crate) first: DispatchTensor,
    /// The running mean of the gradient's square.
    pub(crate) second: DispatchTensor,
    /// Updates done.
    pub(crate) steps: i64,
}

/// Why moments cannot be restored.
#[derive(Debug, thiserror::Error)]
#[error("the optimizer state does not fit the model: `{name}` {reason}")]
pub struct OptimizerStateError {
    name: String,
    reason: String,
}

/// The moments and step counts of an optimizer; empty before its first step.
pub fn save_optimizer(optimizer: &AdamW, name: &dyn Fn(&str) -> String) -> StateDict {
    let mut dict = StateDict::default();
    for (path, Moments { first, second, steps }) in &optimizer.moments {
        let name = name(path);
        for (moment, tensor) in [(FIRST, first), (SECOND, second)] {
            dict.insert(format!("{name}{SEPARATOR}{moment}"), entry_of(tensor));
        }
        // Exact up to 16.7 million updates.
        let steps = Entry { shape: vec![1], values: vec![*steps as f32] };
        dict.insert(format!("{name}{SEPARATOR}{STEPS}"), steps);
    }
    dict
}

fn entry_of(tensor: &DispatchTensor) -> Entry {
    // The data have the shape of the tensor, whatever the type says of its dimensions.
    let data = Tensor::<1>::from_dispatch(tensor.clone()).into_data();
    let shape = data.shape().to_vec();
    Entry { shape, values: data.try_into_vec().expect("moments in f32") }
}

/// Gives a fresh optimizer the moments of a state dict. An empty one leaves it fresh.
///
/// # Errors
/// A parameter that is trained and has no moments, or moments of another shape.
pub fn load_optimizer<M: Module>(
    fresh: AdamW,
    module: &M,
    dict: &StateDict,
    name: &dyn Fn(&str) -> String,
) -> Result<AdamW, OptimizerStateError> {
    if dict.is_empty() {
        return Ok(fresh);
    }
    let mut load = Load { names: ParameterNames::new(name), dict, optimizer: fresh, failed: None };
    module.visit(&mut load);
    match load.failed {
        None => Ok(load.optimizer),
        Some(error) => Err(error),
    }
}

struct Load<'a> {
    names: ParameterNames<'a>,
    dict: &'a StateDict,
    optimizer: AdamW,
    failed: Option<OptimizerStateError>,
}

impl Load<'_> {
    fn field(&self, name: &str, field: &str) -> Result<&Entry, OptimizerStateError> {
        let found = self.dict.get(&format!("{name}{SEPARATOR}{field}"));
        found
            .ok_or_else(|| OptimizerStateError { name: name.to_owned(), reason: format!("has no `{field}`") })
    }

    fn moments<const D: usize>(&self, param: &Param<Tensor<D>>) -> Result<Moments, OptimizerStateError> {
        let (name, shape, device) = (self.names.name(), param.dims(), param.device().inner());
        let moment = |field| {
            let entry = self.field(&name, field)?;
            if entry.shape != shape {
                let reason = format!("has moments of shape {:?}, expected {shape:?}", entry.shape);
                return Err(OptimizerStateError { name: name.clone(), reason });
            }
            Ok(Tensor::<D>::from_data(TensorData::new(entry.values.clone(), shape), &device).into_dispatch())
        };
        let [steps] = self.field(&name, STEPS)?.values[..] else {
            let reason = format!("has a `{STEPS}` that is not one number");
            return Err(OptimizerStateError { name, reason });
        };
        Ok(Moments { first: moment(FIRST)?, second: moment(SECOND)?, steps: steps as i64 })
    }
}

impl ModuleVisitor for Load<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // The optimizer never sees what is frozen.
        if self.failed.is_some() || !param.is_require_grad() {
            return;
        }
        match self.moments(param) {
            Ok(moments) => drop(self.optimizer.moments.insert(self.names.path(), moments)),
            Err(error) => self.failed = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adamw::AdamWConfig;
    use crate::gradients::Gradients;
    use crate::groups::{ParameterRule, parameter_groups};
    use crate::testing::{Toy, all_lists, name};
    use burn::tensor::Device;
    use host::Lists;

    fn optimizer(toy: &Toy) -> AdamW {
        let rule = |name: &str, _: &[usize]| ParameterRule {
            lr_scale: 1.0,
            weight_decay: if name == "toy.b" { 0.0 } else { 0.3 },
        };
        let groups = parameter_groups(toy, &name, &rule);
        assert_eq!(groups.len(), 2);
        AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 })
    }

    fn train(mut toy: Toy, optimizer: &mut AdamW, lists: Lists, steps: std::ops::Range<usize>) -> Toy {
        for step in steps {
            let gradients = Gradients::of(toy.loss(step as f32 * 0.1), &toy, lists);
            toy = optimizer.step(0.01, toy, gradients);
        }
        toy
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        for (lists, device) in all_lists() {
            let device = device.autodiff();
            let toy = Toy::new(1.0, &device);
            let mut straight = optimizer(&toy);
            let toy = train(toy, &mut straight, lists, 0..5);
            let weights = StateDict::of_module(&toy, &name);
            let moments = save_optimizer(&straight, &name);
            assert_eq!(moments.len(), 9);
            assert_eq!(moments.get("toy.a.0.w|first").unwrap().shape, [3, 3]);
            assert_eq!(moments.get("toy.b|steps").unwrap().values, [5.0]);
            let toy = train(toy, &mut straight, lists, 5..10);

            let (other, report) = weights.apply_to(Toy::new(9.0, &device), &name);
            report.require_complete().unwrap();
            let mut restored = load_optimizer(optimizer(&other), &other, &moments, &name).unwrap();
            let other = train(other, &mut restored, lists, 5..10);
            assert_eq!(StateDict::of_module(&toy, &name), StateDict::of_module(&other, &name));
            assert_eq!(save_optimizer(&straight, &name), save_optimizer(&restored, &name));
        }
    }

    #[test]
    fn moments_of_another_model_are_refused_by_name() {
        let toy = Toy::new(1.0, &Device::flex().autodiff());
        let mut trained = optimizer(&toy);
        let toy = train(toy, &mut trained, Lists::Slices, 0..1);
        let mut moments = save_optimizer(&trained, &name);
        moments.insert("toy.b|second".into(), Entry { shape: vec![2], values: vec![0.0; 2] });
        let error = load_optimizer(optimizer(&toy), &toy, &moments, &name).err().unwrap().to_string();
        assert!(error.contains("`toy.b`") && error.contains("[2]"), "{error}");

        let mut moments = save_optimizer(&trained, &name);
        moments.insert("toy.a.0.w|steps".into(), Entry { shape: vec![0], values: Vec::new() });
        let error = load_optimizer(optimizer(&toy), &toy, &moments, &name).err().unwrap().to_string();
        assert!(error.contains("`toy.a.0.w`") && error.contains("`steps`"), "{error}");

        let missing = moments.into_iter().filter(|(name, _)| name != "toy.b|first").collect();
        let error = load_optimizer(optimizer(&toy), &toy, &missing, &name).err().unwrap().to_string();
        assert!(error.contains("no `first`") || error.contains("`steps`"), "{error}");
    }
}
