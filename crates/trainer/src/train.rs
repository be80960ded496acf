//! The loop: updates to the end of the plan, and what is due in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::train::Interrupter;
use checkpoint::{Best, RunDir};
use distributed::Communicator;

use crate::broadcast::broadcast_parameters;
use crate::error::TrainError;
use crate::evaluation::{EvaluationPlan, is_best, judge};
use crate::groups::ParameterGroup;
use crate::interval::Interval;
use crate::log::{RunLog, peak_rss_mib};
use crate::objective::{BoxError, Objective, Picture};
use crate::plan::Plan;
use crate::plot::draw_curves;
use crate::progress::{Progress, StepReport};
use crate::saving::Saver;
use crate::schedule::CosineSchedule;
use crate::sections::{LogConfig, OptimConfig, TrainConfig};
use crate::update::{State, UpdateReport, Updater};

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
    /// Length in updates.
    pub plan: Plan,
    /// When to evaluate; never without a plan for it.
    pub evaluation: Option<EvaluationPlan>,
    /// Where everything is written.
    pub run_dir: RunDir,
    /// The processes that train together. Rank 0 writes and shows; the others only compute.
    pub communicator: Arc<dyn Communicator>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Updates done.
    pub step: u64,
    /// The last checkpoint; none when there was nothing to do.
    pub checkpoint: Option<PathBuf>,
    /// The last picture.
    pub picture: Option<PathBuf>,
    /// Loss, accuracy and learning rate over the run, drawn.
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

impl<O: Objective> Trainer<O> {
    /// Trains to the end of the plan, or until the interrupter says stop; then writes a last
    /// evaluation, picture and checkpoint. `batches` start at the position of the state and never end.
    /// All processes begin with the weights of rank 0 and stop at the same step.
    ///
    /// # Errors
    /// Unusable data, a loss or gradient that is not finite (nothing is updated with it), a run
    /// directory that cannot be written, or another process that has ended.
    pub fn run<E: Into<BoxError>>(
        &self,
        mut state: State<O::Model>,
        best: Option<Best>,
        mut batches: impl Iterator<Item = Result<O::Batch, E>>,
        progress: &mut dyn Progress,
        interrupter: &Interrupter,
    ) -> Result<Outcome, TrainError> {
        let log = self.open_log(state.step)?;
        state.model = broadcast_parameters(state.model, self.communicator.as_ref(), &O::parameter_name)?;
        progress.start(self.plan.total_steps, state.step);
        let mut session = Session {
            trainer: self,
            log,
            progress,
            interval: Interval::start(),
            outcome: Outcome { step: state.step, best, ..Outcome::default() },
        };
        // A run that had stopped because it no longer improved does not go on.
        session.outcome.stopped_early = session.has_seen_enough();
        while session.goes_on() {
            let micro = session.next_batches(&mut batches)?;
            let (should_stop, lr) = (|| interrupter.should_stop(), self.lr_at(state.step));
            let report;
            (state, report) = kernels::on_pool(|| self.updater().update(state, micro, lr, &should_stop))
                .map_err(|error| error.since(self.run_dir.latest_checkpoint()))?;
            session.after_update(&state, report, interrupter)?;
        }
        session.finish()
    }

    /// The records of the run, on rank 0.
    fn open_log(&self, step: u64) -> Result<Option<RunLog>, TrainError> {
        if !self.communicator.is_leader() {
            return Ok(None);
        }
        self.run_dir.remove_leftovers()?;
        Ok(Some(RunLog::open(&self.run_dir, step)?))
    }

    fn updater(&self) -> Updater<'_, O> {
        Updater {
            objective: &self.objective,
            groups: &self.groups,
            clip_grad: self.optim.clip_grad,
            communicator: self.communicator.as_ref(),
        }
    }

    fn saver(&self) -> Saver<'_> {
        Saver {
            run_dir: &self.run_dir,
            plan: &self.plan,
            keep_last: self.train.keep_last,
            communicator: self.communicator.as_ref(),
        }
    }

    /// The learning rate of the update after `step` others.
    fn lr_at(&self, step: u64) -> f64 {
        let schedule = CosineSchedule {
            peak: self.optim.peak_lr(self.plan.effective_batch),
            min_lr: self.optim.min_lr,
            warmup_epochs: self.optim.warmup_epochs,
            epochs: self.train.epochs as f64,
        };
        schedule.lr_at(self.plan.epoch(step))
    }
}

/// A run under way.
struct Session<'a, O: Objective> {
    trainer: &'a Trainer<O>,
    /// The records of the run, on rank 0.
    log: Option<RunLog>,
    progress: &'a mut dyn Progress,
    interval: Interval,
    /// What there will be to tell, as far as the run has come.
    outcome: Outcome,
}

