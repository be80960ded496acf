//! Fifty steps of training follow the same loss curve on the plain and on the fast path.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use burn::tensor::{Device, Tensor, TensorData};
use fcmae::{Fcmae, FcmaeConfig, random_mask};
use model::{Compute, ConvNextV2Config, Execution, GrnStats, Kernels, official_name};
use trainer::{AdamW, AdamWConfig, Gradients, ParameterRule, parameter_groups};

const STEPS: u64 = 50;
const BATCH: usize = 4;

/// Smooth pictures, other ones in every step.
fn images(step: u64, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..BATCH * 3 * 128 * 128)
        .map(|i| {
            let (x, y, plane) = ((i % 128) as f32, (i / 128 % 128) as f32, (i / 16384) as f32);
            (0.05 * x * (1.0 + 0.3 * plane) + step as f32).sin() + (0.09 * y - plane).cos()
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [BATCH, 3, 128, 128]), device)
}

fn losses(stats: GrnStats, execution: Execution, compute: Compute, device: &Device) -> Vec<f32> {
    let device = device.clone().autodiff();
    let model = ConvNextV2Config {
        depths: vec![1, 1, 2, 1],
        hidden_sizes: vec![8, 16, 32, 64],
        image_size: 128,
        ..ConvNextV2Config::default()
    };
    let config = FcmaeConfig { decoder_dim: 32, grn_stats: stats, ..FcmaeConfig::default() };
    let shape = config.mask_shape(&model, [128, 128]).unwrap();
    let mut network = Fcmae::new(&config, &model, compute, 3, &device).unwrap();
    let rule = |_: &str, _: &[usize]| ParameterRule { lr_scale: 1.0, weight_decay: 0.05 };
    let groups = parameter_groups(&network, &official_name, &rule);
    let mut optimizer = AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 });
    (0..STEPS)
        .map(|step| {
            let mask = random_mask(&shape, 0, step, &[0, 1, 2, 3]).unwrap();
            let loss = network.loss(images(step, &device), &mask, execution, None);
            let value = loss.clone().detach().into_scalar::<f32>();
            let gradients = Gradients::of(loss, &network, compute.lists(&device));
            network = optimizer.step(1e-3, network.clone(), gradients);
            value
        })
        .collect()
}

#[test]
fn the_fast_path_follows_the_plain_one() {
    for stats in [GrnStats::Sample, GrnStats::Batch] {
        let plain = losses(stats, Execution::Masked, Kernels::Reference.into(), &Device::flex());
        for device in host::processors() {
            let fast = losses(stats, Execution::Compact, Kernels::Fused.into(), &device);
            for (step, (a, b)) in plain.iter().zip(&fast).enumerate() {
                // Rounding differences of 1e-7 grow with every update.
                assert!((a - b).abs() < 1e-3 * a, "{stats:?} {device:?} step {step}: {a} and {b}");
            }
        }
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean(&plain[45..]) < 0.9 * mean(&plain[..5]), "{stats:?} did not learn: {plain:?}");
    }
}
