//! One update of a network: losses and gradients of a few batches, one after the other as they come,
//! averaged over all processes; then the optimizer and the moving average.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use host::Lists;

use crate::adamw::AdamW;
use crate::deferred::Deferred;
use crate::ema::Ema;
use crate::error::{NotFiniteUpdate, TrainError};
use crate::gradients::Gradients;
use crate::health::{Before, LayerUpdates};
use crate::objective::Objective;
use crate::reducer::{Agreed, Reducer, UnderWay, Wishes};
use crate::spike::{OnSpike, Spike, SpikeGuard};
use crate::stop::StopSignal;

/// What an update changes.
pub struct State<M: Module> {
    /// The network.
    pub model: M,
    /// The moments of its parameters.
    pub optimizer: AdamW,
    /// The moving average of its weights, if one is kept.
    pub ema: Option<Ema<M>>,
    /// Updates done.
    pub step: u64,
}

/// What stays the same from update to update.
pub(crate) struct Updater<'a, O: Objective> {
    pub(crate) objective: &'a O,
    /// What computes on all parameters at once.
    pub(crate) lists: Lists,
    /// Global L2 norm that gradients are scaled down to.
    pub(crate) clip_grad: Option<f64>,
    /// Where the network lies.
    pub(crate) device: &'a Device,
    /// Batches whose gradients make an update.
    pub(crate) accumulate: u64,
    /// Whether to report what the update does layer by layer.
    pub(crate) by_layer: bool,
}

/// What an update was made from; the loop adds these up.
pub(crate) struct UpdateReport {
    /// Mean over the batches of all processes.
    pub(crate) loss: Deferred,
    /// Norm of the gradients before clipping.
    pub(crate) grad_norm: Deferred,
    /// Why it was not made, if it was not.
    pub(crate) skipped: Option<Spike>,
    /// What any process wished: to stop, or a checkpoint.
    pub(crate) wishes: Wishes,
    /// What it did layer by layer, if that was asked for.
    pub(crate) layers: Option<LayerUpdates>,
}

/// What an update takes and changes beside the state of the run.
pub(crate) struct Surroundings<'a> {
    /// Averages gradients over the processes.
    pub(crate) reducer: &'a mut Reducer,
    pub(crate) spikes: &'a mut SpikeGuard,
    /// Whether any process was asked to stop.
    pub(crate) stop: &'a StopSignal<'a>,
    /// Says, at the end, whether this process wants a checkpoint.
    pub(crate) save: &'a dyn Fn() -> bool,
}

/// Losses of the batches of an update so far, and their gradients.
struct Sums {
    loss: Deferred,
    /// None before the first.
    earlier: Option<Gradients>,
}

