//! `train-cli info`: what a network is and costs.

use anyhow::{Result, bail};
use checkpoint::{Allow, Best, RunState, STATE_FILE, read_state};
use data::EvalConfig;
use fcmae::{PretrainCost, PretrainExperiment};
use finetune::{ClassifierCost, FinetuneExperiment};
use interop::{Kind, Network, Opened, Origin, Preprocessing};
use model::ConvNextV2Config;
use model::cost::{EncoderCost, in_giga, in_millions};
use serde::Serialize;

use crate::args::InfoArgs;
use crate::bundled::{Bundled, Meant};
use crate::checkpoint::{open, pretraining};
use crate::configuration::{AnyExperiment, Source};
use crate::output::{self, out};

/// What `--json` prints.
#[derive(Serialize)]
struct Info {
    /// The folder or file that was read; none of a configuration.
    checkpoint: Option<String>,
    image_size: [usize; 2],
    num_channels: usize,
    patch_size: usize,
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    #[serde(flatten)]
    cost: Cost,
    #[serde(flatten)]
    head: Head,
    /// What is done to images in evaluation.
    eval: EvalConfig,
    #[serde(skip)]
    preprocessing: Preprocessing,
    /// Updates that a run of this program has made.
    step: Option<u64>,
    /// The best network of that run by then.
    best: Option<Best>,
    /// Who named the tensors of a checkpoint.
    layout: Option<String>,
    /// The key that it is under in its file.
    key: Option<String>,
    /// Other networks of the file, by their keys.
    other_keys: Vec<String>,
    #[serde(skip)]
    origin: Origin,
    /// Name and shape of every tensor of a checkpoint, if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<(String, Vec<usize>)>>,
}

/// What a network takes: one with a decoder, or a classifier or an encoder alone.
#[derive(Serialize)]
#[serde(untagged)]
enum Cost {
    Pretraining(Box<PretrainCost>),
    Plain {
        model: String,
        parameters: u64,
        /// Multiply-adds of a forward pass over one image.
        macs: u64,
    },
}

/// What the outputs are; nothing of an encoder.
#[derive(Default, Serialize)]
struct Head {
    problem_type: Option<String>,
    num_classes: usize,
    classes: Vec<String>,
}

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    let info = describe(args)?;
    match args.json {
        true => output::json(&info),
        false => {
            show(&info);
            Ok(())
        }
    }
}

fn show(info: &Info) {
    if let (Some(checkpoint), Some(layout)) = (&info.checkpoint, &info.layout) {
        out!("checkpoint   {checkpoint}");
        out!("layout       {layout}{}", info.origin);
    }
    let [height, width] = info.image_size;
    out!("images       {height}×{width}, {} channels, stem {}×{1}", info.num_channels, info.patch_size);
    out!("evaluation   {}", info.preprocessing);
    if info.head.num_classes > 0 {
        out!("classes      {}: {}", info.head.num_classes, first(&info.head.classes));
    }
    if let Some(step) = info.step {
        out!("trained      {step} steps");
    }
    if let Some(best) = &info.best {
        let which = if best.ema { "moving average" } else { "weights" };
        out!("best score   {:.4} at step {} ({which})", best.score, best.step);
    }
    match &info.cost {
        Cost::Plain { model, parameters, macs } => {
            out!("model        {model}");
            out!("parameters   {}", in_millions(*parameters));
            out!("multiply-adds per image, forward: {}", in_giga(*macs));
        }
        Cost::Pretraining(cost) => show_stages(cost),
    }
    if let Some(tensors) = &info.tensors {
        out!("\n{} tensors", tensors.len());
        for (name, shape) in tensors {
            out!("{name:<44} {shape:?}");
        }
    }
}

/// The first few of the classes.
fn first(classes: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    classes[..classes.len().min(SHOWN)].join(", ") + more
}

fn show_stages(cost: &PretrainCost) {
    out!("{}", cost.to_string().trim_end());
    out!("\nstage  depth  channels      map   tokens  visible  parameters  multiply-adds");
    for (i, stage) in cost.stages.iter().enumerate() {
        out!(
            "{:>5}  {:>5}  {:>8}  {:>7}  {:>7}  {:>7}  {:>10}  {:>13}",
            i + 1,
            stage.depth,
            stage.channels,
            format!("{}×{}", stage.map[0], stage.map[1]),
            stage.tokens,
            stage.visible_tokens,
            in_millions(stage.parameters),
            in_giga(stage.macs),
        );
    }
}

