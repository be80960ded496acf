//! The public models, under the names and with the outputs of Hugging Face transformers.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::{ConfigError, ConvNextV2Config};
use crate::drop_path::DropPath;
use crate::encoder::{Encoder, Features, Observe};
use crate::engine::Compute;
use crate::epsilon;
use crate::grn_stats::GrnStats;
use crate::init::{Init, initialize};
use crate::layer_norm::LayerNorm;
use crate::linear::Linear;
use crate::sites::Sites;

/// Encoder, global average pooling, LayerNorm.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use model::{ConvNextV2Config, ConvNextV2Model, Size};
///
/// let device = Device::flex();
/// let model = ConvNextV2Model::new(&ConvNextV2Config::from_size(Size::Atto), 0, &device)?;
/// let output = model.forward(Tensor::zeros([1, 3, 64, 64], &device), false, None);
/// assert_eq!(output.last_hidden_state.dims(), [1, 320, 2, 2]);
/// assert_eq!(output.pooler_output.dims(), [1, 320]);
/// # Ok::<(), model::ConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ConvNextV2Model {
    /// Stem and stages.
    pub encoder: Encoder,
    /// Over the pooled features.
    pub norm: LayerNorm,
}

/// What [`ConvNextV2Model`] returns.
#[derive(Debug, Clone)]
pub struct ConvNextV2Output {
    /// Output of the last stage, `[N, C, H, W]`, without final norm.
    pub last_hidden_state: Tensor<4>,
    /// Pooled and normed features, `[N, C]`.
    pub pooler_output: Tensor<2>,
    /// Outputs of stem and every stage, `[N, Cᵢ, Hᵢ, Wᵢ]`, if asked for.
    pub hidden_states: Option<Vec<Tensor<4>>>,
}

impl ConvNextV2Model {
    /// A model with fresh weights.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn new(config: &ConvNextV2Config, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        let init = Init::TruncNormal { std: config.initializer_range };
        Ok(initialize(Self::zeros(config, device)?, init, seed))
    }

    /// A model of zeros, for weights that come from elsewhere or to be counted.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn zeros(config: &ConvNextV2Config, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let (channels, compute) = (config.last_hidden_size(), Compute::default());
        Ok(Self {
            encoder: Encoder::zeros(config, GrnStats::Sample, compute, device),
            norm: LayerNorm::new(channels, config.layer_norm_eps, compute, device),
        })
    }

    /// `pixel_values`: `[N, C, H, W]`, normalised. `drop_path`: given in training only.
    pub fn forward(
        &self,
        pixel_values: Tensor<4>,
        output_hidden_states: bool,
        drop_path: Option<&DropPath>,
    ) -> ConvNextV2Output {
        let [batch, _, height, width] = pixel_values.dims();
        let mut stages = self.encoder.forward(pixel_values, &Sites::all(batch, [height, width]), drop_path);
        let hidden_states =
            output_hidden_states.then(|| stages.iter().map(|features| features.map()).collect());
        let last = stages.swap_remove(stages.len() - 1);
        ConvNextV2Output {
            last_hidden_state: last.map(),
            pooler_output: self.norm.forward(pooled(&last)),
            hidden_states,
        }
    }
}

/// The mean over all sites, `[N, C]`.
fn pooled(features: &Features) -> Tensor<2> {
    let [batch, _, channels] = features.tokens.dims();
    features.tokens.clone().mean_dim(1).reshape([batch, channels])
}

/// [`ConvNextV2Model`] with a linear classifier on the pooled features.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Size};
///
/// let device = Device::flex();
/// let config = ConvNextV2Config { num_labels: 10, ..ConvNextV2Config::from_size(Size::Atto) };
/// let classifier = ConvNextV2ForImageClassification::new(&config, 0, &device)?;
/// let logits = classifier.forward(Tensor::zeros([2, 3, 64, 64], &device), None);
/// assert_eq!(logits.dims(), [2, 10]);
/// # Ok::<(), model::ConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ConvNextV2ForImageClassification {
    /// Everything before the classifier.
    pub convnextv2: ConvNextV2Model,
    /// Absent when `num_labels` is 0; the features are then returned as they are.
    pub head: Option<Linear>,
}

