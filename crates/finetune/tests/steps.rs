//! Three updates of a classifier: what a GPU runs does what the processor does.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use burn::tensor::{Device, Tensor, TensorData, activation};
use checkpoint::StateDict;
use model::{Compute, ConvNextV2Config, ConvNextV2ForImageClassification, Kernels, official_name};
use trainer::{AdamW, AdamWConfig, Gradients, ParameterRule, parameter_groups};

const LR: f64 = 1e-3;

fn images(step: usize, device: &Device) -> Tensor<4> {
    let values = (0..4 * 3 * 64 * 32).map(|i| ((i * (2 * step + 3)) as f32 * 0.37).sin());
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), [4, 3, 64, 32]), device)
}

/// Weights after three updates with two rates and two decays, and the gradients of the last.
fn after_three_steps(compute: Compute, device: &Device) -> [StateDict; 2] {
    let device = device.clone().autodiff();
    let config = ConvNextV2Config {
        depths: vec![1, 2, 1, 1],
        hidden_sizes: vec![8, 12, 16, 24],
        num_labels: 5,
        ..ConvNextV2Config::default()
    };
    let mut network =
        ConvNextV2ForImageClassification::new(&config, 3, &device).unwrap().with_compute(compute);
    let rule = |name: &str, shape: &[usize]| ParameterRule {
        lr_scale: if name.starts_with("head") { 2.0 } else { 1.0 },
        weight_decay: if shape.len() > 1 { 0.05 } else { 0.0 },
    };
    let groups = parameter_groups(&network, &official_name, &rule);
    assert_eq!(groups.len(), 4);
    let mut optimizer = AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.999], eps: 1e-8 });
    let mut last = StateDict::default();
    for step in 0..3 {
        let log_probabilities = activation::log_softmax(network.forward(images(step, &device), None), 1);
        let loss = log_probabilities.slice([0..4, 1..2]).mean().neg();
        let gradients = Gradients::of(loss, &network, compute.lists(&device));
        last = gradients.to_dict(&network, &official_name);
        network = optimizer.step(LR, network, gradients);
    }
    [StateDict::of_module(&network, &official_name), last]
}

#[test]
fn every_way_to_compute_updates_the_same_weights() {
    let [weights, gradients] = after_three_steps(Kernels::Reference.into(), &Device::flex());
    for device in host::processors() {
        for compute in Compute::all_on(&device) {
            let [found, found_gradients] = after_three_steps(compute, &device);
            for (name, expected) in gradients.iter() {
                let most = expected.values.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
                for (a, b) in found_gradients.get(name).unwrap().values.iter().zip(&expected.values) {
                    assert!(
                        (a - b).abs() <= 1e-3 * most,
                        "{compute:?} {device:?} gradient of {name}: {a} {b}"
                    );
                }
            }
            let (mut beyond, mut count) = (0, 0);
            for (name, expected) in weights.iter() {
                for (a, b) in found.get(name).unwrap().values.iter().zip(&expected.values) {
                    // Adam follows the sign of a gradient, which rounding decides where it is almost zero.
                    let error = f64::from((a - b).abs());
                    assert!(error <= 12.0 * LR, "{compute:?} {device:?} {name}: {a} {b}");
                    beyond += usize::from(error > 2e-5);
                    count += 1;
                }
            }
            assert!(beyond * 200 <= count, "{compute:?} {device:?}: {beyond} of {count} beyond 2e-5");
        }
    }
}
