//! Optimizer moments as a state dict, keyed by official parameter names.
//!
//! Burn keys them by parameter ids, which differ from process to process.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::burn_pack::{Error as PackError, Reader, Scalar, Tensor as PackTensor, Writer};
use burn::tensor::{Bytes, DType, Tensor};

use checkpoint::{Entry, ParameterNames, StateDict};

/// Between a parameter's name and that of a moment.
const SEPARATOR: char = '|';
const MOMENTS: [&str; 2] = ["first", "second"];
const STEPS: &str = "steps";

/// Why moments cannot be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerStateError {
    /// Burn's record of the optimizer is not what it was when this was written.
    #[error("the optimizer state could not be converted: {0}")]
    Record(String),
    /// The state lacks a parameter, or has another shape for it.
    #[error("the optimizer state does not fit the model: `{0}` {1}")]
    Mismatch(String, String),
}

fn record_error(error: impl std::fmt::Display) -> OptimizerStateError {
    OptimizerStateError::Record(error.to_string())
}

/// One parameter that is trained, as Burn identifies it.
struct TrainedParameter {
    id: u64,
    name: String,
    path: String,
    shape: Vec<usize>,
}

struct Identify<'a> {
    names: ParameterNames<'a>,
    found: Vec<TrainedParameter>,
}

impl ModuleVisitor for Identify<'_> {
    fn enter_module(&mut self, field: &str, _container: &str) {
        self.names.enter(field);
    }

    fn exit_module(&mut self, _field: &str, _container: &str) {
        self.names.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return; // frozen: the optimizer never sees it
        }
        self.found.push(TrainedParameter {
            id: param.id.val(),
            name: self.names.name(),
            path: self.names.path(),
            shape: param.dims().to_vec(),
        });
    }
}

fn identify<M: Module>(module: &M, name: &dyn Fn(&str) -> String) -> Vec<TrainedParameter> {
    let mut identify = Identify { names: ParameterNames::new(name), found: Vec::new() };
    module.visit(&mut identify);
    identify.found
}

/// The moments and step counts of an optimizer; empty before its first step.
///
/// # Errors
/// A record that is not laid out as expected.
pub fn save_optimizer<M: Module>(
    optimizer: &ModuleOptimizer,
    module: &M,
    name: &dyn Fn(&str) -> String,
) -> Result<StateDict, OptimizerStateError> {
    let names: BTreeMap<_, _> =
        identify(module, name).into_iter().map(|k| (k.id.to_string(), k.name)).collect();
    let reader = Reader::from_bytes(optimizer.into_bytes().map_err(record_error)?).map_err(record_error)?;
    let key_of = |key: &str| -> Result<String, OptimizerStateError> {
        let (id, field) = key.split_once('.').ok_or_else(|| record_error(format!("key `{key}`")))?;
        let name = names.get(id).ok_or_else(|| record_error(format!("parameter {id}")))?;
        Ok(format!("{name}{SEPARATOR}{field}"))
    };
    let mut dict = StateDict::default();
    for (key, value) in reader.scalars() {
        if key.ends_with(STEPS) {
            let steps = i64::try_from(*value).map_err(|_| record_error(format!("`{key}` is no count")))?;
            // Exact up to 16.7 million updates.
            dict.insert(key_of(key)?, Entry { shape: vec![1], values: vec![steps as f32] });
        }
    }
    for tensor in reader.into_tensors().map_err(record_error)? {
        let (key, dtype, shape, _, bytes) = tensor.into_parts().map_err(record_error)?;
        if dtype != DType::F32 {
            return Err(record_error(format!("`{key}` is {dtype:?}")));
        }
        let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        dict.insert(key_of(&key)?, Entry { shape: shape.to_vec(), values });
    }
    Ok(dict)
}

