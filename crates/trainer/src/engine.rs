//! The training loop: batches in, updates, logs, pictures and checkpoints out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::Interrupter;
use distributed::{Communicator, DistributedError};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::agreement::{require_equal, share_dict, share_parameters};
use crate::average::average_gradients;
use crate::checkpoint::{RunState, read_state, write_best, write_checkpoint};
use crate::config::{LogConfig, OptimConfig, TrainConfig};
use crate::ema::Ema;
use crate::error::TrainError;
use crate::evaluation::{Best, Evaluation, EvaluationPlan};
use crate::gradients::{clip, first_non_finite, global_norm};
use crate::groups::{ParameterGroup, build_optimizer, learning_rates};
use crate::log::{RunLog, peak_rss_mib};
use crate::optimizer_state::{load_optimizer, save_optimizer};
use crate::plot::draw_curves;
use crate::progress::{Progress, StepReport};
use crate::reading::Reading;
use crate::run_dir::RunDir;
use crate::schedule::CosineSchedule;
use crate::state_dict::StateDict;

/// Weights within a checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
/// Averaged weights within a checkpoint.
pub const EMA_FILE: &str = "ema.safetensors";
/// Moments within a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";

/// What is being trained for; the loop knows nothing else of model, data or loss.
pub trait Objective: Sync {
    /// The network.
    type Model: Module;
    /// What one forward pass takes.
    type Batch: Send;

    /// The official name of a parameter, from its path in the module.
    fn parameter_name(&self, path: &str) -> String;

    /// The loss of a batch, `[1]`, averaged over its samples.
    ///
    /// # Errors
    /// A batch that cannot be used.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Result<Tensor<1>, TrainError>;

    /// A picture of what the network (without autodiff) does now, with its tag in the logs; none
    /// where there is nothing to see.
    ///
    /// # Errors
    /// A device that does not give its data back.
    fn picture(&self, model: &Self::Model) -> Result<Option<(&'static str, RgbImage)>, TrainError>;

    /// How well the network (without autodiff) does on data held out; none without such data. All
    /// processes evaluate together and find the same.
    ///
    /// # Errors
    /// Data that cannot be used.
    fn evaluate(&self, _model: &Self::Model) -> Result<Option<Evaluation>, TrainError> {
        Ok(None)
    }
}

/// How long a run is and how its steps relate to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Batches of a process in the data, per epoch; those that fill no accumulation group are dropped.
    pub batches_per_epoch: u64,
    /// Batches of an update, of each process.
    pub accumulate: u64,
    /// Processes that train together.
    pub processes: usize,
    /// Images of an update, over all processes.
    pub effective_batch: usize,
    /// Updates at which the run ends.
    pub total_steps: u64,
}

impl Plan {
    /// From the number of batches in the data, for so many processes.
    pub fn new(train: &TrainConfig, batches_per_epoch: u64, processes: usize) -> Self {
        let accumulate = train.accumulate as u64;
        let whole = train.epochs * (batches_per_epoch / accumulate);
        Self {
            batches_per_epoch,
            accumulate,
            processes,
            effective_batch: train.batch_size * train.accumulate * processes,
            total_steps: train.max_steps.map_or(whole, |max| whole.min(max)),
        }
    }

    /// Updates of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.batches_per_epoch / self.accumulate
    }

    /// Where the data stand after `step` updates.
    pub fn position(&self, step: u64) -> Position {
        let (epoch, group) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        Position { step, epoch, batch: group * self.accumulate }
    }

    /// The same as a fraction of epochs, on which the schedule depends. As in the official code,
    /// dropped batches count.
    pub fn epoch(&self, step: u64) -> f64 {
        let Position { epoch, batch, .. } = self.position(step);
        epoch as f64 + batch as f64 / self.batches_per_epoch as f64
    }
}

/// `state.json` of a checkpoint: where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Updates done.
    pub step: u64,
    /// Epoch of the next batch.
    pub epoch: u64,
    /// The next batch within the epoch.
    pub batch: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Updates done.
    pub step: u64,
    /// The last checkpoint; none when there was nothing to do.
    pub checkpoint: Option<PathBuf>,
    /// The last picture.
    pub picture: Option<PathBuf>,
    /// Loss, accuracy and learning rate over the run.
    pub curves: Option<PathBuf>,
    /// Why the run stopped before its end, if it did.
    pub interrupted: Option<String>,
    /// Mean loss of the first and of the last logged interval.
    pub losses: Option<(f64, f64)>,
    /// The best network, if any was evaluated.
    pub best: Option<Best>,
    /// Whether the run ended because its score no longer rose.
    pub stopped_early: bool,
}

