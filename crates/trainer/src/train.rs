//! The loop: updates to the end of the plan, and what is due in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use burn::train::Interrupter;
use checkpoint::{Best, CheckpointError, RunDir, RunLock};
use distributed::Communicator;
use host::{DeviceFailure, DeviceName, GpuMemory, Lists, caught};

use crate::broadcast::{broadcast_parameters, require_equal};
use crate::curves::draw_curves;
use crate::error::TrainError;
use crate::evaluation::{EvaluationPlan, is_best, judge};
use crate::groups::ParameterGroup;
use crate::health::HealthPlan;
use crate::interval::Interval;
use crate::log::RunLog;
use crate::memory::peak_rss_mib;
use crate::objective::{BoxError, Objective, Picture};
use crate::plan::Plan;
use crate::progress::{Progress, StepReport};
use crate::reducer::Reducer;
use crate::saving::{Beginning, Copier, Judged};
use crate::schedule::CosineSchedule;
use crate::sections::{LogConfig, OptimConfig, TrainConfig};
use crate::snapshot::{Attempt, Place, Snapshot, Writer};
use crate::spike::SpikeGuard;
use crate::stop::StopSignal;
use crate::update::{State, Surroundings, UpdateReport, Updater};
use crate::watchdog::{BatchesWaitFor, Doing, Watchdog};
use health::Looks;

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
    /// When to look at the health of the run; never without a plan for it.
    pub health: Option<HealthPlan>,
    /// Where everything is written.
    pub run_dir: RunDir,
    /// The right to write there, on rank 0.
    pub lock: Option<RunLock>,
    /// What batches wait for, in words, for when they do not come.
    pub batches_wait_for: Arc<BatchesWaitFor>,
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
    /// What could not be written, or went wrong otherwise without stopping the run.
    pub troubles: Vec<String>,
}

impl<O: Objective> Trainer<O> {
    /// Trains to the end of the plan, or until the interrupter says stop; then writes a last
    /// evaluation, picture and checkpoint. What was due at the checkpoint that a run goes on from and has
    /// not happened is made up for first. `batches` start at the position of the state and never end. All
    /// processes begin with the weights of rank 0 and stop at the same step.
    ///
    /// A run that is interrupted drops the update or the evaluation that it is at.
    ///
    /// # Errors
    /// Unusable data, a loss or gradient that is not finite (no checkpoint is written with it), a run
    /// directory that cannot be written at the beginning or at the end, or another process that has ended. A
    /// checkpoint, a picture or a record that cannot be written in between is said, and tried again when the
    /// next one is due.
    pub fn run<E: Into<BoxError>>(
        &self,
        beginning: Beginning<O::Model>,
        mut batches: impl Iterator<Item = Result<O::Batch, E>>,
        progress: &mut dyn Progress,
        interrupter: &Interrupter,
    ) -> Result<Outcome, TrainError> {
        let Beginning { mut state, best, evaluated, checkpoint, recent, unusual } = beginning;
        let step = state.step;
        let (log, writer) = match self.communicator.is_leader() {
            true => {
                // Of a process that was killed before it came to that.
                self.run_dir.keep_last(self.train.keep_last)?;
                let log = RunLog::open(&self.run_dir, state.step, evaluated, &progress.screen())?;
                (Some(log), Some(Writer::start(&self.run_dir, self.train.keep_last)))
            }
            false => (None, None),
        };
        state.model = broadcast_parameters(state.model, self.communicator.as_ref(), &O::parameter_name)?;
        progress.start(&self.plan, state.step);
        let watchdog = self.watchdog(progress);
        let saved = self.has_checkpoint(state.step)?.then_some(state.step);
        let asked = || interrupter.should_stop();
        let stop = StopSignal::new(&asked, self.communicator.as_ref());
        let mut session = Session {
            trainer: self,
            device: device_of(&state.model),
            log,
            writer,
            unwritten_best: None,
            watchdog,
            spikes: SpikeGuard::new(self.train.on_spike, self.train.spike_factor, &recent, unusual),
            lists: self.objective.lists(&device_of(&state.model)),
            reducer: Reducer::new(Arc::clone(&self.communicator), self.train.reduce_precision),
            progress,
            interrupter,
            stop: &stop,
            interval: Interval::start(),
            saved,
            saved_at: Instant::now(),
            written: saved,
            failure: None,
            checkpoint,
            evaluated,
            looks: self.looks(step)?,
            outcome: Outcome { step: state.step, best, ..Outcome::default() },
        };
        let trained = caught(session.device_name(), || session.train(state, &mut batches));
        trained.unwrap_or_else(|failure| Err(session.without_device(failure)))
    }

