//! Where the numbers of a network stop being finite.

use std::fmt;

use burn::module::Module;
use burn::tensor::Tensor;
use checkpoint::StateDict;

/// The first place in a network where numbers are NaN or infinite, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFinite {
    /// What goes into the network.
    #[error("the normalised images hold NaN or infinity; look at data.mean and data.std")]
    Images,
    /// A layer that holds such numbers itself.
    #[error(
        "the output of layer {layer} is not finite: {count} of the numbers in its {weight} are NaN or \
         infinite; these weights are damaged, or of a run that diverged"
    )]
    Weight {
        /// Name of the layer, as its weights begin.
        layer: String,
        /// Name of the tensor.
        weight: String,
        /// How many of its numbers.
        count: usize,
    },
    /// A layer that makes them of finite input and weights.
    #[error(
        "the output of layer {0} is not finite, although its weights are: they are too large; these are \
         weights of a run that diverged, or of another network"
    )]
    Layer(String),
    /// Outputs that no layer explains when it is looked at by itself.
    #[error("the outputs of the network are not finite")]
    Outputs,
}

impl NotFinite {
    /// Looks for it in a network, whose parameters have the names `name`. `walk` computes once more and
    /// shows every layer and its output to what it is given.
    pub fn find<M: Module>(
        network: &M,
        name: &dyn Fn(&str) -> String,
        images: &Tensor<4>,
        walk: impl FnOnce(&mut dyn FnMut(fmt::Arguments, &Tensor<3>)),
    ) -> Self {
        if !is_finite(images.clone()) {
            return Self::Images;
        }
        let mut first = None;
        walk(&mut |layer, output| {
            if first.is_none() && !is_finite(output.clone()) {
                first = Some(layer.to_string());
            }
        });
        let Some(layer) = first else { return Self::Outputs };
        let weights = StateDict::of_module(network, name);
        let is_of_layer = |name: &str| {
            name.strip_prefix(&layer[..]).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match weights.first_non_finite(is_of_layer) {
            Some((weight, count)) => Self::Weight { weight: weight.to_owned(), count, layer },
            None => Self::Layer(layer),
        }
    }
}

fn is_finite<const D: usize>(values: Tensor<D>) -> bool {
    values.into_data().iter::<f32>().all(f32::is_finite)
}
