//! A run from its configuration to its end: data, plan, network or checkpoint, run directory, training.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::train::Interrupter;
use checkpoint::{Allow, Checkpoint, RunDir, RunState, read_state};
use data::{ImageList, Loader, Sampling, TrainingBatches};

use crate::continuation::{changes_since, keep_best};
use crate::error::TrainError;
use crate::experiment::{Context, Data, Experiment, Network, Settings, Weights};
use crate::groups::{ParameterGroup, parameter_groups};
use crate::images;
use crate::objective::{BoxError, Objective};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_directory::{Resume, open_run_directory, resume_point};
use crate::saving::{Beginning, StateParts};
use crate::summary::Summary;
use crate::train::{Outcome, Trainer};
use crate::trial::Rehearsal;

/// A run whose data are open and whose length is known.
///
/// ```no_run
/// # fn run<E: trainer::Experiment>(experiment: E) -> Result<(), trainer::TrainError> {
/// use burn::tensor::Device;
/// use trainer::{Context, Run, Start};
///
/// let run = Run::open(experiment, Context::single(&Device::flex()), Start::new("runs/mine"))?;
/// println!("{}", run.summary()?);
/// let outcome = run.begin()?.train_quietly()?;
/// println!("{:?}", outcome.checkpoint);
/// # Ok(())
/// # }
/// ```
pub struct Run<E: Experiment> {
    experiment: E,
    context: Context,
    start: Start,
    resumed: Option<PathBuf>,
    data: Data,
    images: ImageList,
    /// Whether they are not those that the run began with.
    changed: bool,
    loader: Loader,
    plan: Plan,
    groups: Vec<ParameterGroup>,
}

/// What opens the checkpoint that a run starts from.
pub type ReadCheckpoint = dyn Fn(&Path, &Allow) -> Result<Checkpoint, BoxError>;

/// How a run begins.
pub struct Start {
    /// The run directory.
    pub run_dir: PathBuf,
    /// What to go on from, if the run is not new.
    pub resume: Option<Resume>,
    /// Whether it goes on although images are new, gone or changed.
    pub allow_changed_data: bool,
    /// The checkpoint whose weights a new run starts from.
    pub init: Option<PathBuf>,
    /// Which differences between that checkpoint and the network are no errors.
    pub allow: Allow,
    /// Reads it; by default [`Checkpoint::open`], which knows this project's own.
    pub read: Box<ReadCheckpoint>,
}

impl Start {
    /// A new run with fresh weights, in a directory that is new or empty.
    pub fn new(run_dir: impl Into<PathBuf>) -> Self {
        let read = Box::new(|path: &Path, _: &Allow| Ok(Checkpoint::open(path)?));
        Self {
            run_dir: run_dir.into(),
            resume: None,
            allow_changed_data: false,
            init: None,
            allow: Allow::default(),
            read,
        }
    }
}

impl<E: Experiment> Run<E> {
    /// Checks the configuration, opens the data, as the run to go on with divided them, and plans the
    /// run.
    ///
    /// # Errors
    /// Settings that are not allowed, data that cannot be used, do not fill one update, or have changed
    /// since the run began without being allowed to.
    pub fn open(mut experiment: E, context: Context, start: Start) -> Result<Self, TrainError> {
        experiment.check()?;
        experiment.settings().check()?;
        let communicator = context.communicator.as_ref();
        let resumed = resume_point(start.resume.as_ref(), &start.run_dir, communicator)?;
        let recorded = images::recorded(resumed.as_deref(), communicator)?;
        let mut data = experiment.open_data(recorded.as_ref()).map_err(TrainError::Experiment)?;
        let mut changed = false;
        let present = images::present(&experiment, &data, communicator)?;
        if let Some(checkpoint) = &resumed {
            let holds_out = experiment.settings().data.val_fraction.is_some();
            let may_change = start.allow_changed_data;
            let changes =
                images::require_same(checkpoint, recorded.as_ref(), &present, holds_out, may_change)?;
            if !changes.is_empty() {
                data.remarks.push(("changed", format!("since the run began: {changes}")));
                changed = true;
            }
        }
        if experiment.settings().data.sampling == Sampling::Balanced {
            let shown = "balanced: every class is shown equally often in an epoch";
            data.remarks.push(("sampling", shown.to_owned()));
        }
        let input = experiment.input(&context.device).map_err(TrainError::Experiment)?;
        let settings = experiment.settings();
        let loader = TrainingBatches {
            data: settings.data,
            augment: settings.augment,
            seed: settings.seed,
            batch_size: settings.train.batch_size,
            accumulate: settings.train.accumulate,
            channels: input.channels,
            raw: input.normalize_on_device,
            shard: context.shard(),
        }
        .loader(&data.training)?;
        let plan = plan(&settings, &data, &loader, context.communicator.world_size())?;
        if changed && communicator.is_leader() {
            data.remarks.extend(images::moved(resumed.as_deref(), &plan)?.map(|moved| ("changed", moved)));
        }
        let zeros = experiment.network(Weights::Zero, &context.device).map_err(TrainError::Experiment)?;
        let rule = |name: &str, shape: &[usize]| experiment.rule(name, shape);
        let groups = parameter_groups(&zeros, &E::Objective::parameter_name, &rule);
        Ok(Self { experiment, context, start, resumed, data, images: present, changed, loader, plan, groups })
    }