    /// Whether the run directory has a checkpoint of this step, as rank 0 sees it: a run may go on from one
    /// of another directory.
    fn has_checkpoint(&self, step: u64) -> Result<bool, TrainError> {
        let here = self.communicator.is_leader() && self.run_dir.checkpoint(step).exists();
        Ok(!self.communicator.broadcast_text(if here { "here" } else { "" })?.is_empty())
    }

    fn watchdog(&self, progress: &dyn Progress) -> Watchdog {
        let (patience, world) = (Duration::from_secs(self.log.stall_seconds), &self.communicator);
        let rank = (world.world_size() > 1).then(|| world.rank());
        Watchdog::start(patience, rank, &self.batches_wait_for, progress.screen())
    }

    fn updater<'a>(&'a self, lists: Lists, device: &'a Device, by_layer: bool) -> Updater<'a, O> {
        Updater {
            objective: &self.objective,
            lists,
            clip_grad: self.optim.clip_grad,
            device,
            accumulate: self.plan.accumulate,
            by_layer,
        }
    }

    /// The learning rate of the update after `step` others.
    fn lr_at(&self, step: u64) -> f64 {
        let schedule = CosineSchedule::of(&self.optim, &self.train, self.plan.effective_batch);
        schedule.lr_at(self.plan.epoch(step))
    }
}

/// A run under way.
struct Session<'a, O: Objective> {
    trainer: &'a Trainer<O>,
    /// Where the network lies.
    device: Device,
    /// The records of the run, on rank 0.
    log: Option<RunLog>,
    /// What writes its states, on rank 0.
    writer: Option<Writer>,
    /// The best network, if it could not be written yet.
    unwritten_best: Option<Snapshot>,
    watchdog: Watchdog,
    spikes: SpikeGuard,
    /// What computes on all parameters at once.
    lists: Lists,
    reducer: Reducer,
    progress: &'a mut dyn Progress,
    interrupter: &'a Interrupter,
    /// Whether any process was asked to stop.
    stop: &'a StopSignal<'a>,
    interval: Interval,
    /// Updates of the last checkpoint that was to be written, if it says all that there is to say of them.
    saved: Option<u64>,
    /// When that was.
    saved_at: Instant,
    /// Updates of the last checkpoint that was written.
    written: Option<u64>,
    /// Why the last thing that could not be written could not.
    failure: Option<CheckpointError>,
    /// The last checkpoint that was written; the run may have begun with it.
    checkpoint: Option<PathBuf>,
    /// Updates after which the network was evaluated last.
    evaluated: Option<u64>,
    looks: Looks,
    /// What there will be to tell, as far as the run has come.
    outcome: Outcome,
}

