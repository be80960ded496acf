//! What a run is going to do and what it will cost, shown before it starts.

use std::fmt;
use std::path::PathBuf;

use host::{DeviceName, GpuMemory, Precision};
use serde::Serialize;

use crate::error::times_processes;
use crate::experiment::{Context, Cost, Data, Settings};
use crate::groups::ParameterGroup;
use crate::health::{HealthPlan, Subjects};
use crate::number::readable;
use crate::outlook::Left;
use crate::plan::Plan;
use crate::schedule::CosineSchedule;

/// A run, before it starts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary<C> {
    #[serde(flatten)]
    cost: C,
    #[serde(flatten)]
    computing: Computing,
    #[serde(flatten)]
    origin: Origin,
    train_images: usize,
    /// Images that are held out; none where nothing is evaluated.
    val_images: Option<usize>,
    /// Classes of the data, or numbers to predict; 0 without labels.
    num_classes: usize,
    #[serde(skip)]
    data: String,
    /// What is to be said of the data: a word and a sentence.
    remarks: Vec<(&'static str, String)>,
    batch_size: usize,
    accumulate: usize,
    effective_batch_size: usize,
    peak_lr: f64,
    groups: Vec<GroupRow>,
    /// Learning-rate factors of the groups, smallest and largest.
    lr_scales: [f64; 2],
    steps_per_epoch: u64,
    total_steps: u64,
    epochs: u64,
    #[serde(skip)]
    made: u64,
    steps_left: u64,
    evaluations_left: u64,
    seed: u64,
    /// Epochs between two looks at the health of the run; none where nobody looks.
    health_every_epochs: Option<u64>,
    #[serde(skip)]
    health: Option<String>,
    /// What is to be known of what the run builds on.
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// Where the run computes, and in which numbers.
#[derive(Debug, Clone, Serialize)]
struct Computing {
    device: String,
    threads: usize,
    precision: Precision,
    processes: usize,
    /// Memory of the GPU, if one computes, and what of it nobody has yet.
    gpu_memory_mib: Option<u64>,
    gpu_free_mib: Option<u64>,
}

/// What the weights of a run are.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Origin {
    /// The checkpoint that it goes on from.
    pub(crate) resumed: Option<PathBuf>,
    /// The checkpoint whose weights a new run starts from.
    pub(crate) init: Option<PathBuf>,
    /// Parameters that start fresh beside those of `init`.
    pub(crate) fresh: Vec<String>,
    /// The run directory, if the run was to go on and there is no checkpoint yet.
    #[serde(skip)]
    pub(crate) nothing_to_resume: Option<PathBuf>,
    /// Why random weights may not be what is wanted.
    #[serde(skip)]
    pub(crate) concern: Option<String>,
}

/// Parameters under one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct GroupRow {
    lr_scale: f64,
    weight_decay: f64,
    tensors: usize,
    parameters: usize,
}

/// What a summary is made of, beside the costs of the network.
pub(crate) struct Facts<'a> {
    pub(crate) settings: Settings<'a>,
    pub(crate) context: &'a Context,
    pub(crate) data: &'a Data,
    /// The data in words.
    pub(crate) words: String,
    pub(crate) plan: &'a Plan,
    /// How often the health of the run is looked at, and on which images.
    pub(crate) health: Option<(HealthPlan, Subjects)>,
    /// Updates that are made, of a run that goes on.
    pub(crate) made: u64,
    pub(crate) left: Left,
    pub(crate) groups: &'a [ParameterGroup],
    pub(crate) origin: Origin,
    pub(crate) notes: &'a [String],
    /// What is wrong with checkpoints newer than the one that the run goes on from.
    pub(crate) damaged: &'a [String],
    /// Why the run directory cannot be used.
    pub(crate) occupied: Option<String>,
}

