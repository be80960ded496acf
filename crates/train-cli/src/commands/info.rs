//! `train-cli info`: what a network is and costs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::args::InfoArgs;
use crate::checkpoint::Checkpoint;
use crate::config::{self, PretrainConfig};
use crate::plan::{NetworkCost, giga, millions};

/// What `--json` prints.
#[derive(Serialize)]
struct Info {
    image_size: [usize; 2],
    num_channels: usize,
    patch_size: usize,
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    #[serde(flatten)]
    cost: NetworkCost,
    /// Of a checkpoint: name and shape of every tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<(String, Vec<usize>)>>,
}

pub(crate) fn run(args: &InfoArgs) -> Result<()> {
    let info = describe(&args.path)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(());
    }
    let [height, width] = info.image_size;
    println!("images       {height}×{width}, {} channels, stem {}×{1}", info.num_channels, info.patch_size);
    print!("{}", info.cost);
    println!("\nstage  depth  channels      map   tokens  visible  parameters  multiply-adds");
    for (i, stage) in info.cost.stages.iter().enumerate() {
        println!(
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
    if let Some(tensors) = &info.tensors {
        println!("\n{} tensors", tensors.len());
        for (name, shape) in tensors {
            println!("{name:<44} {shape:?}");
        }
    }
    Ok(())
}

fn describe(path: &Path) -> Result<Info> {
    let (config, tensors): (PretrainConfig, _) = if path.extension().is_some_and(|e| e == "toml") {
        (config::load(path, &[])?, None)
    } else {
        let checkpoint = Checkpoint::open(path)?;
        let tensors = checkpoint.weights.iter().map(|(name, entry)| (name.to_owned(), entry.shape.clone()));
        let tensors = tensors.collect();
        (checkpoint.config, Some(tensors))
    };
    let model = config.model.resolve(config.data.image_size)?;
    Ok(Info {
        image_size: config.data.image_size.pixels(),
        num_channels: model.num_channels,
        patch_size: model.patch_size,
        cost: NetworkCost::of(&config, &model)?,
        depths: model.depths,
        hidden_sizes: model.hidden_sizes,
        tensors,
    })
}
