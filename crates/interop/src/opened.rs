//! A checkpoint of any origin with its recipe: what it says of its network and preprocessing, in the
//! sections of a configuration.

use std::path::{Path, PathBuf};

use checkpoint::{Allow, BoxError, CONFIG_FILE, Checkpoint, MODEL_FILE, Recipe};
use data::{DataConfig, EvalConfig};
use model::{ConvNextV2Config, ModelConfig};

use crate::error::InteropError;
use crate::file::INDEX_ENDING;
use crate::layout::Layout;
use crate::network::{Kind, Network};
use crate::networks::Origin;
use crate::preprocessing::Preprocessing;
use crate::read::{Imported, read_key};

/// Side of a patch in the paper.
const USUAL_PATCH: usize = 32;

/// What the project's other crates do, which the recipe of a checkpoint depends on.
#[derive(Debug, Clone, Copy)]
pub struct Conventions {
    /// Reads and checks the stored configuration of a run, every key of it.
    pub recipe: fn(&Path) -> Result<Recipe, BoxError>,
}

/// What a path holds, whatever its format.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The folder, or the file if its folder means nothing.
    pub path: PathBuf,
    /// Where the names of the tensors came from.
    pub layout: Layout,
    /// Where in its file the network was.
    pub origin: Origin,
    /// The sections `model`, `data`, `eval`, and `fcmae` or `finetune`.
    pub recipe: Recipe,
    /// Whether the recipe was found, not made up.
    pub is_ours: bool,
    /// The weights, and what goes with them.
    pub network: Network,
}

/// Opens a run (its best network, or its newest checkpoint if none was evaluated), a checkpoint
/// folder, a directory of transformers or timm, or a weight file of any of them or of the official
/// code; of a file with several networks that under `key`, or the usual one.
///
/// # Errors
/// As [`read_key`]; a configuration beside the weights that is about another network.
pub fn open(
    path: &Path,
    key: Option<&str>,
    allow: &Allow,
    conventions: &Conventions,
) -> Result<Opened, InteropError> {
    let Imported { mut network, layout, origin, file } = read_key(path, key, allow)?;
    let config_file = file.with_file_name(CONFIG_FILE);
    let is_safetensors = file.extension().is_some_and(|extension| extension == "safetensors");
    let is_ours = layout == Layout::Official && is_safetensors && config_file.is_file();
    let recipe = match is_ours {
        true => (conventions.recipe)(&config_file).map_err(InteropError::Recipe)?,
        false => made_up(&network),
    };
    if is_ours {
        let misfit = |reason| InteropError::Config { path: config_file.clone(), reason };
        complete(&mut network, &recipe)?.map_err(misfit)?;
    }
    let has_folder = file.file_name().is_some_and(|name| name == MODEL_FILE);
    let is_list = file.to_str().is_some_and(|name| name.ends_with(INDEX_ENDING));
    let folder = file.parent().filter(|_| has_folder || is_list).map(Path::to_owned);
    Ok(Opened { path: folder.unwrap_or(file), layout, origin, recipe, is_ours, network })
}

impl Opened {
    /// Replaces what is done to images.
    pub fn set_eval(&mut self, data: &DataConfig, eval: EvalConfig) {
        self.network.preprocessing = Some(Preprocessing::of(data, &eval));
        self.recipe.set("eval", eval);
    }

    /// What training and evaluation need of it.
    pub fn into_checkpoint(self) -> Checkpoint {
        Checkpoint { path: self.path, weights: self.network.weights, recipe: self.recipe }
    }
}

/// The configuration that a network from elsewhere would have here.
fn made_up(network: &Network) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.set("model", ModelConfig::from(&network.config));
    let preprocessing = network.preprocessing();
    let Preprocessing { image_size: [height, width], mean, std, .. } = &preprocessing;
    let mut data = toml::Table::new();
    let side = |pixels: &usize| toml::Value::from(*pixels as i64);
    let size = if height == width { side(height) } else { vec![side(height), side(width)].into() };
    data.insert("image_size".to_owned(), size);
    data.insert("mean".to_owned(), decimals(mean));
    data.insert("std".to_owned(), decimals(std));
    recipe.set("data", data);
    recipe.set("eval", eval_section(&preprocessing));
    match network.kind {
        Kind::Classifier => recipe.set("finetune", classifier_section(network)),
        kind => recipe.set("fcmae", pretraining_section(&network.config, kind)),
    }
    recipe
}

fn eval_section(preprocessing: &Preprocessing) -> toml::Table {
    let mut section = toml::Table::try_from(preprocessing.eval()).unwrap_or_default();
    section.insert("mean".to_owned(), decimals(&preprocessing.mean));
    section.insert("std".to_owned(), decimals(&preprocessing.std));
    section
}

fn decimals(values: &[f32]) -> toml::Value {
    crate::network::decimals(values).into()
}

fn classifier_section(network: &Network) -> toml::Table {
    let mut section = toml::Table::new();
    section.insert("classes".to_owned(), network.labels().into());
    if network.labels.is_none() {
        section.insert("unnamed".to_owned(), true.into());
    }
    if let Some(problem) = &network.problem_type {
        section.insert("problem_type".to_owned(), problem.clone().into());
    }
    section
}

fn pretraining_section(model: &ConvNextV2Config, kind: Kind) -> toml::Table {
    let mut section = toml::Table::new();
    let mut set = |key: &str, value: usize| section.insert(key.to_owned(), (value as i64).into());
    if let Kind::Pretraining { decoder_dim, decoder_depth } = kind {
        set("decoder_dim", decoder_dim);
        set("decoder_depth", decoder_depth);
    }
    let stride = model.total_stride();
    set("patch_size", if USUAL_PATCH.is_multiple_of(stride) { USUAL_PATCH } else { stride });
    section
}

/// Adds to weights what their own configuration says. The inner error: they are of another network.
fn complete(network: &mut Network, recipe: &Recipe) -> Result<Result<(), String>, InteropError> {
    #[derive(Default, serde::Deserialize)]
    struct Classes {
        #[serde(default)]
        classes: Vec<String>,
        problem_type: Option<String>,
        #[serde(default)]
        unnamed: bool,
    }
    let section: ModelConfig = recipe.section("model")?.unwrap_or_default();
    let data = recipe.section::<DataConfig>("data")?.unwrap_or_default();
    let eval = recipe.section::<EvalConfig>("eval")?.unwrap_or_default();
    let preprocessing = Preprocessing::of(&data, &eval);
    let shapes = &network.config;
    let mut model = match section.resolve(preprocessing.image_size) {
        Ok(model) => model,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let architecture =
        |c: &ConvNextV2Config| (c.depths.clone(), c.hidden_sizes.clone(), c.num_channels, c.patch_size);
    if architecture(&model) != architecture(shapes) {
        return Ok(Err(format!(
            "does not fit: it says depths {:?}, channels {:?}; the weights have {:?}, {:?}",
            model.depths, model.hidden_sizes, shapes.depths, shapes.hidden_sizes
        )));
    }
    model.num_labels = shapes.num_labels;
    let named: Option<Classes> = recipe.section("finetune")?;
    if named.is_some() || model.num_labels > 0 {
        let Classes { classes, problem_type, unnamed } = named.unwrap_or_default();
        if classes.len() != model.num_labels {
            return Ok(Err(format!(
                "does not fit: it names {} classes, the head has {}",
                classes.len(),
                model.num_labels
            )));
        }
        network.labels = Some(classes).filter(|_| !unnamed);
        network.problem_type = problem_type;
    }
    network.config = model;
    network.preprocessing = Some(preprocessing);
    Ok(Ok(()))
}