impl<O: Objective> Updater<'_, O> {
    /// One update at learning rate `lr` from the averaged gradients of the batches that `next` gives and
    /// of those of all processes. Each batch is asked for when the one before it has been computed, so that
    /// no more than one is held.
    ///
    /// When any process is asked to stop in between, the update is dropped and the state is what it was:
    /// there is no report. Where loss and norm are known at once, nothing is updated with what is not finite,
    /// and where the spike guard acts on what is unusual, not with that either.
    ///
    /// The state is moved, not borrowed: the optimizer updates in place only what nobody else holds.
    pub(crate) fn update(
        &self,
        mut state: State<O::Model>,
        next: &mut dyn FnMut() -> Result<O::Batch, TrainError>,
        lr: f64,
        around: Surroundings<'_>,
    ) -> Result<(State<O::Model>, Option<UpdateReport>), TrainError> {
        let Surroundings { reducer, spikes, stop, save } = around;
        let mut sums = Sums { loss: Deferred::Known(0.0), earlier: None };
        for _ in 1..self.accumulate {
            if stop.is_given()? {
                return Ok((state, None));
            }
            let batch = next()?;
            (state, sums) = host::compute_on(self.device, || self.accumulate(state, batch, sums))?;
        }
        if stop.is_given()? {
            return Ok((state, None));
        }
        let batch = next()?;
        let (loss, under_way);
        (state, loss, under_way) = host::compute_on(self.device, || self.last(state, batch, sums, reducer))?;
        // Late enough to hear of a signal within the step.
        let own = Wishes { stop: stop.own(), save: save() };
        let apply = || self.apply(state, reducer.finish(under_way, loss, own)?, lr, spikes);
        let (state, report) = host::compute_on(self.device, apply)?;
        Ok((state, Some(report)))
    }

    /// The loss of a batch as its share of the update's, and the sum of the losses so far.
    fn share(
        &self,
        model: &O::Model,
        batch: O::Batch,
        so_far: Deferred,
    ) -> Result<(Tensor<1>, Deferred), TrainError> {
        let loss = self.objective.loss(model, batch).map_err(TrainError::Objective)?;
        let loss = match self.accumulate {
            1 => loss,
            batches => loss * (1.0 / batches as f32),
        };
        let sum = so_far.plus(Deferred::of(loss.clone(), self.lists));
        Ok((loss, sum))
    }

    /// Adds loss and gradients of a batch that others follow.
    fn accumulate(
        &self,
        state: State<O::Model>,
        batch: O::Batch,
        Sums { loss, earlier }: Sums,
    ) -> Result<(State<O::Model>, Sums), TrainError> {
        let (own, loss) = self.share(&state.model, batch, loss)?;
        let mut gradients = Gradients::of(own, &state.model, self.lists);
        if let Some(earlier) = earlier {
            gradients.add(&earlier);
        }
        Ok((state, Sums { loss, earlier: Some(gradients) }))
    }

    /// The same of the last batch, whose gradients begin to travel as they are written.
    fn last(
        &self,
        state: State<O::Model>,
        batch: O::Batch,
        Sums { loss, earlier }: Sums,
        reducer: &mut Reducer,
    ) -> Result<(State<O::Model>, Deferred, UnderWay), TrainError> {
        let (own, loss) = self.share(&state.model, batch, loss)?;
        let under_way = reducer.backward(own, &state.model, self.lists, earlier)?;
        Ok((state, loss, under_way))
    }

    /// Updates the state by what the processes agreed on: all of them see the same numbers.
    fn apply(
        &self,
        state: State<O::Model>,
        agreed: Agreed,
        lr: f64,
        spikes: &mut SpikeGuard,
    ) -> Result<(State<O::Model>, UpdateReport), TrainError> {
        let State { model, mut optimizer, ema, step } = state;
        let Agreed { mut gradients, mut loss, wishes } = agreed;
        let (mut grad_norm, mut skipped) = (gradients.norm(), None);
        if spikes.acts() {
            // Waits for the device.
            (loss, grad_norm) = (Deferred::Known(loss.read()), Deferred::Known(grad_norm.read()));
            skipped = judge(spikes, step + 1, &loss, &grad_norm)?;
        }
        if skipped.is_some() {
            let state = State { model, optimizer, ema, step: step + 1 };
            return Ok((state, UpdateReport { loss, grad_norm, skipped, wishes, layers: None }));
        }
        if let (Deferred::Known(loss), Deferred::Known(norm)) = (&loss, &grad_norm)
            && !(loss.is_finite() && norm.is_finite())
        {
            let parameter = gradients.first_non_finite(&model, &O::parameter_name);
            let (step, loss, grad_norm) = (step + 1, *loss, *norm);
            return Err(NotFiniteUpdate { step, done: step - 1, loss, grad_norm, parameter }.since(None));
        }
        let before = self.by_layer.then(|| Before::of(&model, &gradients, &O::parameter_name));
        if let Some(max_norm) = self.clip_grad {
            gradients.clip(&grad_norm, max_norm);
        }
        let model = optimizer.step(lr, model, gradients);
        let layers = before.map(|before| before.compare(&model));
        let ema = ema.map(|ema| ema.update(&model.valid(), step + 1, self.lists));
        let state = State { model, optimizer, ema, step: step + 1 };
        Ok((state, UpdateReport { loss, grad_norm, skipped, wishes, layers }))
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