/// What changes in a step.
pub struct State<M: Module> {
    /// The network.
    pub model: M,
    /// Its moments.
    pub optimizer: ModuleOptimizer,
    /// The moving average of its weights, if one is kept.
    pub ema: Option<Ema<M>>,
    /// The best network so far.
    pub best: Option<Best>,
    /// Updates done.
    pub step: u64,
}

/// What stays the same for the whole run.
pub struct Trainer<O: Objective> {
    /// What is trained for.
    pub objective: O,
    /// Every parameter of the model, by its rule.
    pub groups: Vec<ParameterGroup>,
    /// Optimizer settings.
    pub optim: OptimConfig,
    /// Batch and length settings.
    pub train: TrainConfig,
    /// Log settings.
    pub log: LogConfig,
    /// Length in steps.
    pub plan: Plan,
    /// Decay of the moving average of the weights; none without one.
    pub ema_decay: Option<f64>,
    /// When to evaluate.
    pub evaluation: Option<EvaluationPlan>,
    /// Where everything is written.
    pub run_dir: RunDir,
    /// The processes that train together. Rank 0 writes and shows; the others only compute.
    pub world: Arc<dyn Communicator>,
}

/// What an update was made from.
struct Step {
    loss: Reading,
    /// Before clipping.
    grad_norm: Reading,
    /// A process was asked to stop.
    stop: bool,
}

/// Sums over the steps since the last log line.
struct Interval {
    since: Instant,
    steps: u64,
    loss: f64,
    grad_norm: f64,
    /// Losses and norms of the last steps that nobody has read yet.
    unread: Vec<(Reading, Reading)>,
    /// For data.
    waiting: Duration,
}

impl Interval {
    fn start() -> Self {
        let (since, waiting, unread) = (Instant::now(), Duration::ZERO, Vec::new());
        Self { since, steps: 0, loss: 0.0, grad_norm: 0.0, unread, waiting }
    }

    fn add(&mut self, step: Step) {
        self.steps += 1;
        self.unread.push((step.loss, step.grad_norm));
    }

    /// Reads losses that are still on the device, and averages them over all processes.
    fn share(&mut self, world: &dyn Communicator) -> Result<(), DistributedError> {
        if self.unread.iter().any(|(loss, _)| matches!(loss, Reading::Pending(_))) {
            let own: Vec<_> = self.unread.iter().map(|(loss, _)| loss.read()).collect();
            for ((loss, _), mean) in self.unread.iter_mut().zip(world.mean(&own)?) {
                *loss = Reading::Known(mean);
            }
        }
        Ok(())
    }

    /// Reads what has not been read; on a GPU this waits for it. `steps` are done by now.
    ///
    /// # Errors
    /// The first step whose loss or norm is not finite, and its loss.
    fn settle(&mut self, steps: u64) -> Result<(), (u64, f64)> {
        let first = steps + 1 - self.unread.len() as u64;
        for (step, (loss, grad_norm)) in (first..).zip(self.unread.drain(..)) {
            let (loss, grad_norm) = (loss.read(), grad_norm.read());
            if !loss.is_finite() || !grad_norm.is_finite() {
                return Err((step, loss));
            }
            self.loss += loss;
            self.grad_norm += grad_norm;
        }
        Ok(())
    }
}

impl<O: Objective> Trainer<O> {
    /// The state that a run starts from.
    pub fn start(&self, model: O::Model) -> State<O::Model> {
        let ema = self.ema_decay.map(|decay| Ema::new(decay, model.valid()));
        let optimizer = build_optimizer(&self.groups, &self.optim.adamw());
        State { model, optimizer, ema, best: None, step: 0 }
    }

    /// The state of a checkpoint: weights, moments, step. `model` gives the shapes. Rank 0 reads it
    /// for all.
    ///
    /// # Errors
    /// A checkpoint that is unreadable or belongs to another model, other data or another number of
    /// processes.
    pub fn resume(&self, model: O::Model, checkpoint: &Path) -> Result<State<O::Model>, TrainError> {
        let name = |path: &str| self.objective.parameter_name(path);
        let RunState { position: found, best, processes } = self.share_state(checkpoint)?;
        if processes != self.plan.processes {
            let (checkpoint, now) = (checkpoint.to_owned(), self.plan.processes);
            return Err(TrainError::OtherWorld { checkpoint, before: processes, now });
        }
        if self.plan.position(found.step) != found {
            let checkpoint = checkpoint.to_owned();
            return Err(TrainError::OtherData { checkpoint, found, plan: self.plan });
        }
        let load =
            |file: &str| share_dict(self.world.as_ref(), || Ok(StateDict::load(&checkpoint.join(file))?));
        let (model, report) = load(MODEL_FILE)?.apply_to(model, &name);
        report.require_complete()?;
        let optimizer = build_optimizer(&self.groups, &self.optim.adamw());
        let moments = load(OPTIMIZER_FILE)?;
        let optimizer = load_optimizer(optimizer, &model, &moments, &name)?;
        let ema = match self.ema_decay {
            None => None,
            Some(decay) => {
                let (averaged, report) = load(EMA_FILE)?.apply_to(model.valid(), &name);
                report.require_complete()?;
                Some(Ema::new(decay, averaged))
            }
        };
        Ok(State { model, optimizer, ema, best, step: found.step })
    }

