//! What the objective can be told, and what it refuses.

use config::{Section, SettingError, section};
use model::cost::MaskedCost;
use model::{ConvNextV2Config, GrnStats};
use serde::{Deserialize, Serialize};

section! {
    /// The FCMAE objective; the defaults are the paper's (section 3 and table 8).
    pub struct FcmaeConfig: "fcmae" {
        /// Share of patches hidden from the encoder.
        mask_ratio: f64 = 0.6, "between 0 and 1" => |ratio| (0.0..=1.0).contains(ratio);
        /// Side of a patch in pixels, a multiple of the encoder's total stride.
        patch_size: usize = 32, "at least 1" => |size| *size > 0;
        /// Channels of the decoder.
        decoder_dim: usize = 512, "at least 1" => |dim| *dim > 0;
        /// Blocks of the decoder.
        decoder_depth: usize = 1;
        /// Whether the target is normalised patch by patch; raw pixels give prettier pictures and
        /// slightly worse features.
        norm_pix_loss: bool = true;
        /// Over which sites the encoder's GRN takes its norms; the decoder's are always per sample.
        grn_stats: GrnStats = GrnStats::Sample;
        /// Initial weights: a truncated normal everywhere, as the paper says, or those of the official
        /// pretraining code.
        init: InitName = InitName::TruncNormal;
    }
    on resume {
        fixed: mask_ratio, patch_size, decoder_dim, decoder_depth, norm_pix_loss, grn_stats, init;
    }
}

/// Initial weights, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitName {
    /// Truncated normal of `model.initializer_range` everywhere: the paper's text.
    #[default]
    TruncNormal,
    /// What the official pretraining code does; see [`model::init::Init::OfficialFcmae`].
    Official,
}

/// Why a combination of settings cannot be trained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FcmaeError {
    /// The image is no whole number of patches.
    #[error(
        "images of {height}×{width} pixels do not divide into patches of {patch}×{patch}; \
         choose data.image_size (eval.size for pictures) as a multiple of fcmae.patch_size = {patch}"
    )]
    NotDivisible {
        /// Image height.
        height: usize,
        /// Image width.
        width: usize,
        /// Patch side.
        patch: usize,
    },
    /// A patch would end inside a site of the last stage.
    #[error(
        "fcmae.patch_size = {patch} is not a multiple of the encoder's total stride {stride} \
         (model.patch_size {stem}, doubled by every stage but the first)"
    )]
    NotMultipleOfStride {
        /// Patch side.
        patch: usize,
        /// Total stride of the encoder.
        stride: usize,
        /// Stem stride.
        stem: usize,
    },
    /// Nothing to see, or nothing to predict.
    #[error(
        "fcmae.mask_ratio = {ratio} leaves {visible} of {patches} patches visible; \
         at least one must be visible and one hidden"
    )]
    DegenerateMask {
        /// Share of patches to hide.
        ratio: f64,
        /// Visible patches.
        visible: usize,
        /// All patches.
        patches: usize,
    },
    /// A number out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Patches of an image, and how many of them stay visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskShape {
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Visible patches of every sample.
    pub visible: usize,
}

impl MaskShape {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }
}

impl FcmaeConfig {
    /// The mask for images of `[height, width]` pixels.
    ///
    /// # Errors
    /// Every combination that cannot be trained, by name.
    pub fn mask_shape(&self, model: &ConvNextV2Config, image: [usize; 2]) -> Result<MaskShape, FcmaeError> {
        let [height, width] = image;
        let (patch, stride) = (self.patch_size, model.total_stride());
        self.check()?;
        if !patch.is_multiple_of(stride) {
            return Err(FcmaeError::NotMultipleOfStride { patch, stride, stem: model.patch_size });
        }
        if image.contains(&0) || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(FcmaeError::NotDivisible { height, width, patch });
        }
        let grid = [height / patch, width / patch];
        let shape = MaskShape { grid, visible: visible_patches(grid[0] * grid[1], self.mask_ratio) };
        if shape.visible == 0 || shape.visible == shape.patches() {
            let (visible, patches) = (shape.visible, shape.patches());
            return Err(FcmaeError::DegenerateMask { ratio: self.mask_ratio, visible, patches });
        }
        Ok(shape)
    }

    /// What the cost of a step depends on.
    pub fn cost(&self, shape: &MaskShape) -> MaskedCost {
        MaskedCost {
            patches: shape.patches(),
            visible: shape.visible,
            patch_size: self.patch_size,
            decoder_dim: self.decoder_dim,
            decoder_depth: self.decoder_depth,
        }
    }
}

/// `int(L · (1 − ratio))` in binary floating point, as the official code has it: 49 patches at
/// 0.6 leave 19, and 100 at 0.9 leave 9.
fn visible_patches(patches: usize, mask_ratio: f64) -> usize {
    (patches as f64 * (1.0 - mask_ratio)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Size;

    fn shape(config: FcmaeConfig, image: [usize; 2]) -> Result<MaskShape, FcmaeError> {
        config.mask_shape(&ConvNextV2Config::from_size(Size::Atto), image)
    }

    #[test]
    fn visible_patches_are_counted_as_the_official_code_counts() {
        assert_eq!(visible_patches(49, 0.6), 19);
        assert_eq!(visible_patches(100, 0.9), 9);
        let found = shape(FcmaeConfig::default(), [224, 160]).unwrap();
        assert_eq!(found, MaskShape { grid: [7, 5], visible: 14 });
    }

    #[test]
    fn bad_combinations_are_refused_by_name() {
        let default = FcmaeConfig::default;
        for (config, image, expected) in [
            (default(), [224, 200], "do not divide"),
            (FcmaeConfig { patch_size: 48, ..default() }, [96, 96], "total stride 32"),
            (FcmaeConfig { mask_ratio: 0.99, ..default() }, [224, 224], "0 of 49"),
            (FcmaeConfig { mask_ratio: 0.0, ..default() }, [224, 224], "49 of 49"),
            (FcmaeConfig { mask_ratio: f64::NAN, ..default() }, [224, 224], "mask_ratio"),
            (FcmaeConfig { mask_ratio: 1.5, ..default() }, [224, 224], "mask_ratio"),
            (FcmaeConfig { patch_size: 0, ..default() }, [224, 224], "patch_size"),
            (FcmaeConfig { decoder_dim: 0, ..default() }, [224, 224], "decoder_dim"),
        ] {
            let message = shape(config, image).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
