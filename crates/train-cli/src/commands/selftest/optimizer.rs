//! AdamW as training has it.

use burn::module::Module;
use trainer::{AdamW, AdamWConfig, ParameterRule, parameter_groups};

/// Of the updates that are compared.
pub(super) const LEARNING_RATE: f64 = 1e-2;

/// AdamW with weights that decay and biases that do not.
pub(super) fn optimizer<M: Module>(module: &M, name: &dyn Fn(&str) -> String) -> AdamW {
    let rule = |_: &str, shape: &[usize]| ParameterRule {
        lr_scale: 1.0,
        weight_decay: if shape.len() > 1 { 0.05 } else { 0.0 },
    };
    // A large ε: with a small one, an update tells only the sign of a gradient that is nearly zero.
    let config = AdamWConfig { betas: [0.9, 0.95], eps: 1e-2 };
    AdamW::new(&parameter_groups(module, name, &rule), config)
}
