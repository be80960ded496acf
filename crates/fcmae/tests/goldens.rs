//! FCMAE against PyTorch in double precision: stages, prediction, loss, every gradient, and
//! parameters after three AdamW steps.
//!
//! The fixtures come from a plain PyTorch implementation that equals the official modules within
//! 1e-12 (seed 0; weights and inputs are float32, everything computed in float64). Tolerances:
//! forward 1e-4 relative + 1e-5, gradients 1e-3 of a tensor's largest magnitude; PyTorch's own
//! float32 run is within 3e-6 of both.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use checkpoint::StateDict;
use fcmae::target::{patchify, unpatchify};
use fcmae::{Fcmae, FcmaeConfig};
use model::{
    Compute, ConvNextV2Config, Execution, GrnStats, Kernels, PatchMask, Predict, Sites, official_name,
};
use trainer::{AdamW, AdamWConfig, Gradients, ParameterRule, decays, parameter_groups};

const PATCH: usize = 32;

/// How a loss can be computed: every execution by all kernels of every device. In masked execution
/// our kernels compute what surrounds the blocks, not these; libtorch's compute these too.
fn ways() -> Vec<(Execution, Compute, Device)> {
    let mut ways = Vec::new();
    for device in host::processors() {
        for execution in [Execution::Masked, Execution::Compact] {
            ways.extend(Compute::all_on(&device).map(|kernels| (execution, kernels, device.clone())));
        }
    }
    ways
}

fn golden(name: &str) -> StateDict {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    StateDict::load(&path.with_extension("safetensors")).unwrap()
}

fn tensor<const D: usize>(dict: &StateDict, name: &str, device: &Device) -> Tensor<D> {
    let entry = dict.get(name).unwrap_or_else(|| panic!("no {name}"));
    Tensor::from_data(TensorData::new(entry.values.clone(), entry.shape.clone()), device)
}

fn mask(inputs: &StateDict) -> PatchMask {
    let hidden = inputs.get("mask").unwrap();
    let patches = hidden.shape[1];
    let visible = hidden.values.chunks(patches).map(|sample| {
        sample.iter().enumerate().filter(|(_, hidden)| **hidden == 0.0).map(|(l, _)| l).collect()
    });
    PatchMask::new([4, 4], visible.collect()).unwrap()
}

fn network(stats: GrnStats, norm_pix_loss: bool, compute: Compute, device: &Device) -> Fcmae {
    let model = ConvNextV2Config {
        depths: vec![1, 1, 2, 1],
        hidden_sizes: vec![8, 16, 32, 64],
        ..ConvNextV2Config::default()
    };
    let config = FcmaeConfig { decoder_dim: 32, grn_stats: stats, norm_pix_loss, ..FcmaeConfig::default() };
    let fresh = Fcmae::new(&config, &model, compute, 1, device).unwrap();
    let (fcmae, report) = golden("weights").apply_to(fresh, &official_name);
    report.require_complete().unwrap();
    fcmae
}

fn variants() -> [(&'static str, GrnStats, bool); 4] {
    [
        ("sample_normpix", GrnStats::Sample, true),
        ("sample_rawpix", GrnStats::Sample, false),
        ("batch_normpix", GrnStats::Batch, true),
        ("batch_rawpix", GrnStats::Batch, false),
    ]
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn assert_forward(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 + 1e-4 * b.abs(), "{what}[{i}]: {a}, expected {b}");
    }
}

fn assert_gradient(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-3 * largest, "{what}: {a}, expected {b}, largest {largest}");
    }
}

#[test]
fn stages_and_prediction() {
    let inputs = golden("inputs");
    let mask = mask(&inputs);
    for (variant, stats, norm_pix_loss) in variants() {
        let expected = golden(variant);
        for (execution, kernels, device) in ways() {
            let images = tensor::<4>(&inputs, "images", &device);
            let fcmae = network(stats, norm_pix_loss, kernels, &device);
            if expected.get("stage0").is_some() {
                let sites = Sites::masked(&mask, [PATCH, PATCH], execution, &device);
                let outputs = fcmae.encoder.forward(images.clone(), &sites, None);
                for (i, features) in outputs[1..].iter().enumerate() {
                    let name = format!("stage{i}");
                    let what = format!("{variant} {execution:?} {kernels:?} {device:?} {name}");
                    assert_forward(&values(features.map()), &expected.get(&name).unwrap().values, &what);
                }
            }
            let pred = fcmae.forward(images.clone(), &mask, execution, Predict::All, None);
            let losses = values(fcmae.patch_loss(images.clone(), pred.clone()));
            let what = format!("{variant} {execution:?} {kernels:?} {device:?} patch_loss");
            assert_forward(&losses, &expected.get("patch_loss").unwrap().values, &what);
            if let Some(golden) = expected.get("pred") {
                let nchw = values(pred.permute([0, 2, 1]));
                assert_forward(
                    &nchw,
                    &golden.values,
                    &format!("{variant} {execution:?} {kernels:?} {device:?} pred"),
                );
            }
        }
    }
}

