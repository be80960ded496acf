//! A run from its configuration to its end: data, plan, network or checkpoint, run directory, training.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::train::Interrupter;
use checkpoint::{Checkpoint, RunDir, RunState};
use data::{ImageList, Loader, Sampling, TrainingBatches};
use host::{Lists, Precision};

use crate::continuation::{changes_since, keep_best};
use crate::elastic::keep_update;
use crate::error::TrainError;
use crate::experiment::{Context, Data, Experiment, Fit, Network, Settings, Weights};
use crate::groups::{ParameterGroup, parameter_groups};
use crate::health::HealthPlan;
use crate::images;
use crate::machine;
use crate::objective::Objective;
use crate::outlook::{Left, Outlook};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::results::{self, Results};
use crate::run_directory::{ResumePoint, open_run_directory, require_directory, resume_point};
use crate::saving::{Beginning, StateParts, broadcast_state};
use crate::start::{Init, Start, adopt, cannot_start, read_source};
use crate::summary::{Facts, Origin, Summary};
use crate::train::{Outcome, Trainer};
use crate::trial::Rehearsal;
use crate::tune::{BatchSizes, RateRange, RateTrial};
use crate::upload::memory_pool;

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
    /// What the checkpoint that it goes on from says of itself.
    state: Option<RunState>,
    /// What is wrong with newer checkpoints.
    damaged: Vec<String>,
    /// The network with the weights of the checkpoint that a new run starts from, on rank 0.
    initialized: Option<Initialized<E>>,
    data: Data,
    images: ImageList,
    /// Whether they are not those that the run began with.
    changed: bool,
    loader: Loader,
    plan: Plan,
    groups: Vec<ParameterGroup>,
    notes: Vec<String>,
}

/// A network with the weights of a checkpoint, and the names of what stays fresh beside them.
struct Initialized<E: Experiment> {
    network: Network<E>,
    fresh: Vec<String>,
}

impl<E: Experiment> Run<E> {
    /// Checks the configuration, completes it by the checkpoint that the run starts from or goes on from,
    /// opens the data, as the run to go on with divided them, and plans the run.
    ///
    /// # Errors
    /// Settings that are not allowed, a checkpoint that cannot be read or does not fit, data that cannot be
    /// used, do not fill one update, or have changed since the run began without being allowed to.
    pub fn open(mut experiment: E, context: Context, start: Start) -> Result<Self, TrainError> {
        experiment.check()?;
        experiment.settings().check()?;
        let communicator = context.communicator.as_ref();
        let ResumePoint { checkpoint: resumed, damaged } =
            resume_point(start.resume.as_ref(), &start.run_dir, communicator)?;
        let state = resumed.as_deref().map(|path| broadcast_state(path, communicator)).transpose()?;
        let source = read_source(&start, resumed.as_deref(), &context)?;
        adopt(&mut experiment, source.as_ref(), resumed.as_deref(), &context)?;
        let processes = communicator.world_size();
        let kept = match &state {
            Some(state) => keep_update(experiment.train_mut(), state, processes)?,
            None => None,
        };
        let pairs = kept.as_ref().filter(|_| experiment.settings().augment.mixes());
        let pairs =
            pairs.map(|_| "mixup and CutMix pair the images of a batch: they are other pairs now".to_owned());
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
        data.remarks.extend(data.left_out());
        let loader = loader(&experiment, &data, &context)?;
        let plan = plan(&experiment.settings(), &data, &loader, processes)?;
        let plan = state.as_ref().map_or(plan, |state| plan.going_on(state));
        if let Some(state) = state.as_ref().filter(|_| changed) {
            data.remarks.extend(images::moved(state, &plan).map(|moved| ("changed", moved)));
        }
        let zeros = experiment.network(Weights::Zero, &context.device).map_err(TrainError::Experiment)?;
        let rule = |name: &str, shape: &[usize]| experiment.rule(name, shape);
        let groups = parameter_groups(&zeros, &E::Objective::parameter_name, &rule);
        let mut run = Self {
            experiment,
            context,
            start,
            resumed,
            state,
            damaged,
            initialized: None,
            data,
            images: present,
            changed,
            loader,
            plan,
            groups,
            notes: kept.into_iter().chain(pairs).collect(),
        };
        run.look_back(source)?;
        Ok(run)
    }