fn describe(args: &InfoArgs) -> Result<Info> {
    let path = &args.path;
    let is_bundled = || Bundled::find(&path.to_string_lossy(), Meant::Either).is_some();
    let is_configuration = path.extension().is_some_and(|e| e == "toml") || !path.exists() && is_bundled();
    if !is_configuration {
        return of_checkpoint(&open(path, &args.key, &Allow::default())?, args.tensors);
    }
    let about_checkpoints = [("--key", args.key.key.is_some()), ("--tensors", args.tensors)];
    if let Some((option, _)) = about_checkpoints.iter().find(|(_, given)| *given) {
        bail!("{option} is for checkpoints; {} is a configuration", path.display());
    }
    match Source::find(path, Meant::Either)?.load_any(&[])? {
        AnyExperiment::Pretrain(experiment) => of_pretraining(&experiment),
        AnyExperiment::Finetune(experiment) => of_finetuning(&experiment),
    }
}

fn of_pretraining(experiment: &PretrainExperiment) -> Result<Info> {
    let model = experiment.resolve()?;
    let cost = Cost::Pretraining(Box::new(PretrainCost::of(experiment, &model)?));
    let preprocessing = Preprocessing::of(&experiment.data, &experiment.eval);
    Ok(info(model, preprocessing, cost, Head::default()))
}

fn of_finetuning(experiment: &FinetuneExperiment) -> Result<Info> {
    let model = experiment.resolve()?;
    let ClassifierCost { model: words, parameters, macs, .. } = ClassifierCost::of(experiment, &model);
    let head = Head {
        problem_type: experiment.finetune.problem_type.map(|problem| problem.to_string()),
        num_classes: experiment.finetune.classes.len(),
        classes: experiment.finetune.classes.clone(),
    };
    let preprocessing = Preprocessing::of(&experiment.data, &experiment.eval);
    Ok(info(model, preprocessing, Cost::Plain { model: words, parameters, macs }, head))
}

fn of_checkpoint(checkpoint: &Opened, with_tensors: bool) -> Result<Info> {
    let network = &checkpoint.network;
    let preprocessing = network.preprocessing();
    let cost = match network.kind {
        Kind::Pretraining { .. } => {
            let cost = PretrainCost::of(&pretraining(&checkpoint.recipe)?, &network.config)?;
            Cost::Pretraining(Box::new(cost))
        }
        _ => plain_cost(network, preprocessing.image_size),
    };
    let tensors = network.weights.iter().map(|(name, entry)| (name.to_owned(), entry.shape.clone()));
    let is_of_a_run = checkpoint.path.join(STATE_FILE).is_file();
    let state: Option<RunState> = is_of_a_run.then(|| read_state(&checkpoint.path)).transpose()?;
    Ok(Info {
        checkpoint: Some(checkpoint.path.display().to_string()),
        step: state.as_ref().map(|state| state.position.step),
        best: state.and_then(|state| state.best),
        layout: Some(checkpoint.layout.to_string()),
        key: Some(checkpoint.origin.path()).filter(|key| !key.is_empty()),
        other_keys: checkpoint.origin.others.clone(),
        origin: checkpoint.origin.clone(),
        tensors: with_tensors.then(|| tensors.collect()),
        ..info(network.config.clone(), preprocessing, cost, head(network))
    })
}

/// What a network is, without where it comes from.
fn info(model: ConvNextV2Config, preprocessing: Preprocessing, cost: Cost, head: Head) -> Info {
    Info {
        checkpoint: None,
        image_size: preprocessing.image_size,
        num_channels: model.num_channels,
        patch_size: model.patch_size,
        depths: model.depths,
        hidden_sizes: model.hidden_sizes,
        cost,
        head,
        eval: preprocessing.eval(),
        preprocessing,
        step: None,
        best: None,
        layout: None,
        key: None,
        other_keys: Vec::new(),
        origin: Origin::default(),
        tensors: None,
    }
}

fn plain_cost(network: &Network, image_size: [usize; 2]) -> Cost {
    let model = &network.config;
    let head = match network.kind {
        Kind::Classifier => model.last_hidden_size() * model.num_labels,
        _ => 0,
    };
    Cost::Plain {
        model: model.describe(),
        parameters: network.weights.iter().map(|(_, entry)| entry.values.len() as u64).sum(),
        macs: EncoderCost::of(model, image_size).macs() + head as u64,
    }
}

fn head(network: &Network) -> Head {
    if network.kind != Kind::Classifier {
        return Head::default();
    }
    // As transformers has it where nothing is said.
    let usual = || "single_label_classification".to_owned();
    Head {
        problem_type: Some(network.problem_type.clone().unwrap_or_else(usual)),
        num_classes: network.config.num_labels,
        classes: network.labels(),
    }
}