    fn share_state(&self, checkpoint: &Path) -> Result<RunState, TrainError> {
        if self.world.world_size() == 1 {
            return read_state(checkpoint);
        }
        let own = if self.world.is_leader() { Some(read_state(checkpoint)?) } else { None };
        let text = own.and_then(|state| serde_json::to_string(&state).ok()).unwrap_or_default();
        let text = self.world.broadcast_text(&text)?;
        Ok(serde_json::from_str(&text).map_err(|_| DistributedError::Disagreement)?)
    }

    /// Trains to the end of the plan, or until the interrupter says stop; then writes a last
    /// evaluation, picture and checkpoint. `batches` start at the position of the state and never end.
    /// All processes begin with the weights of rank 0 and stop at the same step.
    ///
    /// # Errors
    /// Unusable data, a loss or gradient that is not finite (nothing is updated with it), a run
    /// directory that cannot be written, or another process that has ended.
    pub fn run<E: Into<TrainError>>(
        &self,
        mut state: State<O::Model>,
        mut batches: impl Iterator<Item = Result<O::Batch, E>>,
        progress: &mut dyn Progress,
        interrupter: &Interrupter,
    ) -> Result<Outcome, TrainError> {
        let leads = self.world.is_leader();
        let mut log = match leads {
            true => {
                self.run_dir.remove_leftovers()?;
                Some(RunLog::open(&self.run_dir, state.step)?)
            }
            false => None,
        };
        state.model =
            share_parameters(state.model, self.world.as_ref(), &|path| self.objective.parameter_name(path))?;
        let mut interval = Interval::start();
        let mut outcome = Outcome {
            step: state.step,
            checkpoint: None,
            picture: None,
            curves: None,
            interrupted: None,
            losses: None,
            best: state.best,
            stopped_early: false,
        };
        // A run that had stopped because it no longer improved does not go on.
        outcome.stopped_early = self.has_seen_enough(&state);
        progress.start(self.plan.total_steps, state.step);
        while state.step < self.plan.total_steps && outcome.interrupted.is_none() && !outcome.stopped_early {
            let waiting = Instant::now();
            let micro = self.next_batches(&mut batches, state.step)?;
            interval.waiting += waiting.elapsed();
            let done;
            (state, done) = kernels::on_pool(|| self.step(state, micro, interrupter))?;
            let stop = done.stop;
            interval.add(done);
            progress.step(state.step);

            outcome.step = state.step;
            if stop {
                let another = || "another process was asked to stop".to_owned();
                outcome.interrupted = Some(interrupter.get_message().unwrap_or_else(another));
            }
            let ended = state.step == self.plan.total_steps;
            // Also when interrupted: the run that goes on begins after this step.
            if self.evaluation_is_due(state.step, ended) {
                self.settle(&mut interval, state.step)?;
                let pause = Instant::now();
                if let Err(error) = self.evaluate(&mut state, log.as_mut(), progress) {
                    // Perhaps of this process alone: without asking the others.
                    self.write(&state)?;
                    return Err(error);
                }
                interval.since += pause.elapsed();
                outcome.best = state.best;
                outcome.stopped_early = !ended && self.has_seen_enough(&state);
            }
            let last = ended || outcome.interrupted.is_some() || outcome.stopped_early;
            if last || state.step.is_multiple_of(self.log.every_steps) {
                self.settle(&mut interval, state.step)?;
                let report = self.report(state.step, &interval);
                let first = outcome.losses.map_or(report.loss, |(first, _)| first);
                outcome.losses = Some((first, report.loss));
                if let Some(log) = &mut log {
                    log.write(&report)?;
                }
                progress.report(&report);
                interval = Interval::start();
            }
            if let (Some(log), true) = (&mut log, due(state.step, self.log.pictures_every_steps, last)) {
                outcome.picture = self.draw(&state, log)?;
            }
            if due(state.step, self.train.checkpoint_every_steps, last) {
                self.settle(&mut interval, state.step)?;
                outcome.checkpoint = Some(self.save(&state)?);
            }
        }
        progress.finish();
        if leads && outcome.checkpoint.is_some() {
            outcome.curves = Some(draw_curves(&self.run_dir)?);
        }
        Ok(outcome)
    }

