//! The tensors that a network consists of.

use model::ConvNextV2Config;

use crate::network::Kind;

/// Collects names and shapes.
#[derive(Default)]
struct List(Vec<(String, Vec<usize>)>);

/// Names and shapes of all tensors of a network. An encoder's final norm is listed if `with_norm`.
pub(crate) fn expected(config: &ConvNextV2Config, kind: Kind, with_norm: bool) -> Vec<(String, Vec<usize>)> {
    let mut list = List::default();
    list.encoder(config);
    let last = config.last_hidden_size();
    match kind {
        Kind::Pretraining { decoder_dim, decoder_depth } => {
            list.layer("proj", vec![decoder_dim, last, 1, 1]);
            list.push("mask_token", vec![1, decoder_dim, 1, 1]);
            for block in 0..decoder_depth {
                list.block(&format!("decoder.{block}"), decoder_dim);
            }
            let pixels = config.total_stride().saturating_pow(2).saturating_mul(config.num_channels);
            list.layer("pred", vec![pixels, decoder_dim, 1, 1]);
        }
        Kind::Encoder if with_norm => list.layer("norm", vec![last]),
        Kind::Encoder => {}
        Kind::Classifier => {
            list.layer("norm", vec![last]);
            list.layer("head", vec![config.num_labels, last]);
        }
        Kind::Backbone => {
            for stage in config.backbone_stages().unwrap_or_default() {
                let name = if stage == 0 { "stem".to_owned() } else { format!("stage{stage}") };
                let channels = config.hidden_sizes[stage.saturating_sub(1)];
                list.layer(&format!("hidden_states_norms.{name}"), vec![channels]);
            }
        }
    }
    list.0
}

impl List {
    fn push(&mut self, name: &str, shape: Vec<usize>) {
        self.0.push((name.to_owned(), shape));
    }

    /// A weight and a bias of as many channels.
    fn layer(&mut self, name: &str, shape: Vec<usize>) {
        let channels = shape[0];
        self.push(&format!("{name}.weight"), shape);
        self.push(&format!("{name}.bias"), vec![channels]);
    }

    fn encoder(&mut self, config: &ConvNextV2Config) {
        let (sizes, patch) = (&config.hidden_sizes, config.patch_size);
        self.layer("downsample_layers.0.0", vec![sizes[0], config.num_channels, patch, patch]);
        self.layer("downsample_layers.0.1", vec![sizes[0]]);
        for (stage, pair) in sizes.windows(2).enumerate() {
            self.layer(&format!("downsample_layers.{}.0", stage + 1), vec![pair[0]]);
            self.layer(&format!("downsample_layers.{}.1", stage + 1), vec![pair[1], pair[0], 2, 2]);
        }
        for (stage, (&depth, &channels)) in config.depths.iter().zip(sizes).enumerate() {
            for block in 0..depth {
                self.block(&format!("stages.{stage}.{block}"), channels);
            }
        }
    }

    fn block(&mut self, name: &str, channels: usize) {
        let inner = channels.saturating_mul(4);
        self.layer(&format!("{name}.dwconv"), vec![channels, 1, 7, 7]);
        self.layer(&format!("{name}.norm"), vec![channels]);
        self.layer(&format!("{name}.pwconv1"), vec![inner, channels]);
        self.push(&format!("{name}.grn.gamma"), vec![1, 1, 1, inner]);
        self.push(&format!("{name}.grn.beta"), vec![1, 1, 1, inner]);
        self.layer(&format!("{name}.pwconv2"), vec![channels, inner]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use checkpoint::StateDict;
    use model::{ConvNextV2ForImageClassification, official_name};

    #[test]
    fn the_list_is_that_of_the_module() {
        let config = ConvNextV2Config {
            depths: vec![1, 2],
            hidden_sizes: vec![2, 3],
            num_stages: 2,
            num_labels: 5,
            ..ConvNextV2Config::default()
        };
        let module = ConvNextV2ForImageClassification::zeros(&config, &Device::flex()).unwrap();
        let module = StateDict::of_module(&module, &official_name);
        let module: Vec<_> =
            module.iter().map(|(name, entry)| (name.to_owned(), entry.shape.clone())).collect();
        let mut list = expected(&config, Kind::Classifier, true);
        list.sort();
        assert_eq!(list, module);
    }
}
