//! States of a run on the disk: checkpoints, the best network, and going on from one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use checkpoint::{
    Best, EMA_FILE, MODEL_FILE, OPTIMIZER_FILE, RunDir, RunState, StateDict, read_state, write_best,
    write_checkpoint,
};
use data::IMAGES_FILE;
use distributed::{Communicator, DistributedError};

use crate::broadcast::{broadcast_dict, require_equal};
use crate::ema::{Ema, EmaDecay};
use crate::error::TrainError;
use crate::groups::{ParameterGroup, build_optimizer};
use crate::objective::{BoxError, Objective};
use crate::optimizer_state::{load_optimizer, save_optimizer};
use crate::plan::Plan;
use crate::sections::OptimConfig;
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
}

/// Writes the states of a run. Rank 0 writes; the others take part in the checks.
pub(crate) struct Saver<'a> {
    pub(crate) run_dir: &'a RunDir,
    pub(crate) plan: &'a Plan,
    /// Checkpoints that are kept; 0 keeps all.
    pub(crate) keep_last: usize,
    pub(crate) communicator: &'a dyn Communicator,
}

impl Saver<'_> {
    fn run_state(&self, step: u64, judged: Judged) -> RunState {
        let Judged { best, evaluated } = judged;
        RunState {
            position: self.plan.position(step),
            best,
            evaluated,
            order: data::ORDER_VERSION,
            processes: self.plan.processes,
        }
    }

    /// Writes a checkpoint once it is sure that all processes have what it says.
    pub(crate) fn save<O: Objective>(
        &self,
        state: &State<O::Model>,
        judged: Judged,
    ) -> Result<PathBuf, TrainError> {
        require_equal(&state.model, self.communicator, state.step)?;
        self.save_unchecked::<O>(state, judged)
    }

    /// The same without asking the other processes, for when they may not answer any more.
    pub(crate) fn save_unchecked<O: Objective>(
        &self,
        state: &State<O::Model>,
        judged: Judged,
    ) -> Result<PathBuf, TrainError> {
        if !self.communicator.is_leader() {
            return Ok(self.run_dir.checkpoint(state.step));
        }
        let path = write_checkpoint(self.run_dir, &self.run_state(state.step, judged), |folder| {
            fill::<O>(state, self.run_dir, folder)
        })?;
        self.run_dir.keep_last(self.keep_last)?;
        Ok(path)
    }

    /// Writes a network as the best of the run.
    pub(crate) fn save_best<O: Objective>(
        &self,
        winner: &O::Model,
        step: u64,
        best: Option<Best>,
    ) -> Result<(), TrainError> {
        if self.communicator.is_leader() {
            let judged = Judged { best, evaluated: Some(step) };
            write_best(self.run_dir, &self.run_state(step, judged), |folder| -> Result<(), BoxError> {
                copy_images(self.run_dir, folder)?;
                Ok(StateDict::of_module(winner, &O::parameter_name).save(&folder.join(MODEL_FILE))?)
            })?;
        }
        Ok(())
    }
}

/// Writes weights, moving average and moments into a folder.
fn fill<O: Objective>(state: &State<O::Model>, run_dir: &RunDir, folder: &Path) -> Result<(), BoxError> {
    copy_images(run_dir, folder)?;
    let name = &O::parameter_name;
    weights_of(&state.model, name)?.save(&folder.join(MODEL_FILE))?;
    if let Some(ema) = &state.ema {
        weights_of(ema.model(), name)?.save(&folder.join(EMA_FILE))?;
    }
    let moments = save_optimizer(&state.optimizer, &state.model, name)?;
    Ok(moments.save(&folder.join(OPTIMIZER_FILE))?)
}

/// The weights of a network, which have to be finite: a run could not go on from others, and the last
/// checkpoint that can be used might have to make place for them.
fn weights_of<M: Module>(model: &M, name: &dyn Fn(&str) -> String) -> Result<StateDict, BoxError> {
    let weights = StateDict::of_module(model, name);
    match weights.first_non_finite(|_| true) {
        Some((name, count)) => Err(format!("{count} of the numbers in {name} are NaN or infinite").into()),
        None => Ok(weights),
    }
}

