//! What a network is trained for.

use std::error::Error;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use host::Lists;
use image::RgbImage;

use crate::health::Measures;
use crate::stop::StopSignal;

/// Any error of an objective or an experiment: the loop knows neither and only passes it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What is being trained for; the loop knows nothing else of model, data or loss.
pub trait Objective: Sync {
    /// The network.
    type Model: Module;
    /// What one forward pass takes.
    type Batch: Send;

    /// The name of a parameter in checkpoints, from its path in the module: the path itself unless
    /// the network has official names.
    fn parameter_name(path: &str) -> String {
        path.to_owned()
    }

    /// The loss of a batch, `[1]`, averaged over its samples.
    ///
    /// # Errors
    /// A batch that cannot be used.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Result<Tensor<1>, BoxError>;

    /// What computes on all parameters at once (the optimizer, norms, averages): by default what the device
    /// has by itself.
    fn lists(&self, device: &Device) -> Lists {
        Lists::of(device)
    }

    /// A picture of what the network (without autodiff) does now; none where there is nothing to see.
    ///
    /// # Errors
    /// A device that does not give its data back.
    fn picture(&self, _model: &Self::Model) -> Result<Option<Picture>, BoxError> {
        Ok(None)
    }

    /// How well the network (without autodiff) does on data held out; none without such data, or when
    /// `stop` says so, which is to be asked between batches. All processes evaluate together, ask equally
    /// often and find the same. `watch` is told how many images of how many are judged, before the first
    /// and then between batches.
    ///
    /// # Errors
    /// Data that cannot be used.
    fn evaluate(
        &self,
        _model: &Self::Model,
        _stop: &StopSignal<'_>,
        _watch: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Evaluation>, BoxError> {
        Ok(None)
    }

    /// What there is to [measure](crate::health::Examination) of the network (without autodiff); none by
    /// default, or when `stop` says so, which is to be asked between batches. All processes measure, and ask
    /// equally often.
    ///
    /// # Errors
    /// Data that cannot be used.
    fn health(&self, _model: &Self::Model, _stop: &StopSignal<'_>) -> Result<Option<Measures>, BoxError> {
        Ok(None)
    }
}

/// A picture of what a network does, for the logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its name in TensorBoard.
    pub tag: &'static str,
    /// The picture.
    pub image: RgbImage,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What networks are compared by; more is better.
    pub score: f64,
    /// Names and values, for the logs.
    pub metrics: Vec<(&'static str, f64)>,
}
