//! transformers' names (`modeling_convnextv2.py`).

/// Of the encoder in all models but `ConvNextV2Model` and `ConvNextV2Backbone`.
const PREFIX: &str = "convnextv2.";

/// The official name of a tensor of any of transformers' models.
pub(crate) fn to_dense(name: &str) -> String {
    // `convnext.` is V1, which is refused by what it lacks.
    let inner = [PREFIX, "convnext."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let parts: Vec<&str> = inner.split('.').collect();
    match parts[..] {
        ["embeddings", "patch_embeddings", leaf] => format!("downsample_layers.0.0.{leaf}"),
        ["embeddings", "layernorm", leaf] => format!("downsample_layers.0.1.{leaf}"),
        ["encoder", "stages", i, "downsampling_layer", layer, leaf] => {
            format!("downsample_layers.{i}.{layer}.{leaf}")
        }
        ["encoder", "stages", i, "layers", j, "layernorm", leaf] => format!("stages.{i}.{j}.norm.{leaf}"),
        ["encoder", "stages", i, "layers", j, "grn", "weight"] => format!("stages.{i}.{j}.grn.gamma"),
        ["encoder", "stages", i, "layers", j, "grn", "bias"] => format!("stages.{i}.{j}.grn.beta"),
        ["encoder", "stages", i, "layers", j, layer, leaf] => format!("stages.{i}.{j}.{layer}.{leaf}"),
        ["encoder", "stages", i, "layers", j, "layer_scale_parameter"] => format!("stages.{i}.{j}.gamma"),
        ["layernorm", leaf] => format!("norm.{leaf}"),
        ["classifier", leaf] => format!("head.{leaf}"),
        _ => inner.to_owned(),
    }
}

/// The name in `ConvNextV2ForImageClassification` (`classifier`) or `ConvNextV2Model`. None for what
/// transformers does not have, a decoder.
pub(crate) fn from_dense(name: &str, classifier: bool) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let inner = match parts[..] {
        ["downsample_layers", "0", "0", leaf] => format!("embeddings.patch_embeddings.{leaf}"),
        ["downsample_layers", "0", "1", leaf] => format!("embeddings.layernorm.{leaf}"),
        ["downsample_layers", i, layer, leaf] => {
            format!("encoder.stages.{i}.downsampling_layer.{layer}.{leaf}")
        }
        ["stages", i, j, "norm", leaf] => format!("encoder.stages.{i}.layers.{j}.layernorm.{leaf}"),
        ["stages", i, j, "grn", "gamma"] => format!("encoder.stages.{i}.layers.{j}.grn.weight"),
        ["stages", i, j, "grn", "beta"] => format!("encoder.stages.{i}.layers.{j}.grn.bias"),
        ["stages", i, j, layer, leaf] => format!("encoder.stages.{i}.layers.{j}.{layer}.{leaf}"),
        ["norm", leaf] => format!("layernorm.{leaf}"),
        ["head", leaf] => return Some(format!("classifier.{leaf}")),
        _ => return None,
    };
    Some(if classifier { format!("{PREFIX}{inner}") } else { inner })
}