impl ConvNextV2ForImageClassification {
    /// A classifier with fresh weights.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn new(config: &ConvNextV2Config, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        let init = Init::TruncNormal { std: config.initializer_range };
        Ok(initialize(Self::zeros(config, device)?, init, seed))
    }

    /// A classifier of zeros, for weights that come from elsewhere or to be counted.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn zeros(config: &ConvNextV2Config, device: &Device) -> Result<Self, ConfigError> {
        let head = (config.num_labels > 0)
            .then(|| Linear::zeros(config.last_hidden_size(), config.num_labels, Compute::default(), device));
        Ok(Self { convnextv2: ConvNextV2Model::zeros(config, device)?, head })
    }

    /// Chooses what computes the network.
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.convnextv2.encoder.set_compute(compute);
        self.convnextv2.norm.set_compute(compute);
        self.head.iter_mut().for_each(|head| head.set_compute(compute));
        self
    }

    /// Logits `[N, num_labels]` of normalised images `[N, C, H, W]`.
    pub fn forward(&self, pixel_values: Tensor<4>, drop_path: Option<&DropPath>) -> Tensor<2> {
        let features = self.convnextv2.forward(pixel_values, false, drop_path).pooler_output;
        match &self.head {
            Some(head) => head.forward(features),
            None => features,
        }
    }

    /// Computes the same layer by layer, for `observe` to see where something goes wrong.
    pub fn observe(&self, pixel_values: Tensor<4>, observe: &mut Observe) {
        let [batch, _, height, width] = pixel_values.dims();
        let ConvNextV2Model { encoder, norm } = &self.convnextv2;
        let sites = Sites::all(batch, [height, width]);
        let stages = encoder.forward_observed(pixel_values, &sites, None, observe);
        let Some(last) = stages.last() else { return };
        let features = norm.forward(pooled(last));
        observe(format_args!("norm"), &features.clone().unsqueeze_dim(1));
        if let Some(head) = &self.head {
            observe(format_args!("head"), &head.forward(features).unsqueeze_dim(1));
        }
    }
}

/// The feature maps of chosen stages, each through a LayerNorm of its own, for detection and
/// segmentation heads.
///
/// As in transformers, these norms are new: no published checkpoint has them.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use model::{ConvNextV2Backbone, ConvNextV2Config, Size};
///
/// let device = Device::flex();
/// let stages = Some(vec!["stage2".to_owned(), "stage4".to_owned()]);
/// let config = ConvNextV2Config { out_features: stages, ..ConvNextV2Config::from_size(Size::Atto) };
/// let maps = ConvNextV2Backbone::new(&config, 0, &device)?.forward(Tensor::zeros([1, 3, 64, 64], &device));
/// assert_eq!([maps[0].dims(), maps[1].dims()], [[1, 80, 8, 8], [1, 320, 2, 2]]);
/// # Ok::<(), model::ConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ConvNextV2Backbone {
    /// Stem and stages.
    pub encoder: Encoder,
    /// A norm for each returned stage.
    pub hidden_states_norms: Vec<LayerNorm>,
    stages: Vec<usize>,
}

impl ConvNextV2Backbone {
    /// A backbone with fresh weights, for the stages of `out_features` or `out_indices`.
    ///
    /// # Errors
    /// A configuration that describes no network or unknown stages.
    pub fn new(config: &ConvNextV2Config, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let stages = config.backbone_stages()?;
        let channels = |stage: usize| config.hidden_sizes[stage.saturating_sub(1)];
        let norm =
            |&stage: &usize| LayerNorm::new(channels(stage), epsilon::LAYER_NORM, Compute::default(), device);
        let model = Self {
            encoder: Encoder::zeros(config, GrnStats::Sample, Compute::default(), device),
            hidden_states_norms: stages.iter().map(norm).collect(),
            stages,
        };
        Ok(initialize(model, Init::TruncNormal { std: config.initializer_range }, seed))
    }

    /// Images `[N, C, H, W]` → the chosen maps `[N, Cᵢ, Hᵢ, Wᵢ]`, finest first.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Vec<Tensor<4>> {
        let [batch, _, height, width] = pixel_values.dims();
        let outputs = self.encoder.forward(pixel_values, &Sites::all(batch, [height, width]), None);
        self.stages
            .iter()
            .zip(&self.hidden_states_norms)
            .map(|(&stage, norm)| {
                let features = &outputs[stage];
                features.sites.scatter(norm.forward(features.tokens.clone()))
            })
            .collect()
    }
}