#[test]
fn loss_and_every_gradient() {
    let inputs = golden("inputs");
    let mask = mask(&inputs);
    for (variant, stats, norm_pix_loss) in variants() {
        let expected = golden(variant);
        for (execution, kernels, device) in ways() {
            let device = device.autodiff();
            let images = tensor::<4>(&inputs, "images", &device);
            let fcmae = network(stats, norm_pix_loss, kernels, &device);
            let loss = fcmae.loss(images.clone(), &mask, execution, None);
            let what = format!("{variant} {execution:?} {kernels:?} {device:?}");
            assert_forward(&values(loss.clone()), &expected.get("loss").unwrap().values, &what);
            let gradients = GradientsParams::from_grads(loss.backward(), &fcmae);
            let found = StateDict::of_gradients(&fcmae, &gradients, &official_name);
            let names: Vec<_> = expected.names().filter_map(|name| name.strip_prefix("grad.")).collect();
            assert!(names.len() > 60, "{} gradients", names.len());
            for name in names {
                let golden = expected.get(&format!("grad.{name}")).unwrap();
                let found = found.get(name).unwrap_or_else(|| panic!("no gradient of {name}"));
                assert_eq!(found.shape, golden.shape, "{name}");
                assert_gradient(&found.values, &golden.values, &format!("{what} {name}"));
            }
        }
    }
}

/// bf16 keeps 8 bits: single values of a gradient differ by a per cent, its direction hardly.
#[cfg(feature = "tch")]
#[test]
fn bf16_is_close() {
    let (inputs, expected) = (golden("inputs"), golden("sample_normpix"));
    let (device, mask) = (host::processors().remove(1).autodiff(), mask(&inputs));
    let images = tensor::<4>(&inputs, "images", &device);
    for execution in [Execution::Masked, Execution::Compact] {
        let kernels = Compute { precision: host::Precision::Bf16, ..Compute::from(Kernels::Aten) };
        let fcmae = network(GrnStats::Sample, true, kernels, &device);
        let loss = fcmae.loss(images.clone(), &mask, execution, None);
        let (found, golden) = (values(loss.clone())[0], expected.get("loss").unwrap().values[0]);
        assert!(found != golden && (found - golden).abs() < 0.01 * golden, "{found}, expected {golden}");
        let gradients = GradientsParams::from_grads(loss.backward(), &fcmae);
        let found = StateDict::of_gradients(&fcmae, &gradients, &official_name);
        for (name, entry) in found.iter() {
            let golden = &expected.get(&format!("grad.{name}")).unwrap().values;
            let dot =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let (a, b): (f64, f64) = (dot(&entry.values, &entry.values), dot(golden, golden));
            let cosine: f64 = dot(&entry.values, golden) / (a * b).sqrt();
            assert!(cosine > 0.99, "{execution:?} {name}: cosine {cosine}");
            assert!((a / b).sqrt().ln().abs() < 0.1, "{execution:?} {name}: length {}", (a / b).sqrt());
        }
    }
}

/// Losses before each of three steps and after the last, from the fixtures' manifest.
const LOSSES: [(&str, [f32; 4]); 2] = [
    ("sample_normpix", [1.727_184_5, 1.479_151, 1.376_44, 1.304_585]),
    ("batch_normpix", [1.727_272_8, 1.485_999_5, 1.382_747_2, 1.307_432_9]),
];

