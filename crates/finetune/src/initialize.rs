//! A classifier that begins with the weights of a checkpoint.

use checkpoint::{Allow, StateDict, StateDictError};
use model::{ConvNextV2ForImageClassification, is_decoder, official_name};

/// Puts the weights of any checkpoint into a fresh classifier, without a decoder and, unless
/// `keeps_head`, without a head. Returns the names of what stays fresh.
///
/// # Errors
/// Tensors of the encoder that are missing, unused or of another shape.
pub(crate) fn initialize(
    fresh: ConvNextV2ForImageClassification,
    weights: StateDict,
    keeps_head: bool,
    allow: &Allow,
) -> Result<(ConvNextV2ForImageClassification, Vec<String>), StateDictError> {
    let is_left_out = |name: &str| {
        is_decoder(name)
            || name.starts_with("hidden_states_norms.")
            || !keeps_head && name.starts_with("head.")
    };
    let kept: StateDict = weights.into_iter().filter(|(name, _)| !is_left_out(name)).collect();
    let (network, mut report) = kept.apply_to(fresh, &official_name);
    let fresh = report.accept(allow, |name| name.starts_with("head.") || name.starts_with("norm."));
    report.require_complete()?;
    Ok((network, fresh))
}