    fn next_batches<E: Into<TrainError>>(
        &self,
        batches: &mut impl Iterator<Item = Result<O::Batch, E>>,
        step: u64,
    ) -> Result<Vec<O::Batch>, TrainError> {
        (0..self.plan.accumulate)
            .map(|_| batches.next().ok_or(TrainError::OutOfData { step })?.map_err(Into::into))
            .collect()
    }

    /// Reads losses and norms that are still on the device, before anything is built on them. Updates
    /// with what is not finite have been made by then, but not kept.
    fn settle(&self, interval: &mut Interval, steps: u64) -> Result<(), TrainError> {
        interval.share(self.world.as_ref())?;
        interval.settle(steps).map_err(|(step, loss)| TrainError::NotFinite {
            step,
            loss,
            parameter: None,
            checkpoint: self.run_dir.latest_checkpoint(),
        })
    }

    /// One update from the averaged gradients of `micro` and of all processes. Where loss and norm
    /// of it are known at once, nothing is updated with what is not finite.
    ///
    /// The state is moved, not borrowed: the optimizer updates in place only what nobody else
    /// holds.
    fn step(
        &self,
        state: State<O::Model>,
        micro: Vec<O::Batch>,
        interrupter: &Interrupter,
    ) -> Result<(State<O::Model>, Step), TrainError> {
        let State { model, mut optimizer, ema, best, step } = state;
        let mut gradients = GradientsAccumulator::new();
        let mut loss_sum = Reading::Known(0.0);
        let share = 1.0 / micro.len() as f32;
        for batch in micro {
            let loss = self.objective.loss(&model, batch)? * share;
            loss_sum = loss_sum.plus(Reading::of(loss.clone()));
            gradients.accumulate(&model, GradientsParams::from_grads(loss.backward(), &model));
        }
        let mut gradients = gradients.grads();
        // The means over all processes: from here on, all of them see the same numbers. What is still
        // on the device is averaged when it is read.
        let stop = f64::from(u8::from(interrupter.should_stop()));
        let (loss, stop) = match loss_sum {
            Reading::Known(loss) => {
                let means = self.world.mean(&[loss, stop])?;
                (Reading::Known(means[0]), means[1] > 0.0)
            }
            pending => (pending, self.world.mean(&[stop])?[0] > 0.0),
        };
        average_gradients(&model, &mut gradients, self.world.as_ref())?;
        let norm = global_norm(&model, &gradients);
        if let (Reading::Known(loss), Reading::Known(norm)) = (&loss, &norm)
            && !(loss.is_finite() && norm.is_finite())
        {
            let name = |path: &str| self.objective.parameter_name(path);
            return Err(TrainError::NotFinite {
                step: step + 1,
                loss: *loss,
                parameter: first_non_finite(&model, &gradients, &name),
                checkpoint: self.run_dir.latest_checkpoint(),
            });
        }
        if let Some(max_norm) = self.optim.clip_grad {
            clip(&model, &mut gradients, &norm, max_norm);
        }
        let model = optimizer.step(learning_rates(self.lr_at(step), &self.groups), model, gradients);
        let ema = ema.map(|ema| ema.update(&model.valid()));
        let state = State { model, optimizer, ema, best, step: step + 1 };
        Ok((state, Step { loss, grad_norm: norm, stop }))
    }

    /// The learning rate of update number `step`.
    fn lr_at(&self, step: u64) -> f64 {
        let schedule = CosineSchedule {
            peak: self.optim.peak_lr(self.plan.effective_batch),
            min_lr: self.optim.min_lr,
            warmup_epochs: self.optim.warmup_epochs,
            epochs: self.train.epochs as f64,
        };
        schedule.lr_at(self.plan.epoch(step))
    }

    fn report(&self, step: u64, interval: &Interval) -> StepReport {
        let (steps, seconds) = (interval.steps as f64, interval.since.elapsed().as_secs_f64());
        StepReport {
            step,
            epoch: self.plan.epoch(step),
            loss: interval.loss / steps,
            lr: self.lr_at(step - 1),
            grad_norm: interval.grad_norm / steps,
            img_per_s: steps * self.plan.effective_batch as f64 / seconds,
            data_wait: interval.waiting.as_secs_f64() / seconds,
            peak_rss_mib: peak_rss_mib(),
            eta_s: (self.plan.total_steps - step) as f64 * seconds / steps,
        }
    }

