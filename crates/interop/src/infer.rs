//! The architecture that a set of tensors has, by their names and shapes.

use checkpoint::StateDict;
use model::{ConvNextV2Config, is_decoder};

use crate::network::Kind;

/// Architecture and purpose of tensors under their dense names. What shapes do not tell, image size
/// and the like, has its default.
///
/// # Errors
/// What is missing to be a ConvNeXt V2.
pub(crate) fn infer(weights: &StateDict) -> Result<(ConvNextV2Config, Kind), String> {
    let stem = "downsample_layers.0.0.weight";
    let stem = weights.get(stem).ok_or_else(|| format!("no stem convolution, `{stem}`"))?;
    let [_, num_channels, patch_size, _] = stem.shape[..] else {
        return Err(format!("the stem convolution has shape {:?}, not [C, channels, P, P]", stem.shape));
    };
    let depths = depths(weights)?;
    let hidden_sizes = (0..depths.len()).map(|stage| width(weights, stage)).collect::<Result<Vec<_>, _>>()?;
    refuse_v1(weights)?;
    let config = ConvNextV2Config {
        num_channels,
        patch_size,
        num_stages: depths.len(),
        hidden_sizes,
        depths,
        num_labels: first_side(weights, &["head.weight", "head.bias"]).unwrap_or(0),
        out_features: norm_stages(weights),
        ..ConvNextV2Config::default()
    };
    config.validate().map_err(|error| error.to_string())?;
    Ok((config, kind(weights)?))
}

/// Blocks of every stage: the highest index, so that a block in between is found missing.
fn depths(weights: &StateDict) -> Result<Vec<usize>, String> {
    let mut depths: Vec<usize> = Vec::new();
    for name in weights.names() {
        let mut parts = name.split('.');
        if parts.next() != Some("stages") {
            continue;
        }
        let mut index = || parts.next().and_then(|part| part.parse::<usize>().ok());
        let (Some(stage), Some(block)) = (index(), index()) else { continue };
        if stage.max(block) >= weights.len() {
            return Err(format!("`{name}` counts beyond the {} tensors there are", weights.len()));
        }
        if depths.len() <= stage {
            depths.resize(stage + 1, 0);
        }
        depths[stage] = depths[stage].max(block + 1);
    }
    match depths.iter().position(|depth| *depth == 0) {
        None if depths.is_empty() => Err("no block, `stages.0.0.…`".to_owned()),
        None => Ok(depths),
        Some(stage) => Err(format!("stage {stage} has no block, `stages.{stage}.0.…`")),
    }
}

/// Channels of a stage.
fn width(weights: &StateDict, stage: usize) -> Result<usize, String> {
    let prefix = format!("stages.{stage}.");
    let is_dwconv = |name: &str| name.starts_with(&prefix) && name.ends_with(".dwconv.weight");
    let found = weights.iter().find(|(name, _)| is_dwconv(name));
    found
        .and_then(|(_, entry)| entry.shape.first().copied())
        .ok_or_else(|| format!("no depthwise convolution in stage {stage}, `{prefix}0.dwconv.weight`"))
}

/// Without GRN's parameters, a V1 would load as a V2 whose every block is another function.
fn refuse_v1(weights: &StateDict) -> Result<(), String> {
    if weights.names().any(|name| name.starts_with("stages.") && name.contains(".grn.")) {
        return Ok(());
    }
    let layer_scale = weights.names().find(|name| name.starts_with("stages.") && name.ends_with(".gamma"));
    let seen = layer_scale.map_or_else(String::new, |name| format!(" but has layer scale (`{name}`)"));
    Err(format!(
        "no block has GRN weights{seen}: this is a ConvNeXt V1, whose weights do not make a ConvNeXt V2; \
         take a V2 checkpoint"
    ))
}

fn kind(weights: &StateDict) -> Result<Kind, String> {
    let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
    if weights.names().any(is_decoder) {
        let token = weights.get("mask_token").map(|entry| entry.values.len());
        let decoder_dim = token
            .or_else(|| first_side(weights, &["proj.weight", "proj.bias"]))
            .ok_or("a decoder without `mask_token` and `proj.weight`")?;
        let blocks = weights.names().filter_map(|name| name.strip_prefix("decoder.")?.split('.').next());
        let last = blocks.filter_map(|block| block.parse::<usize>().ok()).max();
        let decoder_depth = last.map_or(0, |last| last.saturating_add(1));
        if decoder_depth > weights.len() {
            return Err(format!("a decoder of {decoder_depth} blocks in {} tensors", weights.len()));
        }
        return Ok(Kind::Pretraining { decoder_dim, decoder_depth });
    }
    Ok(match () {
        () if has("head.") => Kind::Classifier,
        () if has("hidden_states_norms.") => Kind::Backbone,
        () => Kind::Encoder,
    })
}

fn first_side(weights: &StateDict, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| weights.get(name)?.shape.first().copied())
}

/// The stages that a backbone has norms for, coarsest last.
fn norm_stages(weights: &StateDict) -> Option<Vec<String>> {
    let stages =
        weights.names().filter_map(|name| name.strip_prefix("hidden_states_norms.")?.split('.').next());
    let mut stages: Vec<String> = stages.map(str::to_owned).collect();
    // `stem` comes before `stage10` before `stage2` in the alphabet.
    stages.sort_by_key(|stage| stage.strip_prefix("stage").and_then(|index| index.parse::<usize>().ok()));
    stages.dedup();
    (!stages.is_empty()).then_some(stages)
}