impl<C: Cost> Summary<C> {
    pub(crate) fn new(cost: C, facts: Facts) -> Self {
        let Facts { settings, context, data, words, plan, health, .. } = facts;
        let Facts { made, left, groups, origin, notes, damaged, occupied, .. } = facts;
        let scales = || groups.iter().map(|group| group.rule.lr_scale);
        let lr_scales = [scales().fold(f64::INFINITY, f64::min), scales().fold(0.0, f64::max)];
        let warnings =
            [warm_up_warning(&settings, plan), few_updates_warning(plan, data.training.len()), occupied];
        Self {
            cost,
            computing: Computing::of(&settings, context, plan),
            origin,
            train_images: data.training.len(),
            val_images: data.validation.as_ref().map(|held_out| held_out.len()),
            num_classes: data.training.classes().len(),
            data: words,
            remarks: data.remarks.clone(),
            batch_size: settings.train.batch_size,
            accumulate: settings.train.accumulate,
            effective_batch_size: plan.effective_batch,
            peak_lr: settings.optim.peak_lr(plan.effective_batch),
            groups: groups.iter().map(GroupRow::of).collect(),
            lr_scales,
            steps_per_epoch: plan.steps_per_epoch(),
            total_steps: plan.total_steps,
            epochs: settings.train.epochs,
            made,
            steps_left: left.steps,
            evaluations_left: left.evaluations,
            seed: settings.seed,
            health_every_epochs: health.as_ref().map(|(plan, _)| plan.every_epochs),
            health: health.map(|(plan, subjects)| in_words(plan, &subjects)),
            notes: notes.to_vec(),
            warnings: damaged_warnings(damaged).chain(warnings.into_iter().flatten()).collect(),
        }
    }
}

impl Computing {
    fn of(settings: &Settings<'_>, context: &Context, plan: &Plan) -> Self {
        let gpu = GpuMemory::of(&context.device);
        Self {
            device: DeviceName::of(&context.device).to_string(),
            threads: rayon::current_num_threads(),
            precision: settings.train.precision,
            processes: plan.processes,
            gpu_memory_mib: gpu.map(|memory| memory.total >> 20),
            gpu_free_mib: gpu.map(|memory| memory.free >> 20),
        }
    }
}

impl GroupRow {
    fn of(group: &ParameterGroup) -> Self {
        Self {
            lr_scale: group.rule.lr_scale,
            weight_decay: group.rule.weight_decay,
            tensors: group.names.len(),
            parameters: group.elements,
        }
    }
}

impl<C> Summary<C> {
    /// What a run may not be meant to do: also for who wants to hear of nothing else.
    pub fn concerns(&self) -> impl Iterator<Item = &str> {
        let concern = self.origin.concern.as_deref().filter(|_| self.origin.init.is_none());
        concern.into_iter().chain(self.warnings.iter().map(String::as_str))
    }
}

impl<C: Cost> fmt::Display for Summary<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.cost, self.computing, self.origin)?;
        writeln!(f, "data         {}", self.data)?;
        for (word, sentence) in &self.remarks {
            writeln!(f, "{word:<12} {sentence}")?;
        }
        writeln!(
            f,
            "batch        {} × {} accumulated{} = {}, peak learning rate {}",
            self.batch_size,
            self.accumulate,
            times_processes(self.computing.processes),
            self.effective_batch_size,
            readable(self.peak_lr)
        )?;
        for line in group_lines(&self.groups) {
            writeln!(f, "group        {line}")?;
        }
        write!(
            f,
            "steps        {} in {} epochs of {}, seed {}",
            self.total_steps, self.epochs, self.steps_per_epoch, self.seed
        )?;
        if self.origin.resumed.is_some() {
            write!(f, "; {} are made, {} are left", self.made, self.steps_left)?;
            if self.steps_left == 0 && self.made < self.total_steps {
                write!(f, ", since the score no longer rose")?;
            }
        }
        if let Some(health) = &self.health {
            write!(f, "\nhealth       {health}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote         {note}"))?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning      {warning}"))
    }
}

