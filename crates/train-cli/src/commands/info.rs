//! `train-cli info`: what a network is and costs.

use anyhow::{Result, bail};
use checkpoint::Allow;
use fcmae::PretrainCost;
use finetune::ClassifierCost;
use interop::{Kind, Network, Origin};
use model::ConvNextV2Config;
use model::cost::{EncoderCost, in_giga, in_millions};
use serde::Serialize;

use crate::args::InfoArgs;
use crate::bundled::{Bundled, Meant};
use crate::checkpoint::{open, pretraining};
use crate::configuration::{AnyExperiment, Source};
use crate::output::out;

/// What `--json` prints.
#[derive(Serialize)]
struct Info {
    image_size: [usize; 2],
    num_channels: usize,
    patch_size: usize,
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    /// The cost of a network with a decoder.
    #[serde(flatten)]
    cost: Option<PretrainCost>,
    /// Who named the tensors of a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<String>,
    /// The key that it is under in its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Other networks of the file, by their keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_keys: Vec<String>,
    #[serde(skip)]
    origin: Origin,
    /// The cost of a network without decoder.
    #[serde(flatten)]
    plain: Option<PlainCost>,
    /// Name and shape of every tensor of a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<(String, Vec<usize>)>>,
}

/// A classifier or an encoder alone.
#[derive(Serialize)]
struct PlainCost {
    parameters: u64,
    /// Multiply-adds of a forward pass over one image.
    macs: u64,
    classes: Vec<String>,
}

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    let info = describe(args)?;
    if args.json {
        out!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(());
    }
    let [height, width] = info.image_size;
    out!("images       {height}×{width}, {} channels, stem {}×{1}", info.num_channels, info.patch_size);
    if let Some(layout) = &info.layout {
        out!("layout       {layout}{}", info.origin);
    }
    show(&info);
    if let Some(tensors) = &info.tensors {
        out!("\n{} tensors", tensors.len());
        for (name, shape) in tensors {
            out!("{name:<44} {shape:?}");
        }
    }
    Ok(())
}

fn show(info: &Info) {
    if let Some(plain) = &info.plain {
        out!("depths       {:?}, channels {:?}", info.depths, info.hidden_sizes);
        out!("parameters   {}", in_millions(plain.parameters));
        out!("multiply-adds per image, forward: {}", in_giga(plain.macs));
        out!("classes      {}", plain.classes.len());
    }
    let Some(cost) = &info.cost else { return };
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
    if path.extension().is_some_and(|e| e == "toml") || !path.exists() && is_bundled() {
        if args.key.key.is_some() {
            bail!("--key is for checkpoints; {} is a configuration", path.display());
        }
        return Ok(match Source::find(path, Meant::Either)?.load_any(&[])? {
            AnyExperiment::Pretrain(experiment) => {
                let model = experiment.resolve()?;
                let cost = PretrainCost::of(&experiment, &model)?;
                Info { cost: Some(cost), ..info(model, experiment.data.image_size.pixels()) }
            }
            AnyExperiment::Finetune(experiment) => {
                let model = experiment.resolve()?;
                let cost = ClassifierCost::of(&experiment, &model);
                let (parameters, macs) = (cost.parameters, cost.macs);
                let plain = PlainCost { parameters, macs, classes: experiment.finetune.classes.clone() };
                Info { plain: Some(plain), ..info(model, experiment.data.image_size.pixels()) }
            }
        });
    }
    let checkpoint = open(path, &args.key, &Allow::default())?;
    let network = &checkpoint.network;
    let image_size = network.preprocessing().image_size;
    let tensors = network.weights.iter().map(|(name, entry)| (name.to_owned(), entry.shape.clone()));
    let (cost, plain) = match network.kind {
        Kind::Pretraining { .. } => {
            (Some(PretrainCost::of(&pretraining(&checkpoint.recipe)?, &network.config)?), None)
        }
        _ => (None, Some(plain_cost(network, image_size))),
    };
    Ok(Info {
        cost,
        plain,
        layout: Some(checkpoint.layout.to_string()),
        key: Some(checkpoint.origin.path()).filter(|key| !key.is_empty()),
        other_keys: checkpoint.origin.others.clone(),
        origin: checkpoint.origin.clone(),
        tensors: Some(tensors.collect()),
        ..info(network.config.clone(), image_size)
    })
}

/// What a network is, without what it costs.
fn info(model: ConvNextV2Config, image_size: [usize; 2]) -> Info {
    Info {
        image_size,
        num_channels: model.num_channels,
        patch_size: model.patch_size,
        depths: model.depths,
        hidden_sizes: model.hidden_sizes,
        cost: None,
        layout: None,
        key: None,
        other_keys: Vec::new(),
        origin: Origin::default(),
        plain: None,
        tensors: None,
    }
}

fn plain_cost(network: &Network, image_size: [usize; 2]) -> PlainCost {
    let (model, is_classifier) = (&network.config, network.kind == Kind::Classifier);
    let head = if is_classifier { model.last_hidden_size() * model.num_labels } else { 0 };
    PlainCost {
        parameters: network.weights.iter().map(|(_, entry)| entry.values.len() as u64).sum(),
        macs: EncoderCost::of(model, image_size).macs() + head as u64,
        classes: if is_classifier { network.labels() } else { Vec::new() },
    }
}