    /// Puts the weights of a checkpoint into the network, so that a plan can say what stays fresh, and notes
    /// what is to be known of what the run builds on.
    fn look_back(&mut self, source: Option<Checkpoint>) -> Result<(), TrainError> {
        if let Some(checkpoint) = self.resumed.as_deref().filter(|_| self.context.communicator.is_leader()) {
            self.notes.extend(changes_since(checkpoint, &self.experiment, &self.plan)?);
        }
        let (Some(source), Some(path)) = (source, self.start.init.checkpoint()) else { return Ok(()) };
        let root = self.experiment.settings().data.root()?;
        let known = images::known_to(&source, &self.images, root).map_err(TrainError::Experiment)?;
        let seen = images::seen_otherwise(&source, self.experiment.settings().data);
        let seen = seen.map_err(TrainError::Experiment)?;
        let fresh =
            self.experiment.network(Weights::Fresh, &self.context.device).map_err(TrainError::Experiment)?;
        let (network, Fit { fresh, changed }) = self
            .experiment
            .initialize(fresh, source, &self.start.allow)
            .map_err(|error| TrainError::Experiment(cannot_start(path, error)))?;
        self.notes.extend(known.into_iter().chain(seen).chain(changed));
        self.initialized = Some(Initialized { network, fresh });
        Ok(())
    }

    /// Refuses a directory that holds something already, before anything is timed or trained.
    ///
    /// # Errors
    /// It is not empty, and the run neither goes on in it nor replaces what it holds.
    pub fn require_directory(&self) -> Result<(), TrainError> {
        match self.context.communicator.is_leader() {
            true => require_directory(&self.start),
            false => Ok(()),
        }
    }

    /// The configuration, completed by the data.
    pub fn experiment(&self) -> &E {
        &self.experiment
    }

    /// Every parameter, by its rule.
    pub fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    /// What the run is going to do and what its network costs, if it goes on from a checkpoint, from there
    /// on.
    ///
    /// # Errors
    /// A configuration that describes no network, a checkpoint that cannot be read.
    pub fn summary(&self) -> Result<Summary<E::Cost>, TrainError> {
        let cost = self.experiment.cost().map_err(TrainError::Experiment)?;
        let facts = Facts {
            settings: self.experiment.settings(),
            context: &self.context,
            data: &self.data,
            words: self.experiment.describe(&self.data),
            plan: &self.plan,
            made: self.state.as_ref().map_or(0, |state| state.position.step),
            left: self.left(),
            health: self.health()?.zip(self.experiment.subjects(&self.data)),
            groups: &self.groups,
            origin: self.origin(),
            notes: &self.notes,
            damaged: &self.damaged,
            occupied: self.require_directory().err().map(|error| error.to_string()),
        };
        Ok(Summary::new(cost, facts))
    }

    /// What the run will take on this machine. A few steps are timed for it, with a network and batches of
    /// their own. Processes that share a machine should do it together, or they see it idle.
    ///
    /// # Errors
    /// A configuration that describes no network, a checkpoint that cannot be read.
    pub fn outlook(&self) -> Result<Outlook, TrainError> {
        let cost = self.experiment.cost().map_err(TrainError::Experiment)?;
        let held = if self.initialized.is_some() { elements(&self.groups) } else { 0 };
        Ok(self.rehearsal().outlook(&cost, self.left(), held))
    }

    /// Trains a network that is thrown away with rising learning rates, for [`suggested_rate`](crate::suggested_rate).
    /// It begins with the weights that the run would begin with; `watch` is told of every update. Nothing is
    /// written.
    ///
    /// # Errors
    /// Whatever can fail in a run.
    pub fn try_rates(
        mut self,
        range: RateRange,
        watch: &mut dyn FnMut(u64),
    ) -> Result<Vec<RateTrial>, TrainError> {
        let network = self.first_network(false)?;
        self.rehearsal().rates(network, range, watch)
    }

