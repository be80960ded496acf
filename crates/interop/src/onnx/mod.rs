//! ConvNeXt V2 as an ONNX file, for onnxruntime, OpenVINO, TensorRT and the like.

mod error;
mod file;
mod graph;
mod network;
mod proto;

use std::path::Path;

use checkpoint::StateDict;
use model::ConvNextV2Config;
use serde_json::{Map, Value, json};

pub use error::OnnxError;

use crate::onnx::graph::Graph;
use crate::onnx::proto::{Model, OperatorSet, StringEntry};

/// The first operator set with LayerNormalization, which leaves the file open to the oldest
/// runtimes. GELU is written out by its error function; runtimes fuse it back to one kernel, and
/// measured the same as the GELU of operator set 20.
const OPERATOR_SET: i64 = 17;
/// The version of the file format that came with this operator set.
const IR_VERSION: i64 = 8;
/// Models of this many bytes and more keep their weights in a file of their own: a protobuf message
/// ends at 2 GiB, of which the graph takes far less than the remainder.
const INLINE_LIMIT: usize = (1 << 31) - (16 << 20);

/// What a file says about itself beside the network, all of it optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Name of each class, in the order of the logits.
    pub labels: Vec<String>,
    /// Height and width that the network was trained for; the graph takes any.
    pub image_size: Option<[usize; 2]>,
    /// Subtracted from intensities in 0 to 1, per channel.
    pub image_mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub image_std: Vec<f32>,
}

/// Writes a network as ONNX: a classifier, or with `num_labels` = 0 an encoder.
///
/// `weights` have official dense names, as [`StateDict::of_module`] gives them with
/// [`model::official_name`]. The input is `pixel_values` `[batch, C, height, width]`, normalised;
/// all but C are free. A classifier has the output `logits` `[batch, num_labels]`, an encoder has
/// `last_hidden_state` `[batch, C, height / stride, width / stride]` and `pooler_output`
/// `[batch, C]`, the names that transformers and optimum use. `metadata` ends up in the file's
/// metadata, as JSON where it is a list or a map.
///
/// Networks near 2 GiB and beyond (Huge) get a second file beside `path`, `<name>.data`, which has
/// to stay with the first.
///
/// # Errors
/// A configuration that describes no network, tensors that are missing, of another shape or not part
/// of the network, labels of another number, and files that cannot be written.
pub fn write(
    config: &ConvNextV2Config,
    weights: &StateDict,
    metadata: &Metadata,
    path: &Path,
) -> Result<(), OnnxError> {
    write_with_limit(config, weights, metadata, path, INLINE_LIMIT)
}

fn write_with_limit(
    config: &ConvNextV2Config,
    weights: &StateDict,
    metadata: &Metadata,
    path: &Path,
    inline_limit: usize,
) -> Result<(), OnnxError> {
    config.validate()?;
    let properties = properties(config, metadata)?;
    let mut graph = Graph::new(weights);
    network::build(&mut graph, config)?;
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "train-cli".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph.finish()?),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }],
        metadata_props: properties,
    };
    file::save(model, path, inline_limit)
}

/// The metadata of the file, in transformers' names.
fn properties(config: &ConvNextV2Config, metadata: &Metadata) -> Result<Vec<StringEntry>, OnnxError> {
    let labels = &metadata.labels;
    if !labels.is_empty() && labels.len() != config.num_labels {
        return Err(OnnxError::Labels { found: labels.len(), expected: config.num_labels });
    }
    let id2label: Map<_, _> =
        labels.iter().enumerate().map(|(id, label)| (id.to_string(), Value::from(label.as_str()))).collect();
    let size = metadata.image_size.map(|[height, width]| json!({ "height": height, "width": width }));
    let all = [
        ("model_type", Some("convnextv2".to_owned())),
        ("id2label", (!labels.is_empty()).then(|| Value::from(id2label).to_string())),
        ("image_size", size.map(|size| size.to_string())),
        ("image_mean", list(&metadata.image_mean)),
        ("image_std", list(&metadata.image_std)),
    ];
    let present = all.into_iter().filter_map(|(key, value)| value.map(|value| (key.to_owned(), value)));
    Ok(present.map(|(key, value)| StringEntry { key, value }).collect())
}

/// Numbers as they were written, not as their nearest `f64` prints: 0.485, not 0.4850000143.
fn list(numbers: &[f32]) -> Option<String> {
    let numbers: Vec<_> = numbers.iter().map(f32::to_string).collect();
    (!numbers.is_empty()).then(|| format!("[{}]", numbers.join(", ")))
}

#[cfg(test)]
mod tests;