    /// The configuration, completed by the data.
    pub fn experiment(&self) -> &E {
        &self.experiment
    }

    /// What the run is going to do and what it will cost, if it goes on from a checkpoint, from there on.
    /// A few steps are timed for it, with a network and batches of their own. Processes that share a machine
    /// should do it together, or they see it idle.
    ///
    /// # Errors
    /// A configuration that describes no network, a checkpoint that cannot be read.
    pub fn summary(&self) -> Result<Summary<E::Cost>, TrainError> {
        let cost = self.experiment.cost().map_err(TrainError::Experiment)?;
        // Others may not see the files of rank 0.
        let resumed = self.resumed.as_deref().filter(|_| self.context.communicator.is_leader());
        let from = resumed.map(read_state).transpose()?;
        // Scores over other images do not count.
        let from = from.map(|state| match self.changed {
            true => RunState { best: None, evaluated: None, ..state },
            false => state,
        });
        let outlook = Rehearsal {
            experiment: &self.experiment,
            data: &self.data,
            loader: &self.loader,
            groups: &self.groups,
            plan: &self.plan,
            device: &self.context.device,
        }
        .outlook(&cost, from.as_ref());
        let (words, settings) = (self.experiment.describe(&self.data), self.experiment.settings());
        Ok(Summary::new(cost, &settings, &self.data, words, &self.plan, &self.groups, outlook))
    }

    /// Builds the network or reads the checkpoint to go on from, then makes the run directory.
    ///
    /// # Errors
    /// A checkpoint that does not fit, a run directory that is in use, an objective that cannot use
    /// the data.
    pub fn begin(mut self) -> Result<Training<E>, TrainError> {
        let (communicator, resumed) = (self.context.communicator.as_ref(), self.resumed.take());
        if let Some(init) = self.experiment.init_mut() {
            init.clone_from(&self.start.init);
        }
        let objective =
            self.experiment.objective(&self.data, &self.context).map_err(TrainError::Experiment)?;
        let First { network, fresh, note } =
            self.network(resumed.is_some()).map_err(TrainError::Experiment)?;
        let mut notes = Vec::from_iter(note);
        if let Some(checkpoint) = resumed.as_deref().filter(|_| communicator.is_leader()) {
            notes.extend(changes_since(checkpoint, &self.experiment, &self.plan)?);
        }
        let run_dir = open_run_directory(
            &self.experiment,
            &self.images,
            &self.start.run_dir,
            self.start.resume.is_some(),
            resumed.as_deref(),
            communicator,
        )?;
        let (optim, ema) = (self.experiment.settings().optim, self.experiment.ema());
        let parts = StateParts { groups: &self.groups, optim, ema };
        let beginning = match &resumed {
            None => parts.fresh(network),
            Some(checkpoint) => {
                let (changed, world) = (self.changed, &self.context.communicator);
                let beginning =
                    parts.resumed::<E::Objective>(network, checkpoint, &self.plan, changed, world)?;
                let best = keep_best(beginning.best, checkpoint, &run_dir, world.as_ref())?;
                if let (Some(lost), None) = (beginning.best, best) {
                    notes.push(format!(
                        "the best network, of step {}, is gone: the best is found anew",
                        lost.step
                    ));
                }
                Beginning { best, ..beginning }
            }
        };
        let Settings { optim, train, log, .. } = self.experiment.settings();
        let trainer = Trainer {
            objective,
            optim: optim.clone(),
            train: train.clone(),
            log: log.clone(),
            plan: self.plan,
            evaluation: self.experiment.evaluation(),
            groups: self.groups,
            run_dir,
            communicator: self.context.communicator,
        };
        Ok(Training { trainer, beginning, loader: self.loader, start: self.start, resumed, fresh, notes })
    }

