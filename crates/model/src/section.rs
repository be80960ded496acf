//! The `[model]` section of a configuration.

use config::{SettingError, section};

use crate::activation::Activation;
use crate::config::{ConvNextV2Config, Size};
use crate::engine::Kernels;
use crate::sites::Execution;

section! {
    /// The encoder: a size by name, and what differs from it.
    pub struct ModelConfig: "model" {
        /// One of the eight published sizes; gives depths and channels.
        size: Option<Size> = None;
        /// Blocks of every stage; overrides the size.
        depths: Option<Vec<usize>> = None;
        /// Channels of every stage; overrides the size.
        hidden_sizes: Option<Vec<usize>> = None;
        /// Channels of an image: 3 (colour, the default) or 1 (grey).
        num_channels: Option<usize> = None;
        /// Stride of the stem in pixels, 4 unless given.
        patch_size: Option<usize> = None;
        /// Activation inside a block, exact GELU unless given.
        hidden_act: Option<Activation> = None;
        /// Share of residual branches dropped in the last block, rising from 0 in the first.
        drop_path_rate: Option<f64> = None;
        /// Standard deviation of initial weights, 0.02 unless given.
        initializer_range: Option<f64> = None;
        /// ε of the final norm; checkpoints made by transformers may have 1e-12.
        layer_norm_eps: Option<f64> = None;
        /// How the encoder runs on masked images in pretraining; `compact` unless given.
        execution: Option<Execution> = None;
        /// What computes the network: our kernels or libtorch's, Burn's operations, or libtorch's
        /// also on a processor.
        kernels: Kernels = Kernels::default();
    }
    on resume {
        fixed: size, depths, hidden_sizes, num_channels, patch_size, hidden_act, drop_path_rate,
            initializer_range, layer_norm_eps, execution, kernels;
    }
}

impl From<&ConvNextV2Config> for ModelConfig {
    /// The section that describes a network: a size by name where it is one of the published sizes.
    fn from(config: &ConvNextV2Config) -> Self {
        let usual = ConvNextV2Config::default();
        let is = |size: &Size| config.depths == size.depths() && config.hidden_sizes == size.hidden_sizes();
        let size = Size::ALL.into_iter().find(is);
        let shape = |list: &Vec<usize>| size.is_none().then(|| list.clone());
        Self {
            size,
            depths: shape(&config.depths),
            hidden_sizes: shape(&config.hidden_sizes),
            num_channels: Some(config.num_channels).filter(|n| *n != usual.num_channels),
            patch_size: Some(config.patch_size).filter(|n| *n != usual.patch_size),
            hidden_act: Some(config.hidden_act).filter(|act| *act != Activation::default()),
            layer_norm_eps: Some(config.layer_norm_eps).filter(|eps| *eps != usual.layer_norm_eps),
            ..Self::default()
        }
    }
}

impl ModelConfig {
    /// How a masked image is run.
    pub fn execution(&self) -> Execution {
        self.execution.unwrap_or_default()
    }

    /// The network that the section describes, for images of `[height, width]` pixels.
    ///
    /// # Errors
    /// Neither a size nor depths and channels, or values that describe no network.
    pub fn resolve(&self, image: [usize; 2]) -> Result<ConvNextV2Config, SettingError> {
        let base = match (self.size, &self.depths, &self.hidden_sizes) {
            (Some(size), _, _) => ConvNextV2Config::from_size(size),
            (None, Some(_), Some(_)) => ConvNextV2Config::default(),
            (None, _, _) => {
                return Err(SettingError::Together(
                    "model.size is missing: name one of the eight sizes (size = \"atto\"), \
                     or give both model.depths and model.hidden_sizes"
                        .to_owned(),
                ));
            }
        };
        let depths = self.depths.clone().unwrap_or(base.depths.clone());
        let config = ConvNextV2Config {
            num_stages: depths.len(),
            depths,
            hidden_sizes: self.hidden_sizes.clone().unwrap_or(base.hidden_sizes.clone()),
            num_channels: self.num_channels.unwrap_or(base.num_channels),
            patch_size: self.patch_size.unwrap_or(base.patch_size),
            hidden_act: self.hidden_act.unwrap_or(base.hidden_act),
            drop_path_rate: self.drop_path_rate.unwrap_or(base.drop_path_rate),
            initializer_range: self.initializer_range.unwrap_or(base.initializer_range),
            layer_norm_eps: self.layer_norm_eps.unwrap_or(base.layer_norm_eps),
            image_size: image[0],
            ..base
        };
        config.validate().map_err(|error| SettingError::Together(error.to_string()))?;
        Ok(config)
    }

    /// The network in words: `ConvNeXt V2-atto, depths [2, 2, 6, 2], channels [40, 80, 160, 320]`.
    pub fn describe(&self, model: &ConvNextV2Config) -> String {
        let size = self.size.map_or("ConvNeXt V2".to_owned(), |size| format!("ConvNeXt V2-{size}"));
        format!("{size}, depths {:?}, channels {:?}", model.depths, model.hidden_sizes)
    }
}
