//! What a path on the command line means: a run, a checkpoint or a weight file, of this project or of
//! the official code, timm or transformers, here or on the Hub.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, Recipe, StateDict};
use data::transform::EvalTransform;
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;
use interop::{Conventions, Kind, Network, Opened};
use model::{ConvNextV2ForImageClassification, is_decoder, is_encoder, official_name};
use trainer::BoxError;

/// Opens a run (its best network, or its newest checkpoint if none was evaluated), a checkpoint
/// folder, a directory of transformers or timm, or a weight file of any of them or of the official
/// code; `hf:user/name` is downloaded. Every command reads checkpoints by this.
pub(crate) fn open(path: &Path, allow: &Allow) -> Result<Opened> {
    const CONVENTIONS: Conventions =
        Conventions { crop_pct: |size| EvalTransform { size }.crop_pct(), recipe: stored_recipe };
    Ok(interop::open(&crate::hub::local(path)?, allow, &CONVENTIONS)?)
}

/// The same as what training and evaluation work with.
pub(crate) fn checkpoint(path: &Path) -> Result<Checkpoint> {
    Ok(open(path, &Allow::default())?.into_checkpoint())
}

/// The same for runs that start from one.
pub(crate) fn read(path: &Path, allow: &Allow) -> Result<Checkpoint, BoxError> {
    Ok(open(path, allow)?.into_checkpoint())
}

/// Fills in what a checkpoint was allowed to lack, with the values that training starts from.
pub(crate) fn fill_in(network: &mut Network) -> Result<()> {
    let device = Device::flex();
    let fresh = match network.kind {
        Kind::Pretraining { decoder_dim, decoder_depth } => {
            let config = fcmae::FcmaeConfig { decoder_dim, decoder_depth, ..Default::default() };
            let fresh = fcmae::Fcmae::new(&config, &network.config, Default::default(), 0, &device)?;
            StateDict::of_module(&fresh, &official_name)
        }
        _ => {
            let fresh = ConvNextV2ForImageClassification::new(&network.config, 0, &device)?;
            StateDict::of_module(&fresh, &official_name)
        }
    };
    for (name, entry) in fresh {
        let belongs = network.kind == Kind::Classifier || is_encoder(&name) || is_decoder(&name);
        if belongs && network.weights.get(&name).is_none() {
            network.weights.insert(name, entry);
        }
    }
    Ok(())
}

/// The configuration that a run has stored, read as what it is: nothing in it is passed over.
fn stored_recipe(file: &Path) -> Result<Recipe, BoxError> {
    let text = match Recipe::load(file)?.has("finetune") {
        true => config::to_toml(&config::load_stored::<FinetuneExperiment>(file)?)?,
        false => config::to_toml(&config::load_stored::<PretrainExperiment>(file)?)?,
    };
    Ok(Recipe::from_text(file, text)?)
}

/// The pretraining experiment that a checkpoint of any origin would have here.
pub(crate) fn pretraining(recipe: &Recipe) -> Result<PretrainExperiment> {
    Ok(config::parse(&recipe.to_toml(), &[])?)
}