fn assert_after_three_steps(decay_grn: bool, prefix: &str) {
    const LR: f64 = 1e-3;
    let inputs = golden("inputs");
    let mask = mask(&inputs);
    for (variant, losses) in LOSSES {
        let expected = golden(variant);
        let names: Vec<_> =
            expected.names().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect();
        if names.is_empty() {
            continue;
        }
        let stats = if variant.starts_with("batch") { GrnStats::Batch } else { GrnStats::Sample };
        for (execution, kernels, device) in ways() {
            let device = device.autodiff();
            let images = tensor::<4>(&inputs, "images", &device);
            let mut fcmae = network(stats, true, kernels, &device);
            let rule = |name: &str, shape: &[usize]| {
                let weight_decay = if decays(name, shape, decay_grn) { 0.05 } else { 0.0 };
                ParameterRule { lr_scale: 1.0, weight_decay }
            };
            let groups = parameter_groups(&fcmae, &official_name, &rule);
            assert_eq!(groups.len(), 2);
            let mut optimizer = AdamW::new(&groups, AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 });
            // As a run does: kernels of ATen with its optimizer.
            let lists = kernels.lists(&device);
            for (step, golden) in losses.into_iter().enumerate() {
                let loss = fcmae.loss(images.clone(), &mask, execution, None);
                if decay_grn {
                    assert_forward(&values(loss.clone()), &[golden], &format!("loss of step {step}"));
                }
                if step < 3 {
                    let gradients = Gradients::of(loss, &fcmae, lists);
                    fcmae = optimizer.step(LR, fcmae, gradients);
                }
            }
            let found = StateDict::of_module(&fcmae, &official_name);
            let (mut beyond, mut count) = (0, 0);
            for name in &names {
                let golden = &expected.get(&format!("{prefix}{name}")).unwrap().values;
                for (a, b) in found.get(name).unwrap().values.iter().zip(golden) {
                    let error = f64::from((a - b).abs());
                    assert!(
                        error <= 2.0 * LR,
                        "{variant} {execution:?} {kernels:?} {device:?} {name}: {a}, expected {b}"
                    );
                    beyond += usize::from(error > 2e-5);
                    count += 1;
                }
            }
            assert!(
                beyond * 1000 <= count,
                "{variant} {execution:?} {kernels:?} {device:?}: {beyond} of {count} beyond 2e-5"
            );
        }
    }
}

#[test]
fn three_adamw_steps_with_the_official_groups() {
    assert_after_three_steps(true, "after3.");
}

#[test]
fn three_adamw_steps_with_grn_exempt() {
    assert_after_three_steps(false, "after3_grn_exempt.");
}

#[test]
fn parameter_groups_equal_the_official_ones() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("goldens/parameter_groups.json")).unwrap();
    let fcmae = network(GrnStats::Sample, true, Kernels::Reference.into(), &Device::flex());
    let rule = |name: &str, shape: &[usize]| ParameterRule {
        lr_scale: 1.0,
        weight_decay: f64::from(u8::from(decays(name, shape, true))),
    };
    for group in parameter_groups(&fcmae, &official_name, &rule) {
        let key = if group.rule.weight_decay > 0.0 { "decay" } else { "no_decay" };
        let mut expected: Vec<_> =
            expected["pretrain"][key].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let mut found: Vec<_> = group.names.iter().map(String::as_str).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{key}");
    }
}

#[test]
fn patchify_equals_the_official_order_and_unpatchify_inverts_it() {
    let device = Device::flex();
    let inputs = golden("inputs");
    let images = tensor::<4>(&inputs, "images", &device);
    let patches = patchify(images.clone(), PATCH);
    let first_two = patches.clone().slice([0..2, 0..2]);
    assert_eq!(values(first_two), inputs.get("target").unwrap().values);
    assert_eq!(values(unpatchify(patches, [4, 4], PATCH)), values(images));
    // Neither square nor three channels.
    let flat: Vec<f32> = (0..2 * 5 * 6 * 4).map(|v| v as f32).collect();
    let images = Tensor::<4>::from_data(TensorData::new(flat, [2, 5, 6, 4]), &device);
    let patches = patchify(images.clone(), 2);
    assert_eq!(patches.dims(), [2, 6, 20]);
    assert_eq!(values(unpatchify(patches, [3, 2], 2)), values(images));
}

#[test]
fn the_loss_of_an_image_does_not_depend_on_its_batch_mates() {
    let device = Device::flex();
    let inputs = golden("inputs");
    let (images, mask) = (tensor::<4>(&inputs, "images", &device), mask(&inputs));
    let alone = |stats, sample: usize| {
        let one = PatchMask::new([4, 4], vec![mask.visible()[sample].clone()]).unwrap();
        let image = images.clone().narrow(0, sample, 1);
        values(network(stats, true, Compute::default(), &device).loss(image, &one, Execution::Compact, None))
            [0]
    };
    let together = |stats| {
        values(network(stats, true, Compute::default(), &device).loss(
            images.clone(),
            &mask,
            Execution::Compact,
            None,
        ))[0]
    };
    for (stats, independent) in [(GrnStats::Sample, true), (GrnStats::Batch, false)] {
        let mean = (alone(stats, 0) + alone(stats, 1)) / 2.0;
        assert_eq!((mean - together(stats)).abs() < 1e-6, independent, "{stats:?}");
    }
}