    /// Times steps with larger and larger batches, and says which is the largest that memory has room for.
    /// `watch` is told of each size before it is tried. Nothing is written.
    ///
    /// # Errors
    /// A device whose memory is not this process's; whatever can fail in a run.
    pub fn try_batch_sizes(&self, watch: &mut dyn FnMut(usize)) -> Result<BatchSizes, TrainError> {
        self.rehearsal().batch_sizes(watch)
    }

    /// Images that are trained on.
    pub fn images(&self) -> usize {
        self.data.training.len()
    }

    /// Images of an update, over all processes.
    pub fn effective_batch(&self) -> usize {
        self.plan.effective_batch
    }

    fn rehearsal(&self) -> Rehearsal<'_, E> {
        Rehearsal {
            experiment: &self.experiment,
            data: &self.data,
            loader: &self.loader,
            groups: &self.groups,
            plan: &self.plan,
            device: &self.context.device,
        }
    }

    /// What the weights are.
    fn origin(&self) -> Origin {
        let fresh = self.initialized.as_ref().map_or(Vec::new(), |start| start.fresh.clone());
        let unresumed = self.start.resume.is_some() && self.resumed.is_none();
        Origin {
            resumed: self.resumed.clone(),
            init: self.start.init.checkpoint().map(Path::to_owned).filter(|_| self.resumed.is_none()),
            fresh,
            nothing_to_resume: unresumed.then(|| self.start.run_dir.clone()),
            concern: match self.start.init {
                Init::Unstated if self.resumed.is_none() => self.experiment.concern_about_random_weights(),
                _ => None,
            },
        }
    }

    fn left(&self) -> Left {
        // Scores over other images do not count.
        let state = self.state.clone().map(|state| match self.changed {
            true => RunState { best: None, evaluated: None, ..state },
            false => state,
        });
        Left::of(&self.plan, self.experiment.evaluation(), state.as_ref())
    }

    /// How often the run is looked at, if it is.
    fn health(&self) -> Result<Option<HealthPlan>, TrainError> {
        let Some(subjects) = self.experiment.subjects(&self.data) else { return Ok(None) };
        let cost = self.experiment.cost().map_err(TrainError::Experiment)?;
        Ok(Some(HealthPlan::of(self.experiment.settings().health, &cost, &subjects, &self.plan)))
    }

    /// The network with its first weights. A run that goes on finds them in its own checkpoint, and other
    /// processes get theirs from rank 0.
    fn first_network(&mut self, resumes: bool) -> Result<Network<E>, TrainError> {
        if let Some(Initialized { network, .. }) = self.initialized.take() {
            return Ok(network);
        }
        let weights = if resumes { Weights::Zero } else { Weights::Fresh };
        self.experiment.network(weights, &self.context.device).map_err(TrainError::Experiment)
    }

    /// Builds the network or reads the checkpoint to go on from, then makes the run directory.
    ///
    /// # Errors
    /// A checkpoint that does not fit, a run directory that is in use, an objective that cannot use
    /// the data.
    pub fn begin(mut self) -> Result<Training<E>, TrainError> {
        let resumed = self.resumed.take();
        if let Some(init) = self.experiment.init_mut().filter(|_| resumed.is_none()) {
            *init = self.start.init.named();
        }
        let objective =
            self.experiment.objective(&self.data, &self.context).map_err(TrainError::Experiment)?;
        let lists = objective.lists(&self.context.device);
        if (self.experiment.settings().train.reduce_precision, lists) == (Precision::Bf16, Lists::Slices) {
            return Err(TrainError::ReducePrecision);
        }
        let network = self.first_network(resumed.is_some())?;
        let (communicator, mut notes) = (self.context.communicator.as_ref(), Vec::new());
        let (run_dir, lock) = open_run_directory(
            &self.experiment,
            &self.images,
            &self.start,
            resumed.as_deref(),
            communicator,
        )?;
        machine::record(&run_dir, &self.context)?;
        let health = self.health()?;
        let (Settings { optim, train, .. }, ema) = (self.experiment.settings(), self.experiment.ema());
        let parts = StateParts { groups: &self.groups, optim, precision: train.precision, ema };
        let beginning = match (&resumed, self.state) {
            (Some(checkpoint), Some(state)) => {
                let (plan, changed, world) = (&self.plan, self.changed, &self.context.communicator);
                let beginning =
                    parts.resumed::<E::Objective>(network, checkpoint, state, plan, changed, world)?;
                let best = keep_best(beginning.best, checkpoint, &run_dir, world.as_ref())?;
                if let (Some(lost), None) = (beginning.best, best) {
                    notes.push(format!(
                        "the best network, of step {}, is gone: the best is found anew",
                        lost.step
                    ));
                }
                Beginning { best, ..beginning }
            }
            _ => parts.fresh(network),
        };
        let Settings { optim, train, log, .. } = self.experiment.settings();
        let trainer = Trainer {
            objective,
            optim: optim.clone(),
            train: train.clone(),
            log: log.clone(),
            plan: self.plan,
            evaluation: self.experiment.evaluation(),
            health,
            groups: self.groups,
            run_dir,
            lock,
            batches_wait_for: {
                let loader = self.loader.clone();
                Arc::new(move || in_the_making(&loader))
            },
            communicator: self.context.communicator,
        };
        Ok(Training { trainer, beginning, loader: self.loader, notes })
    }
}

