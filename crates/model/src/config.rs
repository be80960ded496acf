//! The configuration of a ConvNeXt V2, field for field that of Hugging Face transformers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::activation::Activation;

/// Why a configuration describes no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A name that is none of the eight sizes.
    #[error("unknown model size `{0}`; the sizes are atto, femto, pico, nano, tiny, base, large, huge")]
    UnknownSize(String),
    /// Fields that contradict each other or are out of range.
    #[error("model.{field}: {reason}")]
    Invalid {
        /// The offending field.
        field: &'static str,
        /// The reason, in words.
        reason: String,
    },
}

/// The eight published sizes (paper, table 14 and the official `convnextv2.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// 3.7 M parameters.
    Atto,
    /// 5.2 M parameters.
    Femto,
    /// 9.1 M parameters.
    Pico,
    /// 15.6 M parameters.
    Nano,
    /// 28.6 M parameters.
    Tiny,
    /// 89 M parameters.
    Base,
    /// 198 M parameters.
    Large,
    /// 660 M parameters.
    Huge,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Self; 8] =
        [Self::Atto, Self::Femto, Self::Pico, Self::Nano, Self::Tiny, Self::Base, Self::Large, Self::Huge];

    /// Blocks per stage.
    pub fn depths(self) -> [usize; 4] {
        match self {
            Self::Atto | Self::Femto | Self::Pico => [2, 2, 6, 2],
            Self::Nano => [2, 2, 8, 2],
            Self::Tiny => [3, 3, 9, 3],
            Self::Base | Self::Large | Self::Huge => [3, 3, 27, 3],
        }
    }

    /// Channels per stage; each stage doubles the first.
    pub fn hidden_sizes(self) -> [usize; 4] {
        let first = match self {
            Self::Atto => 40,
            Self::Femto => 48,
            Self::Pico => 64,
            Self::Nano => 80,
            Self::Tiny => 96,
            Self::Base => 128,
            Self::Large => 192,
            Self::Huge => 352,
        };
        [first, 2 * first, 4 * first, 8 * first]
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl FromStr for Size {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|size| size.to_string() == name)
            .ok_or_else(|| ConfigError::UnknownSize(name.to_owned()))
    }
}

/// Everything that determines a ConvNeXt V2; the defaults are those of transformers (the Tiny
/// size), except `layer_norm_eps`, which is the official 1e-6.
///
/// ```
/// use model::{ConvNextV2Config, Size};
///
/// let config = ConvNextV2Config { num_labels: 10, ..ConvNextV2Config::from_size(Size::Atto) };
/// assert_eq!((&config.depths[..], config.total_stride()), (&[2, 2, 6, 2][..], 32));
/// config.validate()?;
/// # Ok::<(), model::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvNextV2Config {
    /// Channels of the input images.
    pub num_channels: usize,
    /// Kernel and stride of the stem, in pixels.
    pub patch_size: usize,
    /// Number of stages; each but the first halves the resolution.
    pub num_stages: usize,
    /// Channels of each stage.
    pub hidden_sizes: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Activation inside the blocks.
    pub hidden_act: Activation,
    /// Standard deviation of the truncated normal that weights start from.
    pub initializer_range: f64,
    /// Epsilon of the final, pooled LayerNorm; all others use 1e-6, as in transformers.
    pub layer_norm_eps: f64,
    /// Drop-path rate of the last block; rises linearly from 0 at the first.
    pub drop_path_rate: f64,
    /// Side of the input images in pixels. The network takes any size; data pipelines read this.
    pub image_size: usize,
    /// Classes of the classifier; 0 leaves the pooled features as they are.
    pub num_labels: usize,
    /// Stages that the backbone returns, by name (`stem`, `stage1` …).
    pub out_features: Option<Vec<String>>,
    /// Stages that the backbone returns, by index (0 = stem).
    pub out_indices: Option<Vec<usize>>,
}

impl Default for ConvNextV2Config {
    fn default() -> Self {
        Self {
            num_channels: 3,
            patch_size: 4,
            num_stages: 4,
            hidden_sizes: Size::Tiny.hidden_sizes().to_vec(),
            depths: Size::Tiny.depths().to_vec(),
            hidden_act: Activation::Gelu,
            initializer_range: 0.02,
            layer_norm_eps: 1e-6,
            drop_path_rate: 0.0,
            image_size: 224,
            num_labels: 1000,
            out_features: None,
            out_indices: None,
        }
    }
}

impl ConvNextV2Config {
    /// One of the eight published sizes, everything else at its default.
    pub fn from_size(size: Size) -> Self {
        Self { hidden_sizes: size.hidden_sizes().to_vec(), depths: size.depths().to_vec(), ..Self::default() }
    }

    /// The published size that these depths and channels are of, if any.
    pub fn size(&self) -> Option<Size> {
        Size::ALL
            .into_iter()
            .find(|size| self.depths == size.depths() && self.hidden_sizes == size.hidden_sizes())
    }

    /// The network in words: `ConvNeXt V2-atto, depths [2, 2, 6, 2], channels [40, 80, 160, 320]`.
    pub fn describe(&self) -> String {
        let size = self.size().map_or(String::new(), |size| format!("-{size}"));
        format!("ConvNeXt V2{size}, depths {:?}, channels {:?}", self.depths, self.hidden_sizes)
    }

    /// Pixels per site of the last stage: the stem's stride times two for every later stage.
    pub fn total_stride(&self) -> usize {
        self.patch_size << (self.num_stages - 1)
    }

