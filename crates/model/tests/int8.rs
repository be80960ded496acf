//! Prepared networks in 8 bits beside the same in f32.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use burn::tensor::Device;
use checkpoint::StateDict;
use model::{
    ConvNextV2Config, ConvNextV2ForImageClassification, Format, PreparedClassifier, Size, official_name,
};

/// Numbers from −1 to 1 without a pattern.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / 2f32.powi(31) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A network whose every parameter counts: a trained one's norms, biases, gamma and beta differ from what they
/// begin with, and its blocks add as much as they are given.
fn network(config: &ConvNextV2Config) -> ConvNextV2ForImageClassification {
    let network = ConvNextV2ForImageClassification::new(config, 0, &Device::flex()).unwrap();
    let fresh = StateDict::of_module(&network, &official_name);
    let mut random = StateDict::default();
    for (seed, (name, entry)) in fresh.iter().enumerate() {
        let (start, size) = match entry.shape[..] {
            [_] if name.ends_with("norm.weight") => (1.0, 0.3),
            [_] => (0.0, 0.3),
            // Each output has a variance of one for inputs that have.
            [_, ..] => (0.0, (3.0 * entry.shape[0] as f32 / entry.values.len() as f32).sqrt()),
            [] => unreachable!("no parameter is a single number"),
        };
        let mut entry = entry.clone();
        let values = noise(entry.values.len(), seed as u32 + 1).into_iter().map(|value| start + size * value);
        entry.values = values.collect();
        random.insert(name.to_owned(), entry);
    }
    let (network, report) = random.apply_to(network, &official_name);
    report.require_complete().unwrap();
    network
}

fn logits(network: &ConvNextV2ForImageClassification, format: Format, side: usize, count: usize) -> Vec<f32> {
    let prepared = PreparedClassifier::new(network, format).unwrap();
    prepared.forward(&noise(count * 3 * side * side, 77), [count, 3, side, side])
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn logits_point_where_those_of_f32_do() {
    for (size, side) in [(Size::Atto, 96), (Size::Tiny, 64)] {
        let network = network(&ConvNextV2Config { num_labels: 100, ..ConvNextV2Config::from_size(size) });
        let [exact, rounded] = [Format::F32, Format::Int8].map(|format| logits(&network, format, side, 5));
        assert_ne!(exact, rounded);
        for (image, (a, b)) in exact.chunks(100).zip(rounded.chunks(100)).enumerate() {
            assert!(cosine(a, b) > 0.99, "{size:?}, image {image}: {}", cosine(a, b));
        }
        // Rows are rounded by themselves, so that only sums of other steps depend on the batch.
        let alone = logits(&network, Format::Int8, side, 1);
        let cosine = cosine(&alone, &rounded[..100]);
        assert!(cosine > 0.9999, "{size:?}: {cosine}");
    }
}
