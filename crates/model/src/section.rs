//! The `[model]` section of a configuration.

use config::{SettingError, section};
use serde::Serialize;

use crate::activation::Activation;
use crate::config::{ConvNextV2Config, Size};
use crate::engine::Kernels;
use crate::sites::Execution;

section! {
    /// The encoder: a size by name, and what differs from it.
    pub struct ModelConfig: "model", together = one_shape {
        /// One of the eight published sizes; gives depths and channels. Fine-tuning takes the network
        /// from the checkpoint that it starts from.
        size: Option<Size> = None;
        /// Blocks of every stage, instead of a size.
        depths: Option<Vec<usize>> = None;
        /// Channels of every stage, instead of a size.
        hidden_sizes: Option<Vec<usize>> = None;
        /// Channels of an image: 3 (colour) unless given, 1 (grey), or as many as the images have.
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
        /// Whether GRN learns. `false` keeps γ and β at 0, which is the network without GRN, to see what it is
        /// for; the checkpoints stay those of a ConvNeXt V2.
        grn: bool = true;
        /// What computes the network: our kernels or libtorch's, Burn's operations, or libtorch's
        /// also on a processor.
        kernels: Kernels = Kernels::default();
    }
    on resume {
        fixed: size, depths, hidden_sizes, num_channels, patch_size, hidden_act, drop_path_rate,
            initializer_range, layer_norm_eps, execution, grn, kernels;
    }
}