impl fmt::Display for Computing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, threads, precision, processes, .. } = self;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "device       {device}, {threads} thread{}, {precision}", plural(*threads))?;
        match processes {
            1 => writeln!(f)?,
            _ => writeln!(f, ", in each of {processes} processes")?,
        }
        match self.gpu_free_mib.zip(self.gpu_memory_mib) {
            Some((free, total)) => writeln!(f, "GPU memory   {free} of {total} MiB are free"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start        ")?;
        let unresumed =
            self.nothing_to_resume.as_ref().map(|run| format!("{} has no checkpoint yet", run.display()));
        let unresumed = unresumed.map_or(String::new(), |reason| format!(", since {reason}"));
        match (&self.resumed, &self.init, &self.concern) {
            (Some(checkpoint), ..) => writeln!(f, "goes on from {}", checkpoint.display()),
            (None, Some(init), _) => writeln!(f, "from {}{unresumed}", init.display()),
            (None, None, Some(concern)) => writeln!(f, "FROM RANDOM WEIGHTS{unresumed}: {concern}"),
            (None, None, None) => writeln!(f, "from random weights{unresumed}"),
        }?;
        match &self.fresh[..] {
            [] => Ok(()),
            fresh => writeln!(f, "fresh        {}", fresh.join(", ")),
        }
    }
}

/// How often the health of a run is looked at, and on which images.
fn in_words(HealthPlan { every_epochs }: HealthPlan, subjects: &Subjects) -> String {
    let often = match every_epochs {
        1 => "every epoch".to_owned(),
        epochs => format!("every {epochs} epochs"),
    };
    format!("{often} and at the end: {}", subjects.describe())
}

/// A warning for each checkpoint that the run would have gone on from.
fn damaged_warnings(damaged: &[String]) -> impl Iterator<Item = String> {
    damaged
        .iter()
        .map(|reason| format!("{reason}; it is set aside, and the run goes on from an older checkpoint"))
}

/// What to say of a run that ends within its warm-up.
fn warm_up_warning(settings: &Settings<'_>, plan: &Plan) -> Option<String> {
    let schedule = CosineSchedule::of(settings.optim, settings.train, plan.effective_batch);
    let (warmup, length) = (schedule.warmup_epochs, plan.epoch(plan.total_steps));
    if warmup == 0.0 || length > warmup {
        return None;
    }
    let last = schedule.lr_at(plan.epoch(plan.total_steps - 1));
    Some(format!(
        "the run ends after {} epochs, within the {warmup} of optim.warmup_epochs: the learning rate only \
         rises, to {} at the last update, {:.1} % of its peak; give a shorter warm-up",
        // Whole epochs as whole numbers.
        (1e4 * length).round() / 1e4,
        readable(last),
        100.0 * last / schedule.peak
    ))
}

/// Where an epoch has fewer updates, that is said.
const FEW_UPDATES: u64 = 4;

/// What to say where an update takes a large part of all images, as with a recipe for ImageNet on a folder of
/// photos.
fn few_updates_warning(plan: &Plan, images: usize) -> Option<String> {
    (plan.steps_per_epoch() < FEW_UPDATES).then(|| {
        format!(
            "{} updates an epoch: each takes {} of the {images} images. Lower train.accumulate or \
             train.batch_size, or let `train-cli init` write a configuration for so many",
            plan.steps_per_epoch(),
            plan.effective_batch
        )
    })
}

