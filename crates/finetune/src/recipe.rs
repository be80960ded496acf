//! The sections of a checkpoint's recipe that say what its network is.

use burn::tensor::Device;
use checkpoint::Recipe;
use data::{DataConfig, EvalConfig};
use model::{ConvNextV2Config, ModelConfig};
use serde::Deserialize;

use crate::error::FinetuneError;

pub(crate) fn model_section(recipe: &Recipe) -> Result<ModelConfig, FinetuneError> {
    Ok(recipe.section("model")?.unwrap_or_default())
}

pub(crate) fn data_section(recipe: &Recipe) -> Result<DataConfig, FinetuneError> {
    Ok(recipe.section("data")?.unwrap_or_default())
}

pub(crate) fn eval_section(recipe: &Recipe) -> Result<EvalConfig, FinetuneError> {
    Ok(recipe.section("eval")?.unwrap_or_default())
}

/// Lets a GPU multiply as in the run that a checkpoint is of.
pub(crate) fn follow_tf32(recipe: &Recipe, device: &Device) -> Result<(), FinetuneError> {
    /// Of `[train]`, whatever else a version knows there.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Products {
        tf32: Option<bool>,
    }
    let Products { tf32 } = recipe.section("train")?.unwrap_or_default();
    host::follow_tf32(device, tf32);
    Ok(())
}

/// The network of the two sections, with so many outputs.
pub(crate) fn network_config(
    model: &ModelConfig,
    data: &DataConfig,
    outputs: usize,
) -> Result<ConvNextV2Config, FinetuneError> {
    Ok(ConvNextV2Config { num_labels: outputs, ..model.resolve(data.image_size.pixels())? })
}
