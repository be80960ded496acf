//! What fine-tuning can be told, beside model, data, optimizer and length.

use std::path::PathBuf;

use config::{SettingError, section};
use data::{Naming, are_same_imagenet_classes, imagenet_names};
use serde::{Deserialize, Serialize};

use crate::class_weights::ClassWeights;
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
    pub struct FinetuneConfig: "finetune", together = together {
        /// Factor on the learning rate from one layer to the one below it.
        layer_decay: f64 = 1.0, "in (0, 1]" => |rate| *rate > 0.0 && *rate <= 1.0;
        /// What counts as a layer: every block, or twelve groups made for Base and larger.
        layer_decay_type: LayerIds = LayerIds::Single;
        /// Factor on the weights of a fresh head.
        head_init_scale: f64 = 0.001, "0 or more" => |scale| *scale >= 0.0 && scale.is_finite();
        /// Share of the target that is spread over all classes; with several labels an image, over
        /// showing a class and not showing it.
        label_smoothing: f64 = 0.1, "in [0, 1)" => |share| (0.0..1.0).contains(share);
        /// What the training loss of each class is multiplied by, where classes differ in size:
        /// `balanced` for images / (classes × images of the class), or a number for each class, in order.
        class_weights: Option<ClassWeights> = None, "`\"balanced\"`, or numbers, 0 or more and one of them above 0"
            => |weights| weights.as_ref().is_none_or(ClassWeights::is_sound);
        /// Decay of the moving average of the weights, which is evaluated as well; none without one.
        ema_decay: Option<f64> = None, "in [0, 1) (leave it out for no moving average)"
            => |decay| decay.is_none_or(|decay| (0.0..1.0).contains(&decay));
        /// Whether the decay rises to `ema_decay` from 0, by 1 − n^(−2/3) at update n (timm's
        /// `ModelEmaV3`), so that the first weights do not stay in the average of a short run.
        ema_warmup: bool = false;
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
        /// Whether those names are made up, for a checkpoint of another program that has none; only
        /// `import` says so.
        unnamed: bool = false;
    }
    on resume {
        fixed: layer_decay, layer_decay_type, head_init_scale, label_smoothing, ema_decay, freeze,
            problem_type, classes, class_weights, ema_warmup, unnamed;
        free: eval_every_epochs, patience, init;
    }
}

/// Classes of ImageNet, and so of the heads that are taken for its.
const IMAGENET_CLASSES: usize = 1000;

impl FinetuneConfig {
    /// What to call the outputs, and where that comes from. A thousand without names are ImageNet's.
    pub fn names(&self) -> (Vec<String>, Naming) {
        let tells_classes = self.problem_type.unwrap_or_default() == ProblemType::SingleLabelClassification;
        match self.unnamed {
            false => (self.classes.clone(), Naming::Own),
            true if tells_classes && self.classes.len() == IMAGENET_CLASSES => {
                (imagenet_names(), Naming::ImageNet)
            }
            true => (self.classes.clone(), Naming::Numbers),
        }
    }

    /// Whether a head of these classes is one of others: in the same order, by the same names, or by
    /// ids and words of ImageNet. Names that are made up are those of no class.
    pub(crate) fn tells_the_same_as(&self, other: &Self) -> bool {
        let (names, naming) = self.names();
        let is_equal = naming == Naming::Own && names == other.classes;
        self.problem_type.unwrap_or_default() == other.problem_type.unwrap_or_default()
            && (is_equal || are_same_imagenet_classes(&other.classes, &names))
    }
}

fn together(finetune: &FinetuneConfig) -> Result<(), SettingError> {
    if finetune.ema_warmup && finetune.ema_decay.is_none() {
        return Err(SettingError::Together(
            "finetune.ema_warmup warms up a moving average, and there is none; set finetune.ema_decay as well"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::imagenet_ids;

    #[test]
    fn a_head_is_kept_for_the_same_classes_alone() {
        let of =
            |classes: Vec<String>, unnamed| FinetuneConfig { classes, unnamed, ..FinetuneConfig::default() };
        let numbered = |count| (0..count).map(|index| format!("LABEL_{index}")).collect::<Vec<_>>();
        let ours = of(numbered(3), false);
        assert!(of(numbered(3), false).tells_the_same_as(&ours));
        assert!(!of(numbered(3), true).tells_the_same_as(&ours));
        assert!(!of(numbered(3).into_iter().rev().collect(), false).tells_the_same_as(&ours));
        let ids = of(imagenet_ids(), false);
        assert!(of(imagenet_names(), false).tells_the_same_as(&ids));
        assert!(of(numbered(1000), true).tells_the_same_as(&ids));
        assert!(!of(numbered(1000), false).tells_the_same_as(&ids));
        assert!(!of(numbered(1000), true).tells_the_same_as(&of(imagenet_ids()[1..].to_vec(), false)));
        let labels = Some(ProblemType::MultiLabelClassification);
        assert!(!FinetuneConfig { problem_type: labels, ..ids.clone() }.tells_the_same_as(&ids));
    }
}
