//! Writes networks with random weights as ONNX, each with an input and what our own network makes
//! of it, for `scripts/interop/onnx_check.py` to compare with onnxruntime:
//!
//! ```sh
//! cargo run --release -p interop --example onnx_fixture -- DIR [SIZE]
//! ```
//!
//! With a size, that network alone: `huge`, which takes 8 GB of memory, has its weights outside.

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Distribution, Tensor};
use checkpoint::{Entry, StateDict};
use interop::onnx::{self, Metadata};
use model::activation::Activation;
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Kernels, Size, official_name};

/// Images of the input; the check takes one, then all of them.
const BATCH: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: onnx_fixture DIR [SIZE]")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    if let Some(name) = std::env::args().nth(2) {
        return write(&ConvNextV2Config::from_size(name.parse()?), [64, 64], &folder.join(name));
    }
    let small = ConvNextV2Config {
        num_stages: 2,
        hidden_sizes: vec![8, 16],
        depths: vec![1, 2],
        patch_size: 2,
        num_labels: 5,
        ..ConvNextV2Config::default()
    };
    let atto = ConvNextV2Config::from_size(Size::Atto);
    for hidden_act in [Activation::Gelu, Activation::GeluNew, Activation::Relu, Activation::Silu] {
        let name = format!("small_{hidden_act:?}").to_lowercase();
        write(&ConvNextV2Config { hidden_act, ..small.clone() }, [20, 32], &folder.join(name))?;
    }
    write(&ConvNextV2Config { num_labels: 0, ..small }, [20, 32], &folder.join("small_encoder"))?;
    write(&ConvNextV2Config { num_labels: 0, ..atto.clone() }, [96, 64], &folder.join("atto_encoder"))?;
    write(&atto, [224, 224], &folder.join("atto"))
}

/// `<path>.onnx` and `<path>.safetensors`.
fn write(config: &ConvNextV2Config, [height, width]: [usize; 2], path: &Path) -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    let fresh =
        ConvNextV2ForImageClassification::new(config, 1, &device)?.with_compute(Kernels::Fused.into());
    let weights = disturbed(StateDict::of_module(&fresh, &official_name));
    let network = weights.apply_to(fresh, &official_name).0;
    let metadata = Metadata { image_size: Some([height, width]), ..Metadata::default() };
    onnx::write(config, &weights, &metadata, &path.with_extension("onnx"))?;
    let shape = [BATCH, config.num_channels, height, width];
    let input = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let mut tensors = StateDict::default();
    let mut insert = |name: &str, shape: &[usize], data: burn::tensor::TensorData| {
        let values = data.convert::<f32>().try_into_vec().map_err(|error| format!("{error:?}"))?;
        tensors.insert(name.to_owned(), Entry { shape: shape.to_vec(), values });
        Ok::<_, String>(())
    };
    if config.num_labels == 0 {
        let output = network.convnextv2.forward(input.clone(), false, None);
        let (map, pooled) = (output.last_hidden_state, output.pooler_output);
        insert("last_hidden_state", &map.dims(), map.into_data())?;
        insert("pooler_output", &pooled.dims(), pooled.into_data())?;
    } else {
        let logits = network.forward(input.clone(), None);
        insert("logits", &logits.dims(), logits.into_data())?;
    }
    insert("input", &shape, input.into_data())?;
    tensors.save(&path.with_extension("safetensors"))?;
    println!("wrote {}.onnx and its safetensors", path.display());
    Ok(())
}

/// Weights as a trained network has them: fresh biases are 0, norms 1 and GRN the identity, which
/// would hide what becomes of them.
fn disturbed(mut weights: StateDict) -> StateDict {
    let names: Vec<_> = weights.names().map(str::to_owned).collect();
    for (number, name) in names.into_iter().enumerate() {
        let Some(entry) = weights.get(&name) else { continue };
        if name.ends_with("weight") && entry.shape.len() > 1 {
            continue;
        }
        let mut entry = entry.clone();
        for (i, value) in entry.values.iter_mut().enumerate() {
            *value += 0.3 * ((number * 7919 + i * 31) as f32).sin();
        }
        weights.insert(name, entry);
    }
    weights
}
