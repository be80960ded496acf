use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use checkpoint::Entry;
use model::activation::Activation;
use model::{ConvNextV2ForImageClassification, Size, official_name};
use prost::Message;

use super::proto::{EXTERNAL, FLOAT, GraphMessage, Node, Tensor};
use super::*;

fn tiny(num_labels: usize) -> ConvNextV2Config {
    ConvNextV2Config {
        num_stages: 2,
        hidden_sizes: vec![8, 16],
        depths: vec![1, 2],
        patch_size: 2,
        num_labels,
        ..ConvNextV2Config::default()
    }
}

/// Random weights, GRN's included, which start at zero otherwise.
fn weights(config: &ConvNextV2Config) -> StateDict {
    let fresh = ConvNextV2ForImageClassification::new(config, 1, &Device::flex()).unwrap();
    let mut dict = StateDict::of_module(&fresh, &official_name);
    let names: Vec<_> = dict.names().filter(|name| name.contains("grn")).map(str::to_owned).collect();
    for name in names {
        let shape = dict.get(&name).unwrap().shape.clone();
        let values = (0..shape.iter().product()).map(|i| (i as f32).sin()).collect();
        dict.insert(name, Entry { shape, values });
    }
    dict
}

fn read(path: &Path) -> Model {
    Model::decode(&fs::read(path).unwrap()[..]).unwrap()
}

/// Writes and reads back.
fn written(config: &ConvNextV2Config, metadata: &Metadata) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    write(config, &weights(config), metadata, &path).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    read(&path)
}

/// Every value has one source that comes before its uses, and every constant is used.
fn assert_well_formed(graph: &GraphMessage) {
    let constants: BTreeSet<&str> = graph.initializer.iter().map(|tensor| &tensor.name[..]).collect();
    assert_eq!(constants.len(), graph.initializer.len());
    let mut known: BTreeSet<&str> = graph.input.iter().map(|input| &input.name[..]).collect();
    known.extend(&constants);
    let mut used = BTreeSet::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(&input[..]), "`{}` reads `{input}` before it exists", node.name);
            used.insert(&input[..]);
        }
        for output in &node.output {
            assert!(known.insert(output), "`{output}` has two sources");
        }
    }
    assert!(graph.output.iter().all(|output| known.contains(&output.name[..])));
    assert_eq!(constants.difference(&used).next(), None);
}

