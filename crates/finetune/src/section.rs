//! What fine-tuning can be told, beside model, data, optimizer and length.

use std::path::PathBuf;

use config::section;
use serde::{Deserialize, Serialize};

use crate::layer_decay::LayerIds;
use crate::problem::ProblemType;

/// Which parameters stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freeze {
    /// Every parameter is trained.
    #[default]
    None,
    /// Only norm and head are trained.
    Encoder,
}

section! {
    /// The recipe of fine-tuning; the defaults change nothing that the official code does not.
    pub struct FinetuneConfig: "finetune" {
        /// Factor on the learning rate from one layer to the one below it.
        layer_decay: f64 = 1.0, "in (0, 1]" => |rate| *rate > 0.0 && *rate <= 1.0;
        /// What counts as a layer: every block, or twelve groups made for Base and larger.
        layer_decay_type: LayerIds = LayerIds::Single;
        /// Factor on the weights of a fresh head.
        head_init_scale: f64 = 0.001, "0 or more" => |scale| *scale >= 0.0 && scale.is_finite();
        /// Share of the target that is spread over all classes; with several labels an image, over
        /// showing a class and not showing it.
        label_smoothing: f64 = 0.1, "in [0, 1)" => |share| (0.0..1.0).contains(share);
        /// Decay of the moving average of the weights, which is evaluated as well; none without one.
        ema_decay: Option<f64> = None, "in [0, 1) (leave it out for no moving average)"
            => |decay| decay.is_none_or(|decay| (0.0..1.0).contains(&decay));
        /// Epochs between evaluations.
        eval_every_epochs: u64 = 1, "at least 1" => |epochs| *epochs > 0;
        /// Evaluations without a better score after which the run stops; none to go on to the end.
        patience: Option<u64> = None, "at least 1 (or left out)" => |count| *count != Some(0);
        /// Which parameters stay as they are: none, or everything but norm and head.
        freeze: Freeze = Freeze::None;
        /// Checkpoint to start from, unless the command line says another.
        init: Option<PathBuf> = None;
        /// What the network learns to say; what the data say, unless given.
        problem_type: Option<ProblemType> = None;
        /// Class names, in the order of the head's outputs; filled in from the data.
        classes: Vec<String> = Vec::new();
    }
    on resume {
        fixed: layer_decay, layer_decay_type, head_init_scale, label_smoothing, ema_decay, freeze,
            problem_type, classes;
        free: eval_every_epochs, patience, init;
    }
}