impl<O: Objective> Session<'_, O> {
    /// Whether every update of the plan is made.
    fn has_ended(&self) -> bool {
        self.outcome.step >= self.trainer.plan.total_steps
    }

    fn goes_on(&self) -> bool {
        !self.has_ended() && self.outcome.interrupted.is_none() && !self.outcome.stopped_early
    }

    fn train<E: Into<BoxError>>(
        &mut self,
        mut state: State<O::Model>,
        batches: &mut impl Iterator<Item = Result<O::Batch, E>>,
    ) -> Result<Outcome, TrainError> {
        self.make_up(&state)?;
        while self.goes_on() {
            let report;
            (state, report) = self.update(state, batches)?;
            match report {
                Some(report) => self.after_update(&state, report)?,
                None => self.interrupt(),
            }
            self.keep(&state)?;
        }
        self.finish(&state)
    }

    fn device_name(&self) -> DeviceName {
        DeviceName::of(&self.device)
    }

    /// The error of a run whose device could not compute something.
    fn without_device(&mut self, failure: DeviceFailure) -> TrainError {
        let failure = Box::new(failure);
        self.since_last(TrainError::Device { step: self.outcome.step, failure, checkpoint: None })
    }

    /// What was due after the updates that are made already, and has not happened: an evaluation that
    /// failed or was interrupted, and, at the end of a run, its last picture. A run that had stopped
    /// because it no longer improved does not go on.
    fn make_up(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        if state.step == 0 {
            return Ok(());
        }
        self.look_if_due(state)?;
        self.evaluate_if_due(state)?;
        self.outcome.stopped_early = !self.has_ended() && self.has_seen_enough();
        self.look_if_due(state)?;
        if !self.goes_on() && self.outcome.interrupted.is_none() && !self.picture(state.step).exists() {
            self.draw(state)?;
        }
        self.save(state)
    }

    /// The next update from the next batches; no report of one that was dropped.
    fn update<E: Into<BoxError>>(
        &mut self,
        state: State<O::Model>,
        batches: &mut impl Iterator<Item = Result<O::Batch, E>>,
    ) -> Result<(State<O::Model>, Option<UpdateReport>), TrainError> {
        let (trainer, step, mut waited) = (self.trainer, state.step, Duration::ZERO);
        let mut next = || {
            let waiting = Instant::now();
            self.watchdog.moves(Doing::Batch(step + 1));
            let batch = batches.next();
            self.watchdog.moves(Doing::Update(step + 1));
            waited += waiting.elapsed();
            let batch = batch.ok_or(TrainError::OutOfData { step })?;
            batch.map_err(|error| TrainError::Data(error.into()))
        };
        // The clock of rank 0 decides.
        let minutes = trainer.train.checkpoint_every_minutes.filter(|_| trainer.communicator.is_leader());
        let save = || minutes.is_some_and(|minutes| self.saved_at.elapsed().as_secs_f64() >= 60.0 * minutes);
        let by_layer = self.is_watched(step + 1);
        let (reducer, spikes) = (&mut self.reducer, &mut self.spikes);
        let around = Surroundings { reducer, spikes, stop: self.stop, save: &save };
        let updater = trainer.updater(self.lists, &self.device, by_layer);
        let updated = updater.update(state, &mut next, trainer.lr_at(step), around);
        self.interval.waited(waited);
        updated.map_err(|error| self.since_last(error))
    }

    /// An error with the last checkpoint that was written before it.
    fn since_last(&mut self, error: TrainError) -> TrainError {
        self.wait_for_writer();
        error.since(self.checkpoint.clone())
    }

    /// What an update has to be logged and judged for.
    fn after_update(&mut self, state: &State<O::Model>, mut report: UpdateReport) -> Result<(), TrainError> {
        if report.wishes.stop {
            self.interrupt();
        }
        let wants_checkpoint = report.wishes.save;
        self.keep_layers(state.step, report.layers.take());
        self.outcome.step = state.step;
        match report.skipped {
            Some(spike) => {
                self.interval.skip();
                self.warn(format!("step {} is skipped: {spike}", state.step));
            }
            None => self.interval.add(state.step, report),
        }
        self.watchdog.moves(Doing::Writing);
        self.look_at_writer();
        self.progress.step(state.step);
        if self.has_ended() || state.step.is_multiple_of(self.trainer.log.every_steps) {
            self.write_log(state.step)?;
        }
        self.look_if_due(state)?;
        self.evaluate_if_due(state)?;
        self.look_if_due(state)?;
        if wants_checkpoint {
            self.save(state)?;
        }
        Ok(())
    }

    /// Takes note that the run is asked to stop.
    fn interrupt(&mut self) {
        self.stop.give();
        let another = || "another process was asked to stop".to_owned();
        self.outcome.interrupted = Some(self.interrupter.get_message().unwrap_or_else(another));
    }

    /// Log, picture and checkpoint, as far as they are due.
    fn keep(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let Trainer { log, train, .. } = self.trainer;
        let last = !self.goes_on();
        if last && !self.interval.is_empty() {
            self.write_log(state.step)?;
        }
        // Who interrupts a run does not want to wait for a picture that is not due.
        let at_end = last && self.outcome.interrupted.is_none();
        if due(state.step, log.pictures_every_steps, at_end) {
            self.draw(state)?;
        }
        if due(state.step, train.checkpoint_every_steps, last) {
            self.save(state)?;
        }
        Ok(())
    }

    /// Writes a checkpoint, unless there is one that says the same, or nothing to say yet.
    fn save(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        if self.saved == Some(state.step) || state.step == 0 {
            return Ok(());
        }
        self.watchdog.moves(Doing::Update(state.step));
        self.settle()?;
        require_equal(&state.model, self.trainer.communicator.as_ref(), state.step)?;
        self.watchdog.moves(Doing::Writing);
        self.hand_over(state)
    }

    /// Copies the state for the writer. It asks no other process.
    fn hand_over(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        (self.saved, self.saved_at) = (Some(state.step), Instant::now());
        if self.writer.is_none() {
            // Rank 0 writes it.
            self.has_written(state.step, self.trainer.run_dir.checkpoint(state.step));
            return Ok(());
        }
        self.written = None;
        if let Some(best) = self.unwritten_best.take() {
            self.write(best);
        }
        let pause = Instant::now();
        // Before anything is copied: there is memory for one copy.
        self.tell_writer(|writer| writer.wait_for(Place::Step));
        let snapshot = self.copier().checkpoint::<O>(state).map_err(|error| self.since_last(error))?;
        self.write(snapshot);
        self.interval.pause(pause.elapsed());
        Ok(())
    }

    fn copier(&self) -> Copier<'_> {
        let judged = Judged { best: self.outcome.best, evaluated: self.evaluated };
        let (recent, unusual) = (self.spikes.recent(), self.spikes.unusual_in_a_row());
        Copier { plan: &self.trainer.plan, judged, recent, unusual }
    }

    fn write(&mut self, snapshot: Snapshot) {
        self.tell_writer(|writer| writer.write(snapshot));
    }

    fn look_at_writer(&mut self) {
        self.tell_writer(Writer::look);
    }

    fn wait_for_writer(&mut self) {
        self.tell_writer(Writer::wait);
    }

    /// Tells the writer something, on rank 0, and takes note of what has become of earlier snapshots.
    fn tell_writer(&mut self, what: impl FnOnce(&mut Writer) -> Vec<Attempt>) {
        let done = self.writer.as_mut().map(what);
        done.into_iter().flatten().for_each(|attempt| self.take_note(attempt));
    }

    fn take_note(&mut self, Attempt { place, step, written, tidied }: Attempt) {
        if let Err(error) = tidied {
            self.warn(error.to_string());
        }
        match (written, place) {
            (Ok(path), Place::Step) => self.has_written(step, path),
            (Ok(_), Place::Best) => {}
            (Err((error, snapshot)), place) => {
                self.warn(error.to_string());
                self.failure = Some(error);
                if place == Place::Best && self.outcome.best.is_some_and(|best| best.step == step) {
                    self.unwritten_best = Some(snapshot);
                }
            }
        }
    }

    fn has_written(&mut self, step: u64, path: PathBuf) {
        self.written = Some(step);
        self.checkpoint = Some(path.clone());
        self.outcome.checkpoint = Some(path);
    }

    /// Says what went wrong and did not stop the run, at once, in the log, and at the end.
    fn warn(&mut self, sentence: String) {
        if self.trainer.communicator.is_leader() {
            self.progress.screen().warn(&sentence);
        }
        if let Some(log) = &mut self.log {
            log.warning(self.outcome.step, self.trainer.plan.epoch(self.outcome.step), &sentence);
        }
        self.outcome.troubles.push(sentence);
    }

    /// Reads losses and norms that are still on the device, before anything is built on them. Updates
    /// with what is not finite have been made by then, but not kept.
    fn settle(&mut self) -> Result<(), TrainError> {
        let communicator = self.trainer.communicator.as_ref();
        let settled = self.interval.settle(self.outcome.step, communicator, &mut self.spikes)?;
        let unusual = settled.map_err(|found| self.since_last(found.since(None)))?;
        match &unusual[..] {
            [] => {}
            [(step, spike)] => self.warn(format!("step {step}: {spike}")),
            // One line for all of an interval: a run that diverges has nothing else any more.
            [(first, spike), .., (last, _)] => self.warn(format!(
                "{} updates of steps {first} to {last} are beyond what is usual; in the first, {spike}",
                unusual.len()
            )),
        }
        Ok(())
    }

    fn write_log(&mut self, step: u64) -> Result<(), TrainError> {
        self.settle()?;
        if self.interval.has_skipped_all() {
            // Each was said, and there is nothing to take a mean of.
            self.interval = Interval::start();
            return Ok(());
        }
        let report = self.report(step);
        let first = self.outcome.losses.map_or(report.loss, |(first, _)| first);
        self.outcome.losses = Some((first, report.loss));
        if let Some(log) = &mut self.log {
            log.write(&report);
        }
        self.progress.report(&report);
        self.interval = Interval::start();
        Ok(())
    }

    fn report(&self, step: u64) -> StepReport {
        let (plan, means) = (&self.trainer.plan, self.interval.means());
        let gpu = GpuMemory::of(&self.device);
        StepReport {
            step,
            epoch: plan.epoch(step),
            loss: means.loss,
            lr: self.trainer.lr_at(step - 1),
            grad_norm: means.grad_norm,
            img_per_s: plan.effective_batch as f64 / means.seconds_per_step,
            data_wait: means.data_wait,
            peak_rss_mib: peak_rss_mib(),
            gpu_peak_allocated_mib: gpu.map(|memory| memory.peak_allocated >> 20),
            gpu_peak_reserved_mib: gpu.map(|memory| memory.peak_reserved >> 20),
            eta_s: (plan.total_steps - step) as f64 * means.seconds_per_step,
        }
    }

    /// Evaluates the network and its moving average where that is due, and keeps the better one if it is
    /// the best so far. What the run has come to is saved when that fails. A run that is interrupted
    /// leaves it to the one that goes on.
    fn evaluate_if_due(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let Some(evaluation) = self.trainer.evaluation else { return Ok(()) };
        let interval = evaluation.every_epochs * self.trainer.plan.steps_per_epoch();
        let due = due(state.step, interval, self.has_ended());
        if !due || self.evaluated == Some(state.step) || self.outcome.interrupted.is_some() {
            return Ok(());
        }
        self.settle()?;
        let pause = Instant::now();
        let judged = self.judge(state);
        self.interval.pause(pause.elapsed());
        if judged.is_err() && !self.interval.is_empty() {
            self.write_log(state.step)?;
        }
        if judged.is_err() && self.saved != Some(state.step) {
            // Perhaps of this process alone: without asking the others.
            self.hand_over(state)?;
            self.wait_for_writer();
        }
        judged.map_err(|error| error.since(self.checkpoint.clone()))
    }

    fn judge(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        let mut watch = |done, total| {
            self.watchdog.moves(Doing::Evaluation);
            self.progress.evaluating(done, total);
        };
        let device = DeviceName::of(&self.device);
        let judgement = caught(device, || judge(&self.trainer.objective, state, self.stop, &mut watch));
        let judgement = match judgement {
            Ok(judgement) => judgement.map_err(TrainError::Objective)?,
            Err(failure) => return Err(self.without_device(failure)),
        };
        if self.stop.was_given() {
            self.interrupt();
            return Ok(());
        }
        self.watchdog.moves(Doing::Writing);
        self.evaluated = Some(state.step);
        // A checkpoint of this step does not know of it.
        self.saved = None;
        let Some(judgement) = judgement else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.evaluation(state.step, self.trainer.plan.epoch(state.step), &judgement.metrics);
        }
        self.progress.evaluation(state.step, &judgement.metrics);
        if is_best(&mut self.outcome.best, &judgement, state.step) {
            self.unwritten_best = None;
            if self.writer.is_some() {
                let snapshot = self.copier().best::<O>(&judgement.winner, state.step);
                self.write(snapshot);
            }
        }
        self.outcome.stopped_early = !self.has_ended() && self.has_seen_enough();
        Ok(())
    }

    /// Whether something that the run has come to could not be written.
    fn lacks_anything(&self, step: u64) -> bool {
        let unwritten = self.written != Some(step) || self.unwritten_best.is_some();
        self.writer.is_some() && step > 0 && unwritten
    }

    fn has_seen_enough(&self) -> bool {
        let patience = self.trainer.evaluation.and_then(|plan| plan.patience);
        patience.zip(self.outcome.best).is_some_and(|(patience, best)| best.since >= patience)
    }

    fn picture(&self, step: u64) -> PathBuf {
        self.trainer.run_dir.samples().join(format!("step-{step:08}.png"))
    }

    /// Draws what the network does, on rank 0.
    fn draw(&mut self, state: &State<O::Model>) -> Result<(), TrainError> {
        self.settle()?;
        let path = self.picture(state.step);
        if self.log.is_none() {
            return Ok(());
        }
        self.outcome.picture = None;
        let pause = Instant::now();
        let objective = &self.trainer.objective;
        let picture = caught(DeviceName::of(&self.device), || objective.picture(&state.model.valid()));
        let picture = match picture {
            Ok(picture) => picture.map_err(TrainError::Objective)?,
            // The run has memory enough without.
            Err(failure) if failure.is_out_of_memory() => {
                self.warn(format!("no picture is drawn of step {}: {failure}", state.step));
                None
            }
            Err(failure) => return Err(self.without_device(failure)),
        };
        self.interval.pause(pause.elapsed());
        let Some(log) = &mut self.log else { return Ok(()) };
        let Some(Picture { tag, image }) = picture else { return Ok(()) };
        log.picture(tag, &image, state.step);
        match drawing::save(&image, &path) {
            Ok(()) => self.outcome.picture = Some(path),
            Err(error) => self.warn(TrainError::Picture { path, error }.to_string()),
        }
        Ok(())
    }

    /// Waits for what is being written, and tries once more what could not be.
    ///
    /// # Errors
    /// The last checkpoint or the best network cannot be written.
    fn finish(&mut self, state: &State<O::Model>) -> Result<Outcome, TrainError> {
        self.wait_for_writer();
        if self.lacks_anything(state.step) {
            self.hand_over(state)?;
            self.wait_for_writer();
        }
        if self.lacks_anything(state.step) {
            let path = self.trainer.run_dir.checkpoint(state.step);
            let reason = "is not written: the thread that writes has ended".to_owned();
            return Err(self.failure.take().unwrap_or(CheckpointError::None { path, reason }).into());
        }
        if self.trainer.communicator.is_leader() && self.outcome.step > 0 {
            match draw_curves(&self.trainer.run_dir) {
                Ok(curves) => self.outcome.curves = curves,
                Err(error) => self.warn(error.to_string()),
            }
        }
        self.progress.finish();
        let shortfalls = self.log.iter().flat_map(RunLog::shortfalls);
        self.outcome.troubles.extend(shortfalls);
        Ok(std::mem::take(&mut self.outcome))
    }
}

/// Where a network lies; one without a parameter, on this machine's processor.
fn device_of<M: Module>(model: &M) -> Device {
    model.devices().into_iter().next().unwrap_or_else(Device::flex)
}

/// Whether something done every `interval` updates (0: at the end only) is due.
fn due(step: u64, interval: u64, last: bool) -> bool {
    last || (interval > 0 && step.is_multiple_of(interval))
}

mod health;
#[cfg(test)]
mod tests;