fn shape(graph: &GraphMessage, name: &str) -> Vec<String> {
    let values = graph.input.iter().chain(&graph.output);
    let value = values.into_iter().find(|value| value.name == name).unwrap();
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    assert_eq!(tensor.elem_type, FLOAT);
    let side = |side: &super::proto::Dimension| {
        side.dim_param.clone().unwrap_or_else(|| side.dim_value.unwrap().to_string())
    };
    tensor.shape.as_ref().unwrap().dim.iter().map(side).collect()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    let bytes = tensor.raw_data.as_deref().unwrap();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn count(nodes: &[Node], op: &str) -> usize {
    nodes.iter().filter(|node| node.op_type == op).count()
}

#[test]
fn a_classifier_is_a_well_formed_graph_of_any_batch_and_size() {
    let model = written(&tiny(3), &Metadata::default());
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    let graph = model.graph.unwrap();
    assert_well_formed(&graph);
    assert_eq!(shape(&graph, "pixel_values"), ["batch", "3", "height", "width"]);
    assert_eq!(shape(&graph, "logits"), ["batch", "3"]);
    assert_eq!(graph.output.len(), 1);
    // Stem, one downsampling, a depthwise one in each of three blocks; norms alike, and the last.
    assert_eq!((count(&graph.node, "Conv"), count(&graph.node, "Erf")), (5, 3));
    assert_eq!(count(&graph.node, "LayerNormalization"), 6);
}

#[test]
fn an_encoder_has_the_outputs_of_transformers() {
    let graph = written(&tiny(0), &Metadata::default()).graph.unwrap();
    assert_well_formed(&graph);
    assert_eq!(shape(&graph, "last_hidden_state"), ["batch", "16", "height / 4", "width / 4"]);
    assert_eq!(shape(&graph, "pooler_output"), ["batch", "16"]);
    assert_eq!(graph.output.len(), 2);
}

#[test]
fn every_size_and_activation_is_well_formed() {
    for hidden_act in [Activation::Gelu, Activation::GeluNew, Activation::Relu, Activation::Silu] {
        let config = ConvNextV2Config { hidden_act, ..tiny(2) };
        assert_well_formed(&written(&config, &Metadata::default()).graph.unwrap());
    }
    let config = ConvNextV2Config { num_labels: 10, ..ConvNextV2Config::from_size(Size::Atto) };
    assert_well_formed(&written(&config, &Metadata::default()).graph.unwrap());
}

#[test]
fn tensors_hold_what_their_shapes_say() {
    let (config, graph) = (tiny(3), written(&tiny(3), &Metadata::default()).graph.unwrap());
    let by_name: BTreeMap<&str, &Tensor> = graph.initializer.iter().map(|t| (&t.name[..], t)).collect();
    for tensor in graph.initializer.iter().filter(|tensor| tensor.data_type == FLOAT) {
        assert_eq!(floats(tensor).len() as i64, tensor.dims.iter().product::<i64>(), "{}", tensor.name);
    }
    let weights = weights(&config);
    let plain = by_name["stages.1.0.dwconv.weight"];
    assert_eq!(plain.dims, [16, 1, 7, 7]);
    assert_eq!(floats(plain), weights.get("stages.1.0.dwconv.weight").unwrap().values);
    let transposed = by_name["stages.1.0.pwconv1.weight.transposed"];
    assert_eq!(transposed.dims, [16, 64]);
    let original = &weights.get("stages.1.0.pwconv1.weight").unwrap().values;
    assert_eq!(floats(transposed)[5 * 64 + 7], original[7 * 16 + 5]);
}

#[test]
fn the_second_bias_carries_beta() {
    let (config, graph) = (tiny(3), written(&tiny(3), &Metadata::default()).graph.unwrap());
    let weights = weights(&config);
    let values = |name: &str| &weights.get(&format!("stages.0.0.{name}")).unwrap().values;
    let (beta, weight) = (values("grn.beta"), values("pwconv2.weight"));
    let expected = values("pwconv2.bias")[3] + (0..32).map(|i| weight[3 * 32 + i] * beta[i]).sum::<f32>();
    let name = "stages.0.0.pwconv2.bias.with_beta";
    let found = floats(graph.initializer.iter().find(|tensor| tensor.name == name).unwrap())[3];
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn metadata_names_the_classes_and_the_preprocessing() {
    let metadata = Metadata {
        labels: vec!["cat".into(), "dog".into()],
        image_size: Some([16, 24]),
        image_mean: vec![0.485, 0.5, 0.5],
        image_std: vec![1.0, 0.229, 1.0],
    };
    let found: BTreeMap<_, _> = written(&tiny(2), &metadata)
        .metadata_props
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    assert_eq!(found["model_type"], "convnextv2");
    assert_eq!(found["id2label"], r#"{"0":"cat","1":"dog"}"#);
    assert_eq!(found["image_size"], r#"{"height":16,"width":24}"#);
    assert_eq!((&found["image_mean"][..], &found["image_std"][..]), ("[0.485, 0.5, 0.5]", "[1, 0.229, 1]"));
    let error = properties(&tiny(3), &metadata).unwrap_err();
    assert!(matches!(error, OnnxError::Labels { found: 2, expected: 3 }), "{error}");
}

#[test]
fn large_models_keep_their_weights_outside() {
    let (config, dir) = (tiny(3), tempfile::tempdir().unwrap());
    let path = dir.path().join("model.onnx");
    write_with_limit(&config, &weights(&config), &Metadata::default(), &path, 1).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let outside = fs::read(dir.path().join("model.onnx.data")).unwrap();
    let (mut model, inside) = (read(&path), written(&config, &Metadata::default()));
    let mut moved = 0;
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        if tensor.data_location.take() == Some(EXTERNAL) {
            let of = |key: &str| &tensor.external_data.iter().find(|entry| entry.key == key).unwrap().value;
            let (offset, length): (usize, usize) =
                (of("offset").parse().unwrap(), of("length").parse().unwrap());
            assert_eq!((&of("location")[..], offset % 4096), ("model.onnx.data", 0));
            tensor.raw_data = Some(outside[offset..offset + length].to_vec());
            tensor.external_data.clear();
            moved += 1;
        }
    }
    assert!(moved > 5);
    assert_eq!(model, inside);
}

#[test]
fn what_does_not_fit_is_named() {
    let (config, dir) = (tiny(3), tempfile::tempdir().unwrap());
    let path = dir.path().join("model.onnx");
    let full = weights(&config);
    let without = |left_out: &str| {
        let mut dict = StateDict::default();
        for (name, entry) in full.iter().filter(|(name, _)| *name != left_out) {
            dict.insert(name.to_owned(), entry.clone());
        }
        dict
    };
    let write = |config: &ConvNextV2Config, weights: &StateDict, path: &Path| {
        write(config, weights, &Metadata::default(), path).unwrap_err()
    };
    let error = write(&config, &without("stages.1.1.grn.gamma"), &path);
    assert!(matches!(&error, OnnxError::Missing(name) if name == "stages.1.1.grn.gamma"), "{error}");
    let error = write(&tiny(4), &full, &path).to_string();
    assert_eq!(error, "`head.weight`: expected [4, 16], found [3, 16]");
    let error = write(&tiny(0), &full, &path);
    assert!(matches!(&error, OnnxError::Unused { count: 2, .. }), "{error}");
    let error = write(&ConvNextV2Config { depths: vec![1], ..tiny(3) }, &full, &path);
    assert!(matches!(error, OnnxError::Config(_)), "{error}");
    let error = write(&config, &full, &dir.path().join("missing/model.onnx"));
    assert!(error.to_string().contains("missing/model.onnx"), "{error}");
    assert!(matches!(write(&config, &full, dir.path()), OnnxError::Name(_)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
