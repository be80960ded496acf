//! One update of a network: losses and gradients of a few batches, one after the other as they come,
//! averaged over all processes; then the optimizer and the moving average.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use distributed::Communicator;

use crate::all_reduce::all_reduce_gradients;
use crate::deferred::Deferred;
use crate::ema::Ema;
use crate::error::{NotFiniteUpdate, TrainError};
use crate::gradients::{clip, first_non_finite, global_norm};
use crate::groups::{ParameterGroup, learning_rates};
use crate::health::{Before, LayerUpdates};
use crate::objective::Objective;
use crate::spike::{OnSpike, Spike, SpikeGuard};
use crate::stop::StopSignal;

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
    /// Batches whose gradients make an update.
    pub(crate) accumulate: u64,
    /// Whether to report what the update does layer by layer.
    pub(crate) by_layer: bool,
}

/// What an update was made from; the loop adds these up.
pub(crate) struct UpdateReport {
    /// Mean over the batches; over all processes as well where it is known at once.
    pub(crate) loss: Deferred,
    /// Norm of the gradients before clipping.
    pub(crate) grad_norm: Deferred,
    /// Why it was not made, if it was not.
    pub(crate) skipped: Option<Spike>,
    /// Whether any process was asked to stop.
    pub(crate) stop: bool,
    /// Whether any process wants a checkpoint.
    pub(crate) save: bool,
    /// What it did layer by layer, if that was asked for.
    pub(crate) layers: Option<LayerUpdates>,
}

/// What processes tell each other with an update.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    stop: bool,
    save: bool,
}