/// A line for each weight decay, with the range of its learning rates where layers differ.
fn group_lines(groups: &[GroupRow]) -> Vec<String> {
    let mut decays: Vec<f64> = groups.iter().map(|group| group.weight_decay).collect();
    decays.sort_by(|a, b| b.total_cmp(a));
    decays.dedup();
    let line = |decay: f64| {
        let rows = || groups.iter().filter(move |group| group.weight_decay == decay);
        let low = rows().map(|row| row.lr_scale).fold(f64::INFINITY, f64::min);
        let high = rows().map(|row| row.lr_scale).fold(0.0, f64::max);
        let rates = match low == high {
            true if high == 1.0 => String::new(),
            true => format!(", learning rate × {high:.3}"),
            false => format!(", learning rate by layer × {low:.3} to {high:.3}"),
        };
        let tensors: usize = rows().map(|row| row.tensors).sum();
        let parameters: usize = rows().map(|row| row.parameters).sum();
        format!("weight decay {decay}: {tensors} tensors, {parameters} parameters{rates}")
    };
    decays.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthConfig;
    use crate::sections::{LogConfig, OptimConfig, TrainConfig};
    use data::{AugmentConfig, DataConfig};

    #[test]
    fn the_memory_of_a_gpu_is_told_where_there_is_one() {
        let (device, precision) = ("cuda:0".to_owned(), Precision::F32);
        let (gpu_memory_mib, gpu_free_mib) = (Some(80_000), Some(79_000));
        let gpu = Computing { device, threads: 4, precision, processes: 1, gpu_memory_mib, gpu_free_mib };
        let expected = "device       cuda:0, 4 threads, f32\nGPU memory   79000 of 80000 MiB are free\n";
        assert_eq!(gpu.to_string(), expected);
        let processor = Computing { device: "cpu".to_owned(), processes: 2, gpu_free_mib: None, ..gpu };
        assert_eq!(processor.to_string(), "device       cpu, 4 threads, f32, in each of 2 processes\n");
    }

    #[test]
    fn groups_of_one_decay_are_one_line() {
        let row = |lr_scale, weight_decay| GroupRow { lr_scale, weight_decay, tensors: 2, parameters: 10 };
        let found = group_lines(&[row(0.4, 0.0), row(0.4, 0.05), row(1.0, 0.05)]);
        assert_eq!(
            found[0],
            "weight decay 0.05: 4 tensors, 20 parameters, learning rate by layer × 0.400 to 1.000"
        );
        assert_eq!(found[1], "weight decay 0: 2 tensors, 10 parameters, learning rate × 0.400");
    }

    #[test]
    fn a_batch_that_takes_most_of_the_images_is_warned_of() {
        let train = TrainConfig { batch_size: 64, accumulate: 4, ..TrainConfig::default() };
        let found = few_updates_warning(&Plan::new(&train, 12, 1), 800).unwrap();
        assert!(found.starts_with("3 updates an epoch: each takes 256 of the 800 images"), "{found}");
        assert_eq!(few_updates_warning(&Plan::new(&train, 16, 1), 1024), None);
    }

    #[test]
    fn a_run_that_ends_within_its_warm_up_is_warned_of_with_the_rate_that_it_reaches() {
        let warning = |warmup_epochs, epochs, max_steps| {
            let optim = OptimConfig { lr: Some(1e-3), warmup_epochs, ..OptimConfig::default() };
            let train = TrainConfig { epochs, max_steps, ..TrainConfig::default() };
            let (data, augment, log) =
                (DataConfig::default(), AugmentConfig::default(), LogConfig::default());
            let settings = Settings {
                seed: 0,
                data: &data,
                eval: &data::EvalConfig::default(),
                augment: &augment,
                optim: &optim,
                train: &train,
                log: &log,
                health: &HealthConfig::default(),
            };
            warm_up_warning(&settings, &Plan::new(&train, 10, 1))
        };
        // 50 updates of 200 that warm up: the last one after 49.
        let found = warning(20.0, 5, None).unwrap();
        assert!(found.contains("after 5 epochs, within the 20 of") && found.contains("2.45e-4"), "{found}");
        assert!(found.contains("24.5 % of its peak"), "{found}");
        assert!(warning(1.0, 5, Some(10)).unwrap().contains("9.00e-4"));
        assert_eq!(
            [warning(1.0, 5, Some(11)), warning(0.0, 1, None), warning(4.0, 5, None)],
            [None, None, None]
        );
    }
}
