//! Numbers of any checkpoint, to hold against those of another program.
//!
//! `cargo run --release -p interop --example forward -- CHECKPOINT IN.safetensors OUT.safetensors`
//! reads `pixel_values` `[N, C, H, W]`, already normalised, and writes what the network makes of
//! them: `last_hidden_state`, `pooler_output` and `logits`, or the feature maps of a backbone by the
//! names of their stages.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use burn::tensor::{Device, Tensor, TensorData};
use checkpoint::{Entry, StateDict};
use interop::{Allow, Kind, Network, read};
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, official_name};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, input, output] = &arguments[..] else {
        return Err("usage: forward CHECKPOINT IN.safetensors OUT.safetensors".into());
    };
    let network = read(Path::new(checkpoint), &Allow::default())?.network;
    let pixels = StateDict::load(Path::new(input))?;
    let pixels = pixels.get("pixel_values").ok_or("no tensor `pixel_values`")?;
    let pixels = TensorData::new(pixels.values.clone(), pixels.shape.clone());
    let pixels = Tensor::from_data(pixels, &Device::flex());
    let outputs =
        if network.kind == Kind::Backbone { maps(&network, pixels)? } else { heads(&network, pixels)? };
    outputs.save(Path::new(output))?;
    Ok(())
}

/// The maps of a backbone.
fn maps(network: &Network, pixels: Tensor<4>) -> Result<StateDict, Box<dyn Error>> {
    let maps = network.backbone(&Device::flex())?.forward(pixels);
    let names = network.config.stage_names();
    let stages = network.config.backbone_stages()?;
    Ok(stages.into_iter().zip(maps).map(|(stage, map)| (names[stage].clone(), entry(map))).collect())
}

/// Features, and logits where there is a head.
fn heads(network: &Network, pixels: Tensor<4>) -> Result<StateDict, Box<dyn Error>> {
    let is_classifier = network.kind == Kind::Classifier;
    let labels = if is_classifier { network.config.num_labels } else { 0 };
    let config = ConvNextV2Config { num_labels: labels, ..network.config.clone() };
    let fresh = ConvNextV2ForImageClassification::zeros(&config, &Device::flex())?;
    let (model, mut report) = network.weights.apply_to(fresh, &official_name);
    // A pretrained encoder has no final norm; a fresh one is the identity.
    report.missing.retain(|name| !name.starts_with("norm."));
    // A decoder; all other tensors were checked as they were read.
    report.unused.clear();
    report.require_complete()?;
    let output = model.convnextv2.forward(pixels, false, None);
    let mut found = StateDict::default();
    if let Some(head) = &model.head {
        found.insert("logits".to_owned(), entry(head.forward(output.pooler_output.clone())));
    }
    found.insert("last_hidden_state".to_owned(), entry(output.last_hidden_state));
    found.insert("pooler_output".to_owned(), entry(output.pooler_output));
    Ok(found)
}

fn entry<const D: usize>(tensor: Tensor<D>) -> Entry {
    let shape = tensor.dims().to_vec();
    Entry { shape, values: tensor.into_data().try_into_vec().expect("f32 on this device") }
}
