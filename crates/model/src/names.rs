//! The official names of parameters.

/// Official name of the weights that see the channels of an image.
pub const STEM: &str = "downsample_layers.0.0.weight";

/// Turns the path of a parameter in our modules into its name in the official dense checkpoints
/// (`downsample_layers.0.0.weight`, `stages.2.5.pwconv1.weight`, `mask_token`, `head.bias`).
pub fn official_name(path: &str) -> String {
    let path = path.strip_prefix("convnextv2.").unwrap_or(path);
    if let Some(decoder) = path.strip_prefix("decoder.") {
        return match decoder.strip_prefix("blocks.") {
            Some(block) => format!("decoder.{block}"),
            None => decoder.to_owned(),
        };
    }
    let path = path.strip_prefix("encoder.").unwrap_or(path);
    if let Some(rest) = path.strip_prefix("stem.") {
        let rest = rest.replacen("conv.", "0.", 1).replacen("norm.", "1.", 1);
        return format!("downsample_layers.0.{rest}");
    }
    if let Some((index, rest)) = path.strip_prefix("downsample.").and_then(|p| p.split_once('.'))
        && let Ok(index) = index.parse::<usize>()
    {
        let rest = rest.replacen("norm.", "0.", 1).replacen("conv.", "1.", 1);
        return format!("downsample_layers.{}.{rest}", index + 1);
    }
    path.to_owned()
}

/// Whether a tensor of this official name is γ or β of a GRN.
pub fn is_grn(name: &str) -> bool {
    name.ends_with(".grn.gamma") || name.ends_with(".grn.beta")
}

/// Whether a tensor of this official name belongs to the FCMAE decoder.
pub fn is_decoder(name: &str) -> bool {
    ["proj.", "pred.", "decoder.", "mask_token"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a tensor of this official name belongs to the encoder, without a final norm.
pub fn is_encoder(name: &str) -> bool {
    ["downsample_layers.", "stages."].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::official_name;

    #[test]
    fn paths_become_official_names() {
        for (path, name) in [
            ("encoder.stem.conv.weight", "downsample_layers.0.0.weight"),
            ("encoder.stem.norm.bias", "downsample_layers.0.1.bias"),
            ("convnextv2.encoder.downsample.0.norm.weight", "downsample_layers.1.0.weight"),
            ("encoder.downsample.2.conv.bias", "downsample_layers.3.1.bias"),
            ("encoder.stages.2.5.grn.gamma", "stages.2.5.grn.gamma"),
            ("convnextv2.norm.weight", "norm.weight"),
            ("head.bias", "head.bias"),
            ("decoder.proj.weight", "proj.weight"),
            ("decoder.mask_token", "mask_token"),
            ("decoder.blocks.0.dwconv.bias", "decoder.0.dwconv.bias"),
            ("decoder.pred.bias", "pred.bias"),
        ] {
            assert_eq!(official_name(path), name);
        }
    }
}