impl From<&ConvNextV2Config> for ModelConfig {
    /// The section that describes a network: a size by name where it is one of the published sizes.
    fn from(config: &ConvNextV2Config) -> Self {
        let usual = ConvNextV2Config::default();
        let size = config.size();
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
    /// Takes what the section leaves open of the network from that of a checkpoint, in its words.
    ///
    /// # Errors
    /// What the section says contradicts the checkpoint; a checkpoint that describes no network.
    pub fn adopt(&mut self, theirs: &Self, image: [usize; 2]) -> Result<(), SettingError> {
        let network = theirs.resolve(image)?;
        contradicts("size", &self.size, &network.size())?;
        contradicts("depths", &self.depths, &Some(network.depths))?;
        contradicts("hidden_sizes", &self.hidden_sizes, &Some(network.hidden_sizes))?;
        // The first convolution of a network for colours is adapted to other channels.
        if network.num_channels != 3 {
            contradicts("num_channels", &self.num_channels, &Some(network.num_channels))?;
        }
        contradicts("patch_size", &self.patch_size, &Some(network.patch_size))?;
        contradicts("hidden_act", &self.hidden_act, &Some(network.hidden_act))?;
        if self.size.is_none() && (self.depths.is_none() || self.hidden_sizes.is_none()) {
            self.size = theirs.size;
            self.depths.clone_from(&theirs.depths);
            self.hidden_sizes.clone_from(&theirs.hidden_sizes);
        }
        self.num_channels = self.num_channels.or(theirs.num_channels);
        self.patch_size = self.patch_size.or(theirs.patch_size);
        self.hidden_act = self.hidden_act.or(theirs.hidden_act);
        // Not part of the weights: another one is no contradiction.
        self.layer_norm_eps = self.layer_norm_eps.or(theirs.layer_norm_eps);
        Ok(())
    }

    /// Refuses the weights of a checkpoint whose GRN does something where GRN is off. `non_zero` is the name of
    /// such a weight, if there is one.
    ///
    /// # Errors
    /// GRN is off, and there is one.
    pub fn check_grn(&self, non_zero: Option<&str>) -> Result<(), SettingError> {
        match non_zero.filter(|_| !self.grn) {
            None => Ok(()),
            Some(name) => Err(SettingError::Together(format!(
                "model.grn = false is the network without GRN, and {name} of the checkpoint is not zero: leave \
                 model.grn out, or start from a network that was trained without it"
            ))),
        }
    }

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
                    "model.size is missing: name one of the eight sizes (size = \"atto\"), or give both \
                     model.depths and model.hidden_sizes; fine-tuning takes them from the checkpoint of --init"
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
}

/// Refuses a value that is not that of a checkpoint.
fn contradicts<T: Serialize + PartialEq>(
    key: &str,
    ours: &Option<T>,
    theirs: &Option<T>,
) -> Result<(), SettingError> {
    if ours.is_none() || ours == theirs {
        return Ok(());
    }
    let in_words = |value: &Option<T>| {
        value.as_ref().and_then(config::in_toml).unwrap_or_else(|| "no published one".to_owned())
    };
    Err(SettingError::Together(format!(
        "model.{key} is {} here, and that of the checkpoint is {}: leave it out, the network is the \
         checkpoint's",
        in_words(ours),
        in_words(theirs)
    )))
}

/// A size is a label as well, which must not be that of another network.
fn one_shape(model: &ModelConfig) -> Result<(), SettingError> {
    let Some(size) = model.size else { return Ok(()) };
    let given = [
        ("depths", &model.depths, size.depths()),
        ("hidden_sizes", &model.hidden_sizes, size.hidden_sizes()),
    ];
    for (key, list, usual) in given {
        if let Some(list) = list.as_ref().filter(|list| **list != usual) {
            return Err(SettingError::Together(format!(
                "model.size = \"{size}\" has {key} {usual:?}, and model.{key} says {list:?}: give either the \
                 size, or both depths and hidden_sizes without it"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Section;

    #[test]
    fn a_network_is_completed_by_that_of_a_checkpoint() {
        let theirs = ModelConfig {
            depths: Some(vec![1, 2]),
            hidden_sizes: Some(vec![8, 16]),
            patch_size: Some(2),
            drop_path_rate: Some(0.3),
            layer_norm_eps: Some(1e-12),
            ..ModelConfig::default()
        };
        let adopted = |mut ours: ModelConfig| ours.adopt(&theirs, [32, 32]).map(|()| ours);
        let ours = ModelConfig { drop_path_rate: Some(0.1), ..ModelConfig::default() };
        let expected = ModelConfig { drop_path_rate: Some(0.1), ..theirs.clone() };
        assert_eq!(adopted(ours.clone()).unwrap(), expected);
        assert_eq!(adopted(expected.clone()).unwrap(), expected);
        let half = ModelConfig { depths: Some(vec![1, 2]), layer_norm_eps: Some(1e-6), ..ours.clone() };
        assert_eq!(adopted(half).unwrap(), ModelConfig { layer_norm_eps: Some(1e-6), ..expected.clone() });
        let refused = |ours| adopted(ours).unwrap_err().to_string();
        let error = refused(ModelConfig { size: Some(Size::Atto), ..ours.clone() });
        assert!(error.contains("\"atto\" here, and that of the checkpoint is no published one"), "{error}");
        let error = refused(ModelConfig { patch_size: Some(4), ..ours });
        assert!(error.contains("model.patch_size is 4 here, and that of the checkpoint is 2"), "{error}");
        // A checkpoint of a published size, and one that spells it out.
        let atto = ModelConfig { size: Some(Size::Atto), ..ModelConfig::default() };
        let spelt = ModelConfig {
            depths: Some(Size::Atto.depths().to_vec()),
            hidden_sizes: Some(Size::Atto.hidden_sizes().to_vec()),
            ..ModelConfig::default()
        };
        for (ours, theirs) in [(&atto, &spelt), (&spelt, &atto)] {
            let mut adopted = ours.clone();
            adopted.adopt(theirs, [224, 224]).unwrap();
            assert_eq!(adopted, *ours);
        }
    }

    #[test]
    fn a_size_is_no_label_for_another_network() {
        let atto = ModelConfig { size: Some(Size::Atto), ..ModelConfig::default() };
        let stated = ModelConfig { depths: Some(vec![2, 2, 6, 2]), ..atto.clone() };
        assert_eq!([atto.check(), stated.check()], [Ok(()), Ok(())]);
        let other = ModelConfig { depths: Some(vec![1, 1, 2]), ..atto.clone() };
        let error = other.check().unwrap_err().to_string();
        assert!(error.contains("\"atto\" has depths [2, 2, 6, 2]") && error.contains("[1, 1, 2]"), "{error}");
        let other = ModelConfig { hidden_sizes: Some(vec![8; 4]), ..atto };
        assert!(other.check().unwrap_err().to_string().contains("model.hidden_sizes says [8, 8, 8, 8]"));
        // A network that was stored so is called what it is.
        let network = ConvNextV2Config { depths: vec![1, 1, 2], ..ConvNextV2Config::from_size(Size::Atto) };
        assert!(network.describe().starts_with("ConvNeXt V2, depths [1, 1, 2]"));
        assert!(ConvNextV2Config::from_size(Size::Base).describe().starts_with("ConvNeXt V2-base, "));
    }
}
