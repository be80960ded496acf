//! States of a run on the disk: checkpoints, the best network, and going on from one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use checkpoint::{Best, EMA_FILE, MODEL_FILE, OPTIMIZER_FILE, Position, RunState, StateDict, read_state};
use distributed::{Communicator, DistributedError};
use host::Precision;

use crate::adamw::{AdamW, load_optimizer, save_optimizer};
use crate::broadcast::broadcast_dict;
use crate::ema::{Ema, EmaDecay};
use crate::error::TrainError;
use crate::groups::ParameterGroup;
use crate::objective::Objective;
use crate::plan::Plan;
use crate::sections::OptimConfig;
use crate::snapshot::{Place, Snapshot};
use crate::update::State;

/// What a run knows of its evaluations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Judged {
    /// The best network so far, if any was evaluated.
    pub(crate) best: Option<Best>,
    /// Updates after which a network was evaluated last.
    pub(crate) evaluated: Option<u64>,
}

/// Where a run begins.
pub struct Beginning<M: Module> {
    /// Network, moments and moving average.
    pub state: State<M>,
    /// The best network so far, if the run goes on and any was evaluated.
    pub best: Option<Best>,
    /// Updates after which it was evaluated last.
    pub evaluated: Option<u64>,
    /// The checkpoint that the run goes on from.
    pub checkpoint: Option<PathBuf>,
    /// Loss and gradient norm of the last updates, oldest first.
    pub recent: Vec<[f64; 2]>,
    /// How many of them were unusual, one after the other, up to the last.
    pub unusual: u64,
}

/// Copies the states of a run, to be written.
pub(crate) struct Copier<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) judged: Judged,
    /// Loss and gradient norm of the last updates.
    pub(crate) recent: Vec<[f64; 2]>,
    /// How many of them were unusual, one after the other, up to the last.
    pub(crate) unusual: u64,
}

impl Copier<'_> {
    fn run_state(self, step: u64) -> RunState {
        let Self { plan, judged: Judged { best, evaluated }, recent, unusual } = self;
        RunState {
            position: plan.position(step),
            best,
            evaluated,
            order: data::ORDER_VERSION,
            processes: plan.processes,
            images: step * plan.effective_batch as u64,
            split: Some(plan.split()),
            pace: Some(plan.pace),
            recent,
            unusual,
        }
    }

    /// Copies weights, moving average and moments.
    ///
    /// # Errors
    /// Weights that are not finite, moments that cannot be converted.
    pub(crate) fn checkpoint<O: Objective>(self, state: &State<O::Model>) -> Result<Snapshot, TrainError> {
        let name = &O::parameter_name;
        let mut tensors = vec![(MODEL_FILE, weights_of(&state.model, name, state.step)?)];
        if let Some(ema) = &state.ema {
            tensors.push((EMA_FILE, weights_of(ema.model(), name, state.step)?));
        }
        tensors.push((OPTIMIZER_FILE, save_optimizer(&state.optimizer, name)));
        Ok(Snapshot { place: Place::Step, state: self.run_state(state.step), tensors })
    }

    /// Copies a network that is the best of the run.
    pub(crate) fn best<O: Objective>(self, winner: &O::Model, step: u64) -> Snapshot {
        let tensors = vec![(MODEL_FILE, StateDict::of_module(winner, &O::parameter_name))];
        Snapshot { place: Place::Best, state: self.run_state(step), tensors }
    }
}

/// The weights of a network, which have to be finite: a run could not go on from others, and the last
/// checkpoint that can be used might have to make place for them.
fn weights_of<M: Module>(
    model: &M,
    name: &dyn Fn(&str) -> String,
    step: u64,
) -> Result<StateDict, TrainError> {
    let weights = StateDict::of_module(model, name);
    match weights.first_non_finite(|_| true) {
        Some((name, count)) => {
            let name = name.to_owned();
            Err(TrainError::NotFiniteWeights { step, name, count, checkpoint: None })
        }
        None => Ok(weights),
    }
}

/// What a state is built with, beside the network.
pub(crate) struct StateParts<'a> {
    pub(crate) groups: &'a [ParameterGroup],
    pub(crate) optim: &'a OptimConfig,
    /// Numbers that heavy operations compute in.
    pub(crate) precision: Precision,
    /// How the moving average of the weights follows them; none without one.
    pub(crate) ema: Option<EmaDecay>,
}