impl<O: Objective> Updater<'_, O> {
    /// One update at learning rate `lr` from the averaged gradients of the batches that `next` gives and
    /// of those of all processes. Each batch is asked for when the one before it has been computed, so that
    /// no more than one is held.
    ///
    /// When any process is asked to stop in between, the update is dropped and the state is what it was:
    /// there is no report. `save` says, at the end, whether this process wants a checkpoint. Where loss and
    /// norm are known at once, nothing is updated with what is not finite, and where `spikes` acts on what is
    /// unusual, not with that either.
    ///
    /// The state is moved, not borrowed: the optimizer updates in place only what nobody else holds.
    pub(crate) fn update(
        &self,
        mut state: State<O::Model>,
        next: &mut dyn FnMut() -> Result<O::Batch, TrainError>,
        lr: f64,
        stop: &StopSignal<'_>,
        spikes: &mut SpikeGuard,
        save: &dyn Fn() -> bool,
    ) -> Result<(State<O::Model>, Option<UpdateReport>), TrainError> {
        let (mut loss, mut gradients) = (Deferred::Known(0.0), GradientsAccumulator::new());
        for _ in 0..self.accumulate {
            if stop.is_given()? {
                return Ok((state, None));
            }
            let batch = next()?;
            (state.model, loss, gradients) =
                kernels::on_pool(|| self.accumulate(state.model, batch, loss, gradients))?;
        }
        // Late enough to hear of a signal within the step.
        let wishes = Wishes { stop: stop.own(), save: save() };
        let (state, report) =
            kernels::on_pool(|| self.apply(state, loss, gradients.grads(), lr, spikes, wishes))?;
        Ok((state, Some(report)))
    }

    /// Adds loss and gradients of a batch, each a share of the update's.
    #[allow(clippy::type_complexity, reason = "what goes in comes out")]
    fn accumulate(
        &self,
        model: O::Model,
        batch: O::Batch,
        loss_sum: Deferred,
        mut gradients: GradientsAccumulator<O::Model>,
    ) -> Result<(O::Model, Deferred, GradientsAccumulator<O::Model>), TrainError> {
        let share = 1.0 / self.accumulate as f32;
        let loss = self.objective.loss(&model, batch).map_err(TrainError::Objective)? * share;
        let loss_sum = loss_sum.plus(Deferred::of(loss.clone()));
        gradients.accumulate(&model, GradientsParams::from_grads(loss.backward(), &model));
        Ok((model, loss_sum, gradients))
    }

    /// Averages loss and gradients over all processes and updates the state by them.
    fn apply(
        &self,
        state: State<O::Model>,
        loss: Deferred,
        mut gradients: GradientsParams,
        lr: f64,
        spikes: &mut SpikeGuard,
        own: Wishes,
    ) -> Result<(State<O::Model>, UpdateReport), TrainError> {
        let State { model, mut optimizer, ema, step } = state;
        // The means over all processes: from here on, all of them see the same numbers. What is still
        // on the device is averaged when it is read.
        let (loss, wishes) = self.exchange(loss, own)?;
        all_reduce_gradients(&model, &mut gradients, self.communicator)?;
        let (mut loss, mut grad_norm, mut skipped) = (loss, global_norm(&model, &gradients), None);
        if spikes.acts() {
            (loss, grad_norm) = (self.known(loss)?, Deferred::Known(grad_norm.read()));
            skipped = judge(spikes, step + 1, &loss, &grad_norm)?;
        }
        if skipped.is_some() {
            let state = State { model, optimizer, ema, step: step + 1 };
            let Wishes { stop, save } = wishes;
            return Ok((state, UpdateReport { loss, grad_norm, skipped, stop, save, layers: None }));
        }
        if let (Deferred::Known(loss), Deferred::Known(norm)) = (&loss, &grad_norm)
            && !(loss.is_finite() && norm.is_finite())
        {
            let parameter = first_non_finite(&model, &gradients, &O::parameter_name);
            let (step, loss, grad_norm) = (step + 1, *loss, *norm);
            return Err(NotFiniteUpdate { step, done: step - 1, loss, grad_norm, parameter }.since(None));
        }
        let before = self.by_layer.then(|| Before::of(&model, &gradients, &O::parameter_name));
        if let Some(max_norm) = self.clip_grad {
            clip(&model, &mut gradients, &grad_norm, max_norm);
        }
        let model = optimizer.step(learning_rates(lr, self.groups), model, gradients);
        let layers = before.map(|before| before.compare(&model));
        let ema = ema.map(|ema| ema.update(&model.valid(), step + 1));
        let state = State { model, optimizer, ema, step: step + 1 };
        Ok((state, UpdateReport { loss, grad_norm, skipped, stop: wishes.stop, save: wishes.save, layers }))
    }

    /// The mean loss over all processes as a number, which waits for the device.
    fn known(&self, loss: Deferred) -> Result<Deferred, TrainError> {
        match loss {
            Deferred::Known(_) => Ok(loss),
            pending => Ok(Deferred::Known(self.communicator.mean(&[pending.read()])?[0])),
        }
    }

    /// The mean loss, and what any process wishes.
    fn exchange(&self, loss: Deferred, own: Wishes) -> Result<(Deferred, Wishes), TrainError> {
        let mut numbers = vec![f64::from(u8::from(own.stop)), f64::from(u8::from(own.save))];
        if let Deferred::Known(loss) = loss {
            numbers.push(loss);
        }
        let means = self.communicator.mean(&numbers)?;
        let loss = means.get(2).map_or(loss, |mean| Deferred::Known(*mean));
        Ok((loss, Wishes { stop: means[0] > 0.0, save: means[1] > 0.0 }))
    }
}

/// The reason to skip an update, if there is one.
///
/// # Errors
/// The run is to stop before it; too many were skipped.
fn judge(
    spikes: &mut SpikeGuard,
    step: u64,
    loss: &Deferred,
    grad_norm: &Deferred,
) -> Result<Option<Spike>, TrainError> {
    let found = spikes.judge(loss.read(), grad_norm.read());
    let stops = |spike, what| Err(TrainError::Spike { step, spike, what, checkpoint: None });
    match found {
        Some(spike) if spikes.on_spike == OnSpike::Stop && spike.is_finite() => {
            stops(spike, "stopped before the update, as train.on_spike says")
        }
        Some(spike) if spikes.has_skipped_enough() => {
            stops(spike, "so were the updates before it, all skipped")
        }
        // What is not finite is an error of its own.
        found => Ok(found.filter(|_| spikes.on_spike == OnSpike::Skip)),
    }
}