impl<O: Objective> Session<'_, O> {
    fn goes_on(&self) -> bool {
        let Outcome { step, interrupted, stopped_early, .. } = &self.outcome;
        *step < self.trainer.plan.total_steps && interrupted.is_none() && !stopped_early
    }

    /// The batches of the next update; the time that this takes is time spent waiting.
    fn next_batches<E: Into<BoxError>>(
        &mut self,
        batches: &mut impl Iterator<Item = Result<O::Batch, E>>,
    ) -> Result<Vec<O::Batch>, TrainError> {
        let (waiting, step) = (Instant::now(), self.outcome.step);
        let next = |_| match batches.next() {
            Some(batch) => batch.map_err(|error| TrainError::Data(error.into())),
            None => Err(TrainError::OutOfData { step }),
        };
        let micro = (0..self.trainer.plan.accumulate).map(next).collect();
        self.interval.waited(waiting.elapsed());
        micro
    }

    /// Everything that is due after an update: evaluation, log, picture, checkpoint.
    fn after_update(
        &mut self,
        state: &State<O::Model>,
        report: UpdateReport,
        interrupter: &Interrupter,
    ) -> Result<(), TrainError> {
        let Trainer { plan, log, train, .. } = self.trainer;
        if report.stop {
            let another = || "another process was asked to stop".to_owned();
            self.outcome.interrupted = Some(interrupter.get_message().unwrap_or_else(another));
        }
        self.interval.add(report);
        self.outcome.step = state.step;
        self.progress.step(state.step);

        let ended = state.step == plan.total_steps;
        // Also when interrupted: the run that goes on begins after this step.
        if let Some(evaluation) = self.trainer.evaluation
            && due(state.step, evaluation.every_epochs * plan.steps_per_epoch(), ended)
        {
            self.evaluate(state)?;
            self.outcome.stopped_early = !ended && self.has_seen_enough();
        }
        let last = ended || self.outcome.interrupted.is_some() || self.outcome.stopped_early;
        if last || state.step.is_multiple_of(log.every_steps) {
            self.write_log(state.step)?;
        }
        if due(state.step, log.pictures_every_steps, last) {
            self.draw(state)?;
        }
        if due(state.step, train.checkpoint_every_steps, last) {
            self.settle()?;
            self.outcome.checkpoint = Some(self.trainer.saver().save::<O>(state, self.outcome.best)?);
        }
        Ok(())
    }

    /// Reads losses and norms that are still on the device, before anything is built on them. Updates
    /// with what is not finite have been made by then, but not kept.
    fn settle(&mut self) -> Result<(), TrainError> {
        let settled = self.interval.settle(self.outcome.step, self.trainer.communicator.as_ref())?;
        settled.map_err(|(step, loss)| TrainError::NotFinite {
            step,
            loss,
            parameter: None,
            checkpoint: self.trainer.run_dir.latest_checkpoint(),
        })
    }

    fn write_log(&mut self, step: u64) -> Result<(), TrainError> {
        self.settle()?;
        let report = self.report(step);
        let first = self.outcome.losses.map_or(report.loss, |(first, _)| first);
        self.outcome.losses = Some((first, report.loss));
        if let Some(log) = &mut self.log {
            log.write(&report)?;
        }
        self.progress.report(&report);
        self.interval = Interval::start();
        Ok(())
    }

    fn report(&self, step: u64) -> StepReport {
        let (plan, means) = (&self.trainer.plan, self.interval.means());
        StepReport {
            step,
            epoch: plan.epoch(step),
            loss: means.loss,
            lr: self.trainer.lr_at(step - 1),
            grad_norm: means.grad_norm,
            img_per_s: plan.effective_batch as f64 / means.seconds_per_step,
            data_wait: means.data_wait,
            peak_rss_mib: peak_rss_mib(),
            eta_s: (plan.total_steps - step) as f64 * means.seconds_per_step,
        }
    }

    /// Evaluates the network and its moving average, and keeps the better one if it is the best so
    /// far.
    fn evaluate(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        self.settle()?;
        let (pause, best) = (Instant::now(), self.outcome.best);
        if let Err(error) = self.judge(state) {
            // Perhaps of this process alone: without asking the others.
            self.trainer.saver().save_unchecked::<O>(state, best)?;
            return Err(error);
        }
        self.interval.pause(pause.elapsed());
        Ok(())
    }

    fn judge(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let judgement = judge(&self.trainer.objective, state).map_err(TrainError::Objective)?;
        let Some(judgement) = judgement else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.evaluation(state.step, self.trainer.plan.epoch(state.step), &judgement.metrics)?;
        }
        self.progress.evaluation(state.step, &judgement.metrics);
        if is_best(&mut self.outcome.best, &judgement, state.step) {
            let (winner, best) = (&judgement.winner, self.outcome.best);
            self.trainer.saver().save_best::<O>(winner, state.step, best)?;
        }
        Ok(())
    }

    fn has_seen_enough(&self) -> bool {
        let patience = self.trainer.evaluation.and_then(|plan| plan.patience);
        patience.zip(self.outcome.best).is_some_and(|(patience, best)| best.since >= patience)
    }

    /// Draws what the network does, on rank 0.
    fn draw(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        self.outcome.picture = None;
        let picture = self.trainer.objective.picture(&state.model.valid()).map_err(TrainError::Objective)?;
        let Some(Picture { tag, image }) = picture else { return Ok(()) };
        let path = self.trainer.run_dir.samples().join(format!("step-{:08}.png", state.step));
        image.save(&path).map_err(|error| TrainError::Picture { path: path.clone(), error })?;
        log.picture(tag, &image, state.step)?;
        self.outcome.picture = Some(path);
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome, TrainError> {
        self.progress.finish();
        if self.trainer.communicator.is_leader() && self.outcome.checkpoint.is_some() {
            self.outcome.curves = Some(draw_curves(&self.trainer.run_dir)?);
        }
        Ok(self.outcome)
    }
}

/// Whether something done every `interval` updates (0: at the end only) is due.
fn due(step: u64, interval: u64, last: bool) -> bool {
    last || (interval > 0 && step.is_multiple_of(interval))
}