impl StateParts<'_> {
    fn optimizer(&self) -> AdamW {
        AdamW::new(self.groups, self.optim.adamw()).in_precision(self.precision)
    }

    /// The state that a run starts from.
    pub(crate) fn fresh<M: Module>(&self, model: M) -> Beginning<M> {
        let ema = self.ema.map(|decay| Ema::new(decay, model.valid()));
        let state = State { model, optimizer: self.optimizer(), ema, step: 0 };
        Beginning { state, best: None, evaluated: None, checkpoint: None, recent: Vec::new(), unusual: 0 }
    }

    /// The state of a checkpoint that says `found` of itself. `model` gives the shapes. Rank 0 reads for
    /// all. Where the data have changed, the run stands where its updates bring it in the present ones, and no
    /// earlier score counts, which other images gave.
    ///
    /// # Errors
    /// A checkpoint that is unreadable or belongs to another model or other data.
    pub(crate) fn resumed<O: Objective>(
        &self,
        model: O::Model,
        checkpoint: &Path,
        found: RunState,
        plan: &Plan,
        changed: bool,
        communicator: &Arc<dyn Communicator>,
    ) -> Result<Beginning<O::Model>, TrainError> {
        let communicator = communicator.as_ref();
        if !changed {
            require_same_place(checkpoint, &found, plan)?;
        }
        let RunState { position: found, best, evaluated, order, recent, unusual, .. } = found;
        // Checkpoints of former versions do not say when they were evaluated, but may stand at the best.
        let evaluated = evaluated.or(best.map(|best| best.step)).filter(|_| !changed);
        let best = best.filter(|_| !changed);
        if order != data::ORDER_VERSION && found.batch > 0 {
            return Err(TrainError::OtherOrder(checkpoint.to_owned()));
        }
        let name = &O::parameter_name;
        let load = |file: &str| broadcast_dict(communicator, || Ok(StateDict::load(&checkpoint.join(file))?));
        let (model, report) = load(MODEL_FILE)?.apply_to(model, name);
        report.require_complete()?;
        let optimizer = load_optimizer(self.optimizer(), &model, &load(OPTIMIZER_FILE)?, name)?;
        let ema = match self.ema {
            None => None,
            Some(decay) => {
                let (averaged, report) = load(EMA_FILE)?.apply_to(model.valid(), name);
                report.require_complete()?;
                Some(Ema::new(decay, averaged))
            }
        };
        let state = State { model, optimizer, ema, step: found.step };
        Ok(Beginning { state, best, evaluated, checkpoint: Some(checkpoint.to_owned()), recent, unusual })
    }
}

/// Refuses a checkpoint that stands elsewhere in its data than its updates bring it in the present ones.
fn require_same_place(checkpoint: &Path, found: &RunState, plan: &Plan) -> Result<(), TrainError> {
    let Position { step, epoch, batch } = found.position;
    let now = plan.position(step);
    let accumulate = found.split.map_or(plan.accumulate, |split| split.accumulate as u64);
    let same_batch = match found.split {
        // In whole updates, whoever computes them.
        Some(_) => batch / accumulate == now.batch / plan.accumulate,
        None => batch == now.batch,
    };
    if epoch == now.epoch && same_batch {
        return Ok(());
    }
    Err(TrainError::OtherData {
        checkpoint: checkpoint.to_owned(),
        step,
        epoch,
        batch,
        batches_per_epoch: plan.batches_per_epoch,
        accumulate: plan.accumulate,
    })
}

/// Where the run of a checkpoint stands, as rank 0 reads it.
pub(crate) fn broadcast_state(
    checkpoint: &Path,
    communicator: &dyn Communicator,
) -> Result<RunState, TrainError> {
    if communicator.world_size() == 1 {
        return Ok(read_state(checkpoint)?);
    }
    let own = if communicator.is_leader() { Some(read_state(checkpoint)?) } else { None };
    let text = own.and_then(|state| serde_json::to_string(&state).ok()).unwrap_or_default();
    let text = communicator.broadcast_text(&text)?;
    Ok(serde_json::from_str(&text).map_err(|_| DistributedError::Disagreement)?)
}