/// Gives a fresh optimizer the moments of a state dict. An empty one leaves it fresh.
///
/// # Errors
/// A parameter without moments, or moments of another shape.
pub fn load_optimizer<M: Module>(
    fresh: ModuleOptimizer,
    module: &M,
    dict: &StateDict,
    name: &dyn Fn(&str) -> String,
) -> Result<ModuleOptimizer, OptimizerStateError> {
    if dict.is_empty() {
        return Ok(fresh);
    }
    let known = identify(module, name);
    let mut tensors = Vec::new();
    for TrainedParameter { id, name, shape, .. } in &known {
        for moment in MOMENTS {
            let entry = entry(dict, name, moment)?;
            if entry.shape != *shape {
                let reason = format!("has moments of shape {:?}, expected {shape:?}", entry.shape);
                return Err(OptimizerStateError::Mismatch(name.clone(), reason));
            }
            let bytes = entry.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let bytes = Bytes::from_bytes_vec(bytes);
            tensors.push(PackTensor::new(
                format!("{id}.{moment}"),
                DType::F32,
                shape.clone(),
                Some(*id),
                bytes,
            ));
        }
    }
    let mut writer = Writer::new(tensors);
    for TrainedParameter { id, name, path, shape } in &known {
        let [steps] = entry(dict, name, STEPS)?.values[..] else {
            let reason = format!("has a `{STEPS}` that is not one number");
            return Err(OptimizerStateError::Mismatch(name.clone(), reason));
        };
        writer = writer
            .with_scalar(&format!("{id}.{STEPS}"), Scalar::from(steps as i64))
            .with_scalar(&format!("{id}.__rank"), Scalar::from(shape.len()))
            // Decides the group: without a path every parameter would fall back to the first.
            .with_metadata(&id.to_string(), path);
    }
    let bytes = writer.into_bytes().map_err(|error: PackError| record_error(error))?;
    Ok(fresh.load_record(OptimizerRecord::from_bytes(bytes).map_err(record_error)?))
}

fn entry<'a>(dict: &'a StateDict, name: &str, field: &str) -> Result<&'a Entry, OptimizerStateError> {
    dict.get(&format!("{name}{SEPARATOR}{field}"))
        .ok_or_else(|| OptimizerStateError::Mismatch(name.to_owned(), format!("has no `{field}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adamw::AdamWConfig;
    use crate::groups::{ParameterRule, build_optimizer, learning_rates, parameter_groups};
    use crate::testing::{Toy, name};
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    fn optimizer(toy: &Toy) -> ModuleOptimizer {
        let rule = |name: &str, _: &[usize]| ParameterRule {
            lr_scale: 1.0,
            weight_decay: if name == "toy.b" { 0.0 } else { 0.3 },
        };
        let groups = parameter_groups(toy, &name, &rule);
        assert_eq!(groups.len(), 2);
        build_optimizer(&groups, &AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 })
    }

    fn train(mut toy: Toy, optimizer: &mut ModuleOptimizer, steps: std::ops::Range<usize>) -> Toy {
        for step in steps {
            let gradients = GradientsParams::from_grads(toy.loss(step as f32 * 0.1).backward(), &toy);
            toy = optimizer.step(learning_rates(0.01, &[]), toy, gradients);
        }
        toy
    }

    #[test]
    fn a_restored_optimizer_goes_on_bit_for_bit() {
        let device = Device::flex().autodiff();
        let toy = Toy::new(1.0, &device);
        let mut straight = optimizer(&toy);
        let toy = train(toy, &mut straight, 0..5);
        let weights = StateDict::of_module(&toy, &name);
        let moments = save_optimizer(&straight, &toy, &name).unwrap();
        assert_eq!(moments.len(), 9);
        let toy = train(toy, &mut straight, 5..10);

        let (other, report) = weights.apply_to(Toy::new(9.0, &device), &name);
        report.require_complete().unwrap();
        let mut restored = load_optimizer(optimizer(&other), &other, &moments, &name).unwrap();
        let other = train(other, &mut restored, 5..10);
        assert_eq!(StateDict::of_module(&toy, &name), StateDict::of_module(&other, &name));
        let saved = |optimizer, toy| save_optimizer(optimizer, toy, &name).unwrap();
        assert_eq!(saved(&straight, &toy), saved(&restored, &other));
    }

    #[test]
    fn moments_of_another_model_are_refused_by_name() {
        let device = Device::flex().autodiff();
        let toy = Toy::new(1.0, &device);
        let mut trained = optimizer(&toy);
        let toy = train(toy, &mut trained, 0..1);
        let mut moments = save_optimizer(&trained, &toy, &name).unwrap();
        moments.insert("toy.b|second".into(), Entry { shape: vec![2], values: vec![0.0; 2] });
        let error = load_optimizer(optimizer(&toy), &toy, &moments, &name).err().unwrap().to_string();
        assert!(error.contains("`toy.b`") && error.contains("[2]"), "{error}");

        let mut moments = save_optimizer(&trained, &toy, &name).unwrap();
        moments.insert("toy.a.0.w|steps".into(), Entry { shape: vec![0], values: Vec::new() });
        let error = load_optimizer(optimizer(&toy), &toy, &moments, &name).err().unwrap().to_string();
        assert!(error.contains("`toy.a.0.w`") && error.contains("`steps`"), "{error}");
    }
}
