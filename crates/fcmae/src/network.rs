//! FCMAE: encoder, decoder, and the loss that joins them (paper, section 3).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kernels::patch_loss::Target;
use model::block::Block;
use model::drop_path::DropPath;
use model::init::{Init, initialize};
use model::{
    Compute, ConfigError, ConvNextV2Config, Decoder, Encoder, Execution, Observe, PatchMask, Predict, Sites,
};

use crate::loss;
use crate::section::{FcmaeConfig, InitName};
use crate::target::{normalize_patches, patchify};

/// The network that is pretrained: a masked encoder and a small decoder.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fcmae::{Fcmae, FcmaeConfig, random_mask};
/// use model::{Compute, ConvNextV2Config, Execution, Size};
///
/// let (device, config) = (Device::flex(), FcmaeConfig::default());
/// let model = ConvNextV2Config::from_size(Size::Atto);
/// let fcmae = Fcmae::new(&config, &model, Compute::default(), 0, &device)?;
/// let mask = random_mask(&config.mask_shape(&model, [96, 96])?, 0, 0, &[0])?;
/// let loss = fcmae.loss(Tensor::ones([1, 3, 96, 96], &device), &mask, Execution::Compact, None);
/// assert!(loss.into_scalar::<f32>().is_finite());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Fcmae {
    /// Sees visible patches only; what fine-tuning starts from.
    pub encoder: Encoder,
    /// Predicts the hidden ones; thrown away afterwards.
    pub decoder: Decoder,
    patch_size: usize,
    norm_pix_loss: bool,
    #[module(skip)]
    compute: Compute,
}

impl Fcmae {
    /// A network with fresh weights.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn new(
        config: &FcmaeConfig,
        model: &ConvNextV2Config,
        compute: Compute,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let init = match config.init {
            InitName::TruncNormal => Init::TruncNormal { std: model.initializer_range },
            InitName::Official => Init::OfficialFcmae,
        };
        Ok(initialize(Self::zeros(config, model, compute, device)?, init, seed))
    }

    /// A network of zeros, for weights that come from elsewhere or to be counted.
    ///
    /// # Errors
    /// A configuration that describes no network.
    pub fn zeros(
        config: &FcmaeConfig,
        model: &ConvNextV2Config,
        compute: Compute,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        model.validate()?;
        Ok(Self {
            encoder: Encoder::zeros(model, config.grn_stats, compute, device),
            decoder: Decoder::zeros(model, config.decoder_dim, config.decoder_depth, compute, device),
            patch_size: config.patch_size,
            norm_pix_loss: config.norm_pix_loss,
            compute,
        })
    }

    /// Whether targets are normalised patch by patch, and predictions meant so.
    pub fn norm_pix_loss(&self) -> bool {
        self.norm_pix_loss
    }

    /// Keeps γ and β of every GRN as they are: nothing is learnt by them.
    pub fn freeze_grn(&mut self) {
        self.encoder.freeze_grn();
        self.decoder.blocks.iter_mut().for_each(Block::freeze_grn);
    }

    /// Side of a patch in pixels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Predicted patches `[N, K, P·P·C]` of images `[N, C, H, W]`. `drop_path` is for the encoder,
    /// in training only.
    pub fn forward(
        &self,
        images: Tensor<4>,
        mask: &PatchMask,
        execution: Execution,
        predict: Predict,
        drop_path: Option<&DropPath>,
    ) -> Tensor<3> {
        self.forward_observed(images, mask, execution, predict, drop_path, &mut |_, _| {})
    }

    /// The same, layer by layer before the eyes of `observe`.
    fn forward_observed(
        &self,
        images: Tensor<4>,
        mask: &PatchMask,
        execution: Execution,
        predict: Predict,
        drop_path: Option<&DropPath>,
        observe: &mut Observe,
    ) -> Tensor<3> {
        let device = images.device();
        let patch = [self.patch_size, self.patch_size];
        let pixels = Sites::masked(mask, patch, execution, &device);
        let mut stages = self.encoder.forward_observed(images, &pixels, drop_path, observe);
        let last = stages.swap_remove(stages.len() - 1);
        let visible = match execution {
            Execution::Compact => last.tokens,
            Execution::Masked => mask.visible_rows(&device).select(last.tokens),
        };
        self.decoder.forward_observed(visible, mask, predict, observe)
    }

    /// Predicts all patches layer by layer, for `observe` to see where something goes wrong.
    pub fn observe(&self, images: Tensor<4>, mask: &PatchMask, observe: &mut Observe) {
        self.forward_observed(images, mask, Execution::Compact, Predict::All, None, observe);
    }

    /// Mean over hidden patches of the mean squared error of their pixels, `[1]`.
    pub fn loss(
        &self,
        images: Tensor<4>,
        mask: &PatchMask,
        execution: Execution,
        drop_path: Option<&DropPath>,
    ) -> Tensor<1> {
        let pred = self.forward(images.clone(), mask, execution, Predict::Hidden, drop_path);
        let target = Target {
            samples: mask.batch(),
            grid: mask.grid(),
            patch: self.patch_size,
            channels: images.dims()[1],
            picked: mask.hidden().iter().flatten().map(|patch| *patch as u32).collect(),
            normalize: self.norm_pix_loss,
        };
        loss::patch_loss(self.compute, pred, images, target, |pred, images| {
            let hidden = mask.hidden_rows(&images.device());
            let target = self.target(hidden.select(patchify(images, self.patch_size)));
            // Every sample hides the same number of patches, so the mean over all is the mean of means.
            (pred - target).square().mean()
        })
    }

    /// The mean squared error of every patch, hidden or not, `[N, L]`.
    pub fn patch_loss(&self, images: Tensor<4>, pred: Tensor<3>) -> Tensor<2> {
        let [batch, patches, _] = pred.dims();
        let target = self.target(patchify(images, self.patch_size));
        (pred - target).square().mean_dim(2).reshape([batch, patches])
    }

    /// How far the targets of images `[N, C, H, W]` spread around their mean, `[1]`: the loss of the best
    /// prediction that is the same for every patch.
    pub fn spread(&self, images: Tensor<4>) -> Tensor<1> {
        let patches = self.target(patchify(images, self.patch_size));
        let [batch, count, pixels] = patches.dims();
        let all = patches.reshape([batch * count, pixels]);
        (all.clone() - all.mean_dim(0)).square().mean()
    }

    /// Raw patches → what is predicted for them.
    fn target(&self, patches: Tensor<3>) -> Tensor<3> {
        if self.norm_pix_loss { normalize_patches(patches) } else { patches }
    }
}
