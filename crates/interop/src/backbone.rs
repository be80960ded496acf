//! A network as feature maps.

use burn::tensor::Device;
use checkpoint::StateDict;
use model::{ConvNextV2Backbone, official_name};

use crate::error::InteropError;
use crate::network::{Kind, Network};

impl Network {
    /// The backbone with these weights, for the stages of `config.out_features`. Norm, head and
    /// decoder are left out. As in transformers, the norms of the maps start as the identity unless
    /// the weights are a backbone's.
    ///
    /// # Errors
    /// Unknown stages, or weights of other stages.
    pub fn backbone(&self, device: &Device) -> Result<ConvNextV2Backbone, InteropError> {
        let refuse = |error: model::ConfigError| InteropError::Unsupported {
            format: "a backbone",
            reason: error.to_string(),
        };
        let stages = self.config.backbone_stages().map_err(refuse)?;
        let stage_names = self.config.stage_names();
        // Our module counts the norms, transformers names them.
        let name = |path: &str| match path
            .strip_prefix("hidden_states_norms.")
            .and_then(|p| p.split_once('.'))
        {
            Some((index, leaf)) => {
                let stage = index.parse::<usize>().ok().and_then(|index| stages.get(index));
                format!("hidden_states_norms.{}.{leaf}", stage.map_or(index, |stage| &stage_names[*stage]))
            }
            None => official_name(path),
        };
        let of_backbone = ["downsample_layers.", "stages.", "hidden_states_norms."];
        let weights =
            self.weights.iter().filter(|(name, _)| of_backbone.iter().any(|part| name.starts_with(part)));
        let weights: StateDict = weights.map(|(name, entry)| (name.to_owned(), entry.clone())).collect();
        let fresh = ConvNextV2Backbone::new(&self.config, 0, device).map_err(refuse)?;
        let (backbone, mut report) = weights.apply_to(fresh, &name);
        if self.kind != Kind::Backbone {
            report.missing.retain(|name| !name.starts_with("hidden_states_norms."));
        }
        report.require_complete()?;
        Ok(backbone)
    }
}