/// Copies the list of the run's images, by which a checkpoint can be judged on its own.
fn copy_images(run_dir: &RunDir, folder: &Path) -> Result<(), BoxError> {
    let (list, copy) = (run_dir.path().join(IMAGES_FILE), folder.join(IMAGES_FILE));
    fs::copy(&list, &copy).map_err(TrainError::io("copy", &list))?;
    Ok(File::open(&copy).and_then(|copy| copy.sync_all()).map_err(TrainError::io("write", &copy))?)
}

/// What a state is built with, beside the network.
pub(crate) struct StateParts<'a> {
    pub(crate) groups: &'a [ParameterGroup],
    pub(crate) optim: &'a OptimConfig,
    /// How the moving average of the weights follows them; none without one.
    pub(crate) ema: Option<EmaDecay>,
}

impl StateParts<'_> {
    /// The state that a run starts from.
    pub(crate) fn fresh<M: Module>(&self, model: M) -> Beginning<M> {
        let ema = self.ema.map(|decay| Ema::new(decay, model.valid()));
        let state =
            State { model, optimizer: build_optimizer(self.groups, &self.optim.adamw()), ema, step: 0 };
        Beginning { state, best: None, evaluated: None, checkpoint: None }
    }

    /// The state of a checkpoint, and what it says of the best network. `model` gives the shapes. Rank 0
    /// reads for all. Where the data have changed, the run stands where its updates bring it in the present
    /// ones, and no earlier score counts, which other images gave.
    ///
    /// # Errors
    /// A checkpoint that is unreadable or belongs to another model, other data or another number of
    /// processes.
    pub(crate) fn resumed<O: Objective>(
        &self,
        model: O::Model,
        checkpoint: &Path,
        plan: &Plan,
        changed: bool,
        communicator: &Arc<dyn Communicator>,
    ) -> Result<Beginning<O::Model>, TrainError> {
        let communicator = communicator.as_ref();
        let RunState { position: found, best, evaluated, order, processes } =
            broadcast_state(checkpoint, communicator)?;
        if processes != plan.processes {
            let (checkpoint, now) = (checkpoint.to_owned(), plan.processes);
            return Err(TrainError::OtherWorld { checkpoint, before: processes, now });
        }
        // Checkpoints of former versions do not say when they were evaluated, but may stand at the best.
        let evaluated = evaluated.or(best.map(|best| best.step)).filter(|_| !changed);
        let best = best.filter(|_| !changed);
        if plan.position(found.step) != found && !changed {
            return Err(TrainError::OtherData {
                checkpoint: checkpoint.to_owned(),
                step: found.step,
                epoch: found.epoch,
                batch: found.batch,
                batches_per_epoch: plan.batches_per_epoch,
                accumulate: plan.accumulate,
            });
        }
        if order != data::ORDER_VERSION && found.batch > 0 {
            return Err(TrainError::OtherOrder(checkpoint.to_owned()));
        }
        let name = &O::parameter_name;
        let load = |file: &str| broadcast_dict(communicator, || Ok(StateDict::load(&checkpoint.join(file))?));
        let (model, report) = load(MODEL_FILE)?.apply_to(model, name);
        report.require_complete()?;
        let optimizer = build_optimizer(self.groups, &self.optim.adamw());
        let optimizer = load_optimizer(optimizer, &model, &load(OPTIMIZER_FILE)?, name)?;
        let ema = match self.ema {
            None => None,
            Some(decay) => {
                let (averaged, report) = load(EMA_FILE)?.apply_to(model.valid(), name);
                report.require_complete()?;
                Some(Ema::new(decay, averaged))
            }
        };
        let state = State { model, optimizer, ema, step: found.step };
        Ok(Beginning { state, best, evaluated, checkpoint: Some(checkpoint.to_owned()) })
    }
}

/// Where the run of a checkpoint stands, as rank 0 reads it.
fn broadcast_state(checkpoint: &Path, communicator: &dyn Communicator) -> Result<RunState, TrainError> {
    if communicator.world_size() == 1 {
        return Ok(read_state(checkpoint)?);
    }
    let own = if communicator.is_leader() { Some(read_state(checkpoint)?) } else { None };
    let text = own.and_then(|state| serde_json::to_string(&state).ok()).unwrap_or_default();
    let text = communicator.broadcast_text(&text)?;
    Ok(serde_json::from_str(&text).map_err(|_| DistributedError::Disagreement)?)
}
