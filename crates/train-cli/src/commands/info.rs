//! `train-cli info`: what a network is and costs.

use std::path::Path;

use anyhow::Result;
use interop::{Allow, Kind};
use model::ConvNextV2Config;
use model::cost::EncoderCost;
use serde::Serialize;

use crate::args::InfoArgs;
use crate::checkpoint::{Checkpoint, Recipe, open};
use crate::config::{self, ImageSize, PretrainConfig};
use crate::output::out;
use crate::plan::{NetworkCost, giga, millions};

/// What `--json` prints.
#[derive(Serialize)]
struct Info {
    image_size: [usize; 2],
    num_channels: usize,
    patch_size: usize,
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    /// With a decoder.
    #[serde(flatten)]
    cost: Option<NetworkCost>,
    /// Of a checkpoint: who named its tensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<String>,
    /// Of a checkpoint without decoder.
    #[serde(flatten)]
    plain: Option<PlainCost>,
    /// Of a checkpoint: name and shape of every tensor.
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
    let info = describe(&args.path)?;
    if args.json {
        out!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(());
    }
    let [height, width] = info.image_size;
    out!("images       {height}×{width}, {} channels, stem {}×{1}", info.num_channels, info.patch_size);
    if let Some(layout) = &info.layout {
        out!("layout       {layout}");
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
        out!("parameters   {}", millions(plain.parameters));
        out!("multiply-adds per image, forward: {}", giga(plain.macs));
        out!("classes      {}", plain.classes.len());
    }
    let Some(cost) = &info.cost else { return };
    print!("{cost}");
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
            millions(stage.parameters),
            giga(stage.macs),
        );
    }
}

fn describe(path: &Path) -> Result<Info> {
    if path.extension().is_some_and(|e| e == "toml") {
        let config: PretrainConfig = config::load(path, &[])?;
        let model = config.model.resolve(config.data.image_size)?;
        return Ok(Info {
            cost: Some(NetworkCost::of(&config, &model)?),
            ..info(model, config.data.image_size)
        });
    }
    let checkpoint = open(path, &Allow::default())?;
    let (network, image_size) = (&checkpoint.network, checkpoint.recipe.data().image_size);
    let (cost, plain) = match (&checkpoint.recipe, network.kind) {
        (Recipe::Pretrain(config), Kind::Pretraining { .. }) => {
            (Some(NetworkCost::of(config, &network.config)?), None)
        }
        _ => (None, Some(plain_cost(&checkpoint))),
    };
    let tensors = network.weights.iter().map(|(name, entry)| (name.to_owned(), entry.shape.clone()));
    Ok(Info {
        cost,
        plain,
        layout: Some(checkpoint.layout.to_string()),
        tensors: Some(tensors.collect()),
        ..info(network.config.clone(), image_size)
    })
}

/// What a network is, without what it costs.
fn info(model: ConvNextV2Config, image_size: ImageSize) -> Info {
    Info {
        image_size: image_size.pixels(),
        num_channels: model.num_channels,
        patch_size: model.patch_size,
        depths: model.depths,
        hidden_sizes: model.hidden_sizes,
        cost: None,
        layout: None,
        plain: None,
        tensors: None,
    }
}

fn plain_cost(checkpoint: &Checkpoint) -> PlainCost {
    let network = &checkpoint.network;
    let (model, is_classifier) = (&network.config, network.kind == Kind::Classifier);
    let head = if is_classifier { model.last_hidden_size() * model.num_labels } else { 0 };
    PlainCost {
        parameters: network.weights.iter().map(|(_, entry)| entry.values.len() as u64).sum(),
        macs: EncoderCost::of(model, checkpoint.recipe.data().image_size.pixels()).macs() + head as u64,
        classes: if is_classifier { network.labels() } else { Vec::new() },
    }
}
