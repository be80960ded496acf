//! Layer numbers, learning rates and parameter groups against the official code.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use burn::tensor::Device;
use finetune::{LayerDecay, LayerIds};
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, official_name};
use serde_json::Value;
use trainer::{ParameterRule, decays, parameter_groups};

#[test]
fn layer_numbers_and_rates_of_every_size() {
    let table: Value = serde_json::from_str(include_str!("goldens/layer_decay.json")).unwrap();
    let mut checked = 0;
    for (size, golden) in table.as_object().unwrap() {
        let Some(depths) = golden.get("depths") else { continue };
        let depths: Vec<usize> = serde_json::from_value(depths.clone()).unwrap();
        for (mode, ids) in [("single", LayerIds::Single), ("group", LayerIds::Group)] {
            let decay = |rate| LayerDecay { depths: &depths, ids, rate };
            for (prefix, id) in golden[mode]["layer_ids"].as_object().unwrap() {
                let found = decay(1.0).id(&format!("{prefix}.weight"));
                assert_eq!(found as u64, id.as_u64().unwrap(), "{size} {mode} {prefix}");
                checked += 1;
            }
            for (rate, scales) in golden[mode]["scales_by_id"].as_object().unwrap() {
                for (id, scale) in scales.as_array().unwrap().iter().enumerate() {
                    let found = decay(rate.parse().unwrap()).scale(id);
                    let expected = scale.as_f64().unwrap();
                    assert!((found / expected - 1.0).abs() < 1e-12, "{size} {mode} {rate} {id}");
                }
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn parameter_groups_of_fine_tuning() {
    let table: Value = serde_json::from_str(include_str!("goldens/parameter_groups.json")).unwrap();
    let config = ConvNextV2Config {
        depths: vec![1, 1, 2, 1],
        hidden_sizes: vec![8, 16, 32, 64],
        num_labels: 10,
        ..ConvNextV2Config::default()
    };
    let network = ConvNextV2ForImageClassification::new(&config, 0, &Device::flex()).unwrap();
    for (mode, ids) in [("single", LayerIds::Single), ("group", LayerIds::Group)] {
        let decay = LayerDecay { depths: &config.depths, ids, rate: 0.8 };
        let rule = |name: &str, shape: &[usize]| ParameterRule {
            lr_scale: decay.scale(decay.id(name)),
            weight_decay: if decays(name, shape, false) { 0.05 } else { 0.0 },
        };
        let found: BTreeMap<String, (f64, f64)> = parameter_groups(&network, &official_name, &rule)
            .into_iter()
            .flat_map(|group| {
                group
                    .names
                    .into_iter()
                    .map(move |name| (name, (group.rule.lr_scale, group.rule.weight_decay)))
            })
            .collect();
        let mut seen = 0;
        for group in table[mode].as_object().unwrap().values() {
            for name in group["params"].as_array().unwrap() {
                let (scale, weight_decay) = found[name.as_str().unwrap()];
                assert!((scale / group["lr_scale"].as_f64().unwrap() - 1.0).abs() < 1e-12, "{mode} {name}");
                assert_eq!(weight_decay, group["weight_decay"].as_f64().unwrap(), "{mode} {name}");
                seen += 1;
            }
        }
        assert_eq!(seen, found.len(), "{mode}");
    }
}
