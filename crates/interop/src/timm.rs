//! timm's names and shapes (`timm/models/convnext.py`).

use checkpoint::Entry;

/// A tensor of timm under its official name. The linear layers of atto to nano are 1×1 convolutions
/// there.
pub(crate) fn to_dense(name: &str, mut entry: Entry) -> (String, Entry) {
    let parts: Vec<&str> = name.split('.').collect();
    let dense = match parts[..] {
        ["stem", layer, leaf] => format!("downsample_layers.0.{layer}.{leaf}"),
        ["stages", i, "downsample", layer, leaf] => format!("downsample_layers.{i}.{layer}.{leaf}"),
        ["stages", i, "blocks", j, "conv_dw", leaf] => format!("stages.{i}.{j}.dwconv.{leaf}"),
        ["stages", i, "blocks", j, "norm", leaf] => format!("stages.{i}.{j}.norm.{leaf}"),
        ["stages", i, "blocks", j, "mlp", "fc1", leaf] => format!("stages.{i}.{j}.pwconv1.{leaf}"),
        ["stages", i, "blocks", j, "mlp", "fc2", leaf] => format!("stages.{i}.{j}.pwconv2.{leaf}"),
        ["stages", i, "blocks", j, "mlp", "grn", "weight"] => format!("stages.{i}.{j}.grn.gamma"),
        ["stages", i, "blocks", j, "mlp", "grn", "bias"] => format!("stages.{i}.{j}.grn.beta"),
        // Layer scale, by which a ConvNeXt V1 is known.
        ["stages", i, "blocks", j, "gamma"] => format!("stages.{i}.{j}.gamma"),
        ["head", "norm", leaf] => format!("norm.{leaf}"),
        ["head", "fc", leaf] => format!("head.{leaf}"),
        _ => name.to_owned(),
    };
    if dense.contains(".pwconv")
        && let [outputs, inputs, 1, 1] = entry.shape[..]
    {
        entry.shape = vec![outputs, inputs];
    }
    (dense, entry)
}

/// The inverse of [`to_dense`]; `conv_mlp`: with 1×1 convolutions. None for what timm does not have,
/// a decoder.
pub(crate) fn from_dense(name: &str, entry: &Entry, conv_mlp: bool) -> Option<(String, Entry)> {
    let mut shape = entry.shape.clone();
    let parts: Vec<&str> = name.split('.').collect();
    let timm = match parts[..] {
        ["downsample_layers", "0", layer, leaf] => format!("stem.{layer}.{leaf}"),
        ["downsample_layers", i, layer, leaf] => format!("stages.{i}.downsample.{layer}.{leaf}"),
        ["stages", i, j, "dwconv", leaf] => format!("stages.{i}.blocks.{j}.conv_dw.{leaf}"),
        ["stages", i, j, "norm", leaf] => format!("stages.{i}.blocks.{j}.norm.{leaf}"),
        ["stages", i, j, linear @ ("pwconv1" | "pwconv2"), leaf] => {
            if conv_mlp && leaf == "weight" {
                shape.extend([1, 1]);
            }
            format!("stages.{i}.blocks.{j}.mlp.{}.{leaf}", if linear == "pwconv1" { "fc1" } else { "fc2" })
        }
        ["stages", i, j, "grn", leaf] => {
            shape = vec![entry.values.len()];
            format!("stages.{i}.blocks.{j}.mlp.grn.{}", if leaf == "gamma" { "weight" } else { "bias" })
        }
        ["norm", leaf] => format!("head.norm.{leaf}"),
        ["head", leaf] => format!("head.fc.{leaf}"),
        _ => return None,
    };
    Some((timm, Entry { shape, values: entry.values.clone() }))
}
