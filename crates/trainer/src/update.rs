//! One update of a network: losses and gradients of a few batches, averaged over all processes, then
//! the optimizer and the moving average.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use distributed::Communicator;

use crate::all_reduce::all_reduce_gradients;
use crate::deferred::Deferred;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::gradients::{clip, first_non_finite, global_norm};
use crate::groups::{ParameterGroup, learning_rates};
use crate::objective::Objective;

/// What an update changes.
pub struct State<M: Module> {
    /// The network.
    pub model: M,
    /// The moments of its parameters.
    pub optimizer: ModuleOptimizer,
    /// The moving average of its weights, if one is kept.
    pub ema: Option<Ema<M>>,
    /// Updates done.
    pub step: u64,
}

/// What stays the same from update to update.
pub(crate) struct Updater<'a, O: Objective> {
    pub(crate) objective: &'a O,
    pub(crate) groups: &'a [ParameterGroup],
    /// Global L2 norm that gradients are scaled down to.
    pub(crate) clip_grad: Option<f64>,
    pub(crate) communicator: &'a dyn Communicator,
}

/// What an update was made from; the loop adds these up.
pub(crate) struct UpdateReport {
    /// Mean over the batches; over all processes as well where it is known at once.
    pub(crate) loss: Deferred,
    /// Norm of the gradients before clipping.
    pub(crate) grad_norm: Deferred,
    /// Whether any process was asked to stop.
    pub(crate) stop: bool,
}

impl<O: Objective> Updater<'_, O> {
    /// One update at learning rate `lr` from the averaged gradients of `micro` and of all processes;
    /// `should_stop` says, late enough to hear of a signal within the step, whether this process was asked
    /// to; the others hear of it. Where loss and norm are known at once,
    /// nothing is updated with what is not finite.
    ///
    /// The state is moved, not borrowed: the optimizer updates in place only what nobody else holds.
    pub(crate) fn update(
        &self,
        state: State<O::Model>,
        micro: Vec<O::Batch>,
        lr: f64,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<(State<O::Model>, UpdateReport), TrainError> {
        let State { model, mut optimizer, ema, step } = state;
        let (loss, mut gradients) = self.accumulate(&model, micro)?;
        // The means over all processes: from here on, all of them see the same numbers. What is still
        // on the device is averaged when it is read.
        let stop = f64::from(u8::from(should_stop()));
        let (loss, stop) = match loss {
            Deferred::Known(loss) => {
                let means = self.communicator.mean(&[loss, stop])?;
                (Deferred::Known(means[0]), means[1] > 0.0)
            }
            pending => (pending, self.communicator.mean(&[stop])?[0] > 0.0),
        };
        all_reduce_gradients(&model, &mut gradients, self.communicator)?;
        let grad_norm = global_norm(&model, &gradients);
        if let (Deferred::Known(loss), Deferred::Known(norm)) = (&loss, &grad_norm)
            && !(loss.is_finite() && norm.is_finite())
        {
            let parameter = first_non_finite(&model, &gradients, &O::parameter_name);
            return Err(TrainError::NotFinite { step: step + 1, loss: *loss, parameter, checkpoint: None });
        }
        if let Some(max_norm) = self.clip_grad {
            clip(&model, &mut gradients, &grad_norm, max_norm);
        }
        let model = optimizer.step(learning_rates(lr, self.groups), model, gradients);
        let ema = ema.map(|ema| ema.update(&model.valid(), step + 1));
        let state = State { model, optimizer, ema, step: step + 1 };
        Ok((state, UpdateReport { loss, grad_norm, stop }))
    }

    /// Mean loss of a few batches, and its gradients.
    fn accumulate(
        &self,
        model: &O::Model,
        micro: Vec<O::Batch>,
    ) -> Result<(Deferred, GradientsParams), TrainError> {
        let mut gradients = GradientsAccumulator::new();
        let mut loss_sum = Deferred::Known(0.0);
        let share = 1.0 / micro.len() as f32;
        for batch in micro {
            let loss = self.objective.loss(model, batch).map_err(TrainError::Objective)? * share;
            loss_sum = loss_sum.plus(Deferred::of(loss.clone()));
            gradients.accumulate(model, GradientsParams::from_grads(loss.backward(), model));
        }
        Ok((loss_sum, gradients.grads()))
    }
}