    /// What training starts from. A run that goes on finds its weights in its own checkpoint, and other
    /// processes get theirs from rank 0.
    fn network(&self, resumes: bool) -> Result<First<E>, BoxError> {
        let start = &self.start;
        let network = |weights| self.experiment.network(weights, &self.context.device);
        match start.init.as_ref().filter(|_| self.context.communicator.is_leader()) {
            _ if resumes => Ok(First::of(network(Weights::Zero)?)),
            None => Ok(First::of(network(Weights::Fresh)?)),
            Some(path) => {
                let source = (start.read)(path, &start.allow).map_err(|error| cannot_start(path, error))?;
                let root = self.experiment.settings().data.root()?;
                let note = images::known_to(&source, &self.images, root)?;
                let started = self.experiment.initialize(network(Weights::Fresh)?, source, &start.allow);
                let (network, fresh) = started.map_err(|error| cannot_start(path, error))?;
                Ok(First { network, fresh, note })
            }
        }
    }
}

/// A network, the names of what stays fresh beside the weights of a checkpoint, and what is to be known of
/// that.
struct First<E: Experiment> {
    network: Network<E>,
    fresh: Vec<String>,
    note: Option<String>,
}

impl<E: Experiment> First<E> {
    fn of(network: Network<E>) -> Self {
        Self { network, fresh: Vec::new(), note: None }
    }
}

fn cannot_start(path: &Path, error: BoxError) -> BoxError {
    format!("cannot start from {}: {error}", path.display()).into()
}

/// Length of the run; an error when the data do not fill one update.
fn plan(settings: &Settings, data: &Data, loader: &Loader, processes: usize) -> Result<Plan, TrainError> {
    let plan = Plan::new(settings.train, loader.batches_per_epoch(), processes);
    if plan.steps_per_epoch() == 0 {
        return Err(TrainError::TooFewImages {
            effective_batch: plan.effective_batch,
            batch_size: settings.train.batch_size,
            accumulate: settings.train.accumulate,
            processes,
            images: data.training.len(),
        });
    }
    Ok(plan)
}

/// A run that is ready to train.
pub struct Training<E: Experiment> {
    trainer: Trainer<E::Objective>,
    beginning: Beginning<Network<E>>,
    loader: Loader,
    start: Start,
    resumed: Option<PathBuf>,
    fresh: Vec<String>,
    notes: Vec<String>,
}

impl<E: Experiment> Training<E> {
    /// How it was told to begin.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The checkpoint that the run goes on from.
    pub fn resumed(&self) -> Option<&Path> {
        self.resumed.as_deref()
    }

    /// Parameters that start fresh although the run starts from a checkpoint.
    pub fn fresh(&self) -> &[String] {
        &self.fresh
    }

    /// What is to be known of how the run begins, a sentence each: images to validate on that its checkpoint
    /// was trained on, settings that make its updates other ones, a best network that is gone.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where everything is written.
    pub fn run_dir(&self) -> &RunDir {
        &self.trainer.run_dir
    }

    /// Updates at which the run ends.
    pub fn total_steps(&self) -> u64 {
        self.trainer.plan.total_steps
    }

    /// Trains to the end, or until the interrupter says stop.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn train(
        self,
        progress: &mut dyn Progress,
        interrupter: &Interrupter,
    ) -> Result<Trained, TrainError> {
        let Self { trainer, beginning, loader, .. } = self;
        let position = trainer.plan.position(beginning.state.step);
        let batches = loader.batches(position.epoch, position.batch);
        let outcome = trainer.run(beginning, batches, progress, interrupter)?;
        let skipped = all_skipped(&loader, &trainer)?;
        Ok(Trained { outcome, skipped })
    }

    /// Trains to the end without a display.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn train_quietly(self) -> Result<Outcome, TrainError> {
        let mut silent = crate::progress::Silent;
        Ok(self.train(&mut silent, &Interrupter::new())?.outcome)
    }
}

/// What came out of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// How it ended.
    pub outcome: Outcome,
    /// Unreadable images that any process met and left out: name and reason.
    pub skipped: BTreeSet<(String, String)>,
}

/// Unreadable images that any process met.
fn all_skipped<O: Objective>(
    loader: &Loader,
    trainer: &Trainer<O>,
) -> Result<BTreeSet<(String, String)>, TrainError> {
    let own = serde_json::to_vec(&loader.corrupt()).unwrap_or_default();
    let mut all = BTreeSet::new();
    for found in trainer.communicator.all_gather(&own)? {
        let found: Vec<(String, String)> =
            serde_json::from_slice(&found).map_err(|_| distributed::DistributedError::Disagreement)?;
        all.extend(found);
    }
    Ok(all)
}