    /// Checks that images of `[height, width]` pixels leave the last stage a site.
    ///
    /// # Errors
    /// Images that are smaller than the total stride.
    pub fn check_size(&self, [height, width]: [usize; 2]) -> Result<(), ConfigError> {
        let stride = self.total_stride();
        if height.min(width) < stride {
            let reason = format!("{height}×{width} pixels are less than the network's stride of {stride}");
            return Err(invalid("image_size", reason));
        }
        Ok(())
    }

    /// Channels of the last stage.
    ///
    /// Meaningful for a [validated](Self::validate) configuration, which has at least one stage.
    pub fn last_hidden_size(&self) -> usize {
        self.hidden_sizes.last().copied().unwrap_or_default()
    }

    /// Drop-path rate of every block, in order: linear from 0 to `drop_path_rate`.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        let blocks: usize = self.depths.iter().sum();
        let last = blocks.saturating_sub(1).max(1) as f64;
        (0..blocks).map(|i| self.drop_path_rate * i as f64 / last).collect()
    }

    /// `stem`, `stage1`, … as transformers names them.
    pub fn stage_names(&self) -> Vec<String> {
        std::iter::once("stem".to_owned()).chain((1..=self.num_stages).map(|i| format!("stage{i}"))).collect()
    }

    /// Indices of the feature maps that the backbone returns (0 = stem); the last stage when
    /// neither `out_features` nor `out_indices` says otherwise.
    ///
    /// # Errors
    /// Unknown names, indices out of range, names and indices that disagree or are out of order.
    pub fn backbone_stages(&self) -> Result<Vec<usize>, ConfigError> {
        let names = self.stage_names();
        let by_name = match &self.out_features {
            None => None,
            Some(features) => Some(
                features
                    .iter()
                    .map(|name| {
                        names.iter().position(|known| known == name).ok_or_else(|| {
                            invalid("out_features", format!("`{name}` is none of {}", names.join(", ")))
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
        let stages = match (by_name, self.out_indices.clone()) {
            (Some(a), Some(b)) if a != b => {
                return Err(invalid("out_indices", "names other stages than out_features".into()));
            }
            (Some(stages), _) | (None, Some(stages)) => stages,
            (None, None) => vec![self.num_stages],
        };
        if stages.is_empty() || stages.iter().any(|&i| i > self.num_stages) {
            let reason = format!("must name at least one of the indices 0 to {}", self.num_stages);
            return Err(invalid("out_indices", reason));
        }
        if stages.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(invalid("out_indices", "must be in the order of the stages, each once".into()));
        }
        Ok(stages)
    }

    /// Checks that the fields describe a network.
    ///
    /// # Errors
    /// The first field that is out of range or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("num_channels", self.num_channels),
            ("patch_size", self.patch_size),
            ("num_stages", self.num_stages),
            ("image_size", self.image_size),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(invalid(field, "must be at least 1".into()));
        }
        for (field, list) in [("depths", &self.depths), ("hidden_sizes", &self.hidden_sizes)] {
            if list.len() != self.num_stages {
                let reason = format!("has {} entries for num_stages = {}", list.len(), self.num_stages);
                return Err(invalid(field, reason));
            }
            if list.contains(&0) {
                return Err(invalid(field, "every entry must be at least 1".into()));
            }
        }
        if !(0.0..1.0).contains(&self.drop_path_rate) {
            let reason = format!("must lie in [0, 1), found {}", self.drop_path_rate);
            return Err(invalid("drop_path_rate", reason));
        }
        for (field, value) in
            [("layer_norm_eps", self.layer_norm_eps), ("initializer_range", self.initializer_range)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(invalid(field, format!("must be positive, found {value}")));
            }
        }
        self.backbone_stages().map(drop)
    }
}

fn invalid(field: &'static str, reason: String) -> ConfigError {
    ConfigError::Invalid { field, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_found_by_its_name() {
        for size in Size::ALL {
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
            assert_eq!(ConvNextV2Config::from_size(size).validate(), Ok(()));
        }
        assert!("small".parse::<Size>().unwrap_err().to_string().contains("atto"));
    }

    #[test]
    fn drop_path_rises_linearly_over_the_blocks() {
        let config = ConvNextV2Config { drop_path_rate: 0.2, ..ConvNextV2Config::from_size(Size::Atto) };
        let rates = config.drop_path_rates();
        assert_eq!((rates.len(), rates[0], rates[11]), (12, 0.0, 0.2));
        assert!((rates[6] - 0.2 * 6.0 / 11.0).abs() < 1e-15);
    }

    #[test]
    fn backbone_stages_follow_names_or_indices() {
        let mut config = ConvNextV2Config::default();
        assert_eq!(config.backbone_stages(), Ok(vec![4]));
        config.out_features = Some(vec!["stem".into(), "stage3".into()]);
        assert_eq!(config.backbone_stages(), Ok(vec![0, 3]));
        config.out_indices = Some(vec![0, 2]);
        assert!(config.backbone_stages().is_err());
        config.out_features = None;
        assert_eq!(config.backbone_stages(), Ok(vec![0, 2]));
        config.out_indices = Some(vec![2, 0]);
        assert!(config.backbone_stages().is_err());
        config.out_indices = Some(vec![5]);
        assert!(config.backbone_stages().is_err());
    }

    #[test]
    fn contradictions_are_named() {
        let config = ConvNextV2Config { num_stages: 3, ..ConvNextV2Config::default() };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "model.depths: has 4 entries for num_stages = 3"
        );
    }
}