    fn evaluation_is_due(&self, step: u64, ended: bool) -> bool {
        self.evaluation.is_some_and(|plan| due(step, plan.every_epochs * self.plan.steps_per_epoch(), ended))
    }

    fn has_seen_enough(&self, state: &State<O::Model>) -> bool {
        let patience = self.evaluation.and_then(|plan| plan.patience);
        patience.zip(state.best).is_some_and(|(patience, best)| best.since >= patience)
    }

    /// Evaluates the network and its moving average, and keeps the better one if it is the best so
    /// far.
    fn evaluate(
        &self,
        state: &mut State<O::Model>,
        log: Option<&mut RunLog>,
        progress: &mut dyn Progress,
    ) -> Result<(), TrainError> {
        let model = state.model.valid();
        let Some(plain) = self.objective.evaluate(&model)? else { return Ok(()) };
        let averaged = match &state.ema {
            Some(ema) => self.objective.evaluate(ema.model())?,
            None => None,
        };
        let named = |prefix: &str, evaluation: &Evaluation| {
            let metrics = evaluation.metrics.iter().map(|(name, value)| (format!("{prefix}{name}"), *value));
            metrics.collect::<Vec<_>>()
        };
        let mut metrics = named("val_", &plain);
        metrics.extend(averaged.iter().flat_map(|evaluation| named("ema_val_", evaluation)));
        if let Some(log) = log {
            log.evaluation(state.step, self.plan.epoch(state.step), &metrics)?;
        }
        progress.evaluation(state.step, &metrics);

        let ema = averaged.as_ref().is_some_and(|averaged| averaged.score > plain.score);
        let score = averaged.map_or(plain.score, |averaged| averaged.score.max(plain.score));
        match &mut state.best {
            Some(best) if score <= best.score => best.since += 1,
            best => {
                *best = Some(Best { score, step: state.step, ema, since: 0 });
                let winner = state.ema.as_ref().filter(|_| ema).map_or(&model, Ema::model);
                if self.world.is_leader() {
                    self.save_best(state, winner)?;
                }
            }
        }
        Ok(())
    }

    fn save_best(&self, state: &State<O::Model>, winner: &O::Model) -> Result<(), TrainError> {
        let name = |path: &str| self.objective.parameter_name(path);
        write_best(&self.run_dir, &self.run_state(state), |folder| {
            Ok(StateDict::of_module(winner, &name).save(&folder.join(MODEL_FILE))?)
        })?;
        Ok(())
    }

    fn run_state(&self, state: &State<O::Model>) -> RunState {
        RunState {
            position: self.plan.position(state.step),
            best: state.best,
            processes: self.plan.processes,
        }
    }

    fn draw(&self, state: &State<O::Model>, log: &mut RunLog) -> Result<Option<PathBuf>, TrainError> {
        let Some((tag, picture)) = self.objective.picture(&state.model.valid())? else { return Ok(None) };
        let path = self.run_dir.samples().join(format!("step-{:08}.png", state.step));
        picture.save(&path).map_err(|error| TrainError::Picture { path: path.clone(), error })?;
        log.picture(tag, &picture, state.step)?;
        Ok(Some(path))
    }

    /// Writes a checkpoint, on rank 0, once it is sure that all processes have what it says.
    fn save(&self, state: &State<O::Model>) -> Result<PathBuf, TrainError> {
        require_equal(&state.model, self.world.as_ref(), state.step)?;
        self.write(state)
    }

    fn write(&self, state: &State<O::Model>) -> Result<PathBuf, TrainError> {
        if !self.world.is_leader() {
            return Ok(self.run_dir.checkpoint(state.step));
        }
        let name = |path: &str| self.objective.parameter_name(path);
        let path = write_checkpoint(&self.run_dir, &self.run_state(state), |folder| {
            StateDict::of_module(&state.model, &name).save(&folder.join(MODEL_FILE))?;
            if let Some(ema) = &state.ema {
                StateDict::of_module(ema.model(), &name).save(&folder.join(EMA_FILE))?;
            }
            let moments = save_optimizer(&state.optimizer, &state.model, &name)?;
            Ok(moments.save(&folder.join(OPTIMIZER_FILE))?)
        })?;
        self.run_dir.keep_last(self.train.keep_last)?;
        Ok(path)
    }
}

/// Whether something done every `interval` steps (0: at the end only) is due.
fn due(step: u64, interval: u64, last: bool) -> bool {
    last || (interval > 0 && step.is_multiple_of(interval))
}
