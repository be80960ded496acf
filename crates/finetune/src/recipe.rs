//! The sections of a checkpoint's recipe that say what its network is.

use checkpoint::Recipe;
use data::{DataConfig, EvalConfig};
use model::{ConvNextV2Config, ModelConfig};

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

/// The network of the two sections, with so many outputs.
pub(crate) fn network_config(
    model: &ModelConfig,
    data: &DataConfig,
    outputs: usize,
) -> Result<ConvNextV2Config, FinetuneError> {
    Ok(ConvNextV2Config { num_labels: outputs, ..model.resolve(data.image_size.pixels())? })
}