/// Parameters of all groups.
fn elements(groups: &[ParameterGroup]) -> usize {
    groups.iter().map(|group| group.elements).sum()
}

/// What makes the batches of this process.
fn loader<E: Experiment>(experiment: &E, data: &Data, context: &Context) -> Result<Loader, TrainError> {
    let input = experiment.input(&context.device).map_err(TrainError::Experiment)?;
    let settings = experiment.settings();
    let batches = TrainingBatches {
        data: settings.data,
        augment: settings.augment,
        seed: settings.seed,
        batch_size: settings.train.batch_size,
        accumulate: settings.train.accumulate,
        channels: input.channels,
        raw: input.normalize_on_device,
        shard: context.shard(),
    };
    let loader = batches.loader(&data.training)?;
    Ok(match memory_pool(&context.device) {
        Some(pool) => loader.in_memory_of(pool),
        None => loader,
    })
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

/// The images that a loader has been at for longest, in words.
fn in_the_making(loader: &Loader) -> String {
    const SHOWN: usize = 3;
    let images = loader.in_the_making();
    let shown =
        images.iter().take(SHOWN).map(|(name, since)| format!("{name} ({} s)", since.elapsed().as_secs()));
    let shown: Vec<_> = shown.collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!("{} images are being read, longest {}", images.len(), shown.join(", ")),
    }
}

/// A run that is ready to train.
pub struct Training<E: Experiment> {
    trainer: Trainer<E::Objective>,
    beginning: Beginning<Network<E>>,
    loader: Loader,
    notes: Vec<String>,
}

impl<E: Experiment> Training<E> {
    /// What turned out only now: a best network that is gone.
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

    /// Trains to the end, or until the interrupter says stop, and writes down what has come of it
    /// ([`RESULTS_FILE`](crate::RESULTS_FILE)).
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn train(
        self,
        progress: &mut dyn Progress,
        interrupter: &Interrupter,
    ) -> Result<Trained, TrainError> {
        let Self { trainer, beginning, loader, .. } = self;
        let (began, leads) = (Instant::now(), trainer.communicator.is_leader());
        if leads {
            results::forget(&trainer.run_dir)?;
        }
        let position = trainer.plan.position(beginning.state.step);
        let batches = loader.batches(position.epoch, position.batch);
        let mut outcome = trainer.run(beginning, batches, progress, interrupter)?;
        let skipped = all_skipped(&loader, &trainer)?;
        let results = match leads {
            true => {
                let (Trainer { plan, run_dir, train, .. }, seconds) =
                    (&trainer, began.elapsed().as_secs_f64());
                let results = Results::of(&outcome, run_dir, plan, train.epochs, skipped.len(), seconds);
                // All else that the run has come to is written.
                outcome.troubles.extend(results.write(run_dir).err().map(|error| error.to_string()));
                Some(results)
            }
            false => None,
        };
        Ok(Trained { outcome, skipped, results })
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
    /// The same as rank 0 has written it down.
    pub results: Option<Results>,
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
