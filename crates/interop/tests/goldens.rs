//! Checkpoints that PyTorch, timm and transformers wrote.
//!
//! The fixtures are random weights (seed 0, torch 2.15.0, timm 1.0.31, transformers 5.23.0): an FCMAE
//! training checkpoint with optimizer, `args` and `_metadata`, sparse and dense; one classifier three
//! times, whose logits were computed in float64. Tolerance 1e-4: the final norm's epsilon differs
//! between the formats, and PyTorch's float32 is within 1e-5.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use checkpoint::StateDict;
use interop::{Allow, Kind, Layout, Network, read};
use model::{ConvNextV2ForImageClassification, official_name};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn load(name: &str) -> StateDict {
    StateDict::load(&golden(name)).unwrap()
}

#[test]
fn a_sparse_pretraining_checkpoint_becomes_dense() {
    let imported = read(&golden("pretrain_sparse.pth"), &Allow::default()).unwrap();
    assert_eq!(imported.layout, Layout::OfficialSparse);
    let network = imported.network;
    assert_eq!(network.kind, Kind::Pretraining { decoder_dim: 4, decoder_depth: 1 });
    assert_eq!(network.config.depths, [1, 1, 2, 1]);
    assert_eq!(network.config.hidden_sizes, [8, 16, 32, 64]);
    assert_eq!(network.weights, load("pretrain_expected_dense.safetensors"));
    let dense = read(&golden("pretrain_expected_dense.safetensors"), &Allow::default()).unwrap();
    assert_eq!((dense.layout, dense.network), (Layout::Official, network));
}

fn logits(network: &Network, images: StateDict) -> Vec<f32> {
    let device = Device::flex();
    let input = images.get("input").unwrap();
    let input = TensorData::new(input.values.clone(), input.shape.clone());
    let fresh = ConvNextV2ForImageClassification::zeros(&network.config, &device).unwrap();
    let (classifier, report) = network.weights.apply_to(fresh, &official_name);
    report.require_complete().unwrap();
    let logits = classifier.forward(Tensor::from_data(input, &device), None);
    logits.into_data().try_into_vec().unwrap()
}

#[test]
fn one_classifier_in_three_formats_is_one_classifier() {
    let of = |name: &str| read(&golden(name), &Allow::default()).unwrap();
    let (official, timm, hf) = (of("finetuned.pth"), of("timm_conv_mlp.safetensors"), of("hf"));
    assert_eq!(
        [official.layout, timm.layout, hf.layout],
        [Layout::Official, Layout::Timm, Layout::Transformers]
    );
    assert_eq!(timm.network, official.network);
    assert_eq!(hf.network.weights, official.network.weights);
    assert_eq!((hf.network.config.image_size, hf.network.config.layer_norm_eps), (64, 1e-12));
    assert_eq!(hf.network.labels.as_ref().unwrap()[9], "LABEL_9");
    assert_eq!(hf.network.preprocessing.as_ref().unwrap().image_size, [64, 64]);
    let file = of("hf/model.safetensors").network;
    assert_eq!(file, hf.network);

    let expected = load("expected_logits.safetensors");
    for network in [&official.network, &hf.network] {
        let expected = &expected.get("logits").unwrap().values;
        let found = logits(network, load("expected_logits.safetensors"));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
}
