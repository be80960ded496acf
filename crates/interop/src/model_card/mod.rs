//! `README.md` of an exported directory, with the header that the Hugging Face Hub reads: what is known of a
//! network, and nothing else.

mod usage;

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::format::Format;
use crate::network::{Kind, Network};
#[cfg(feature = "hub")]
pub(crate) use usage::on_the_hub;

/// The file of the card.
pub(crate) const CARD_FILE: &str = "README.md";

/// A measured accuracy.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Top-1 accuracy, 0 to 1.
    pub top1: f64,
    /// Top-5 accuracy, 0 to 1, if it is known.
    pub top5: Option<f64>,
    /// Updates after which it was measured.
    pub step: u64,
    /// Whether the network is the moving average of the weights.
    pub ema: bool,
    /// What the data set is called where the network was trained; of a folder the name, not the path.
    pub data: Option<String>,
    /// The part of it that is judged by.
    pub split: String,
    /// Images of that part, if it is known.
    pub images: Option<usize>,
}

/// What is known of a network beside its weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// As the Hub names licences: `mit`, `apache-2.0`, `cc-by-nc-4.0`, `unknown`.
    pub license: String,
    /// The data set's name on the Hub.
    pub dataset: Option<String>,
    /// The model on the Hub that training started from: `user/name`.
    pub base_model: Option<String>,
    /// Accuracy on images that were held out.
    pub score: Option<Score>,
    /// The configuration that it was trained with, as TOML.
    pub experiment: Option<String>,
    /// A picture of loss and accuracy over the training, which is copied beside the card.
    pub curves: Option<PathBuf>,
}

/// The name of that picture.
pub(crate) const CURVES_FILE: &str = "curves.png";

impl ModelCard {
    /// The card of a network in a format.
    pub(crate) fn text(&self, network: &Network, format: Format) -> String {
        let mut text = format!("---\n{}---\n\n# {}\n\n", self.header(network, format), title(network));
        let _ = writeln!(text, "{}\n", describe(network));
        if let Some(base) = &self.base_model {
            let _ = writeln!(text, "Fine-tuned from [{base}](https://huggingface.co/{base}).\n");
        }
        for difference in network.preprocessing().differences(format) {
            let _ = writeln!(text, "Beware: {difference}.\n");
        }
        let _ = writeln!(text, "## Use\n\n```python\n{}\n```\n", usage::snippet(network, format));
        if let Some(score) = &self.score {
            let _ = writeln!(text, "## Evaluation\n\n{}\n", score.in_words());
        }
        if self.experiment.is_some() || self.curves.is_some() {
            text += "## Training\n\n";
        }
        if self.curves.is_some() {
            let _ = writeln!(text, "![Curves of the training]({CURVES_FILE})\n");
        }
        if let Some(experiment) = &self.experiment {
            let _ = writeln!(text, "```toml\n{}\n```", experiment.trim_end());
        }
        text.trim_end().to_owned() + "\n"
    }

    /// YAML; a JSON string is one as well.
    fn header(&self, network: &Network, format: Format) -> String {
        let task = if network.kind == Kind::Classifier { CLASSIFICATION } else { "image-feature-extraction" };
        let mut yaml = format!("license: {}\n", json!(self.license));
        match format {
            Format::Transformers => yaml += "library_name: transformers\n",
            Format::Timm => yaml += "library_name: timm\n",
            Format::Official | Format::Onnx => {}
        }
        let _ = write!(yaml, "pipeline_tag: {task}\ntags:\n- convnextv2\n- {task}\n- vision\n");
        if format == Format::Onnx {
            yaml += "- onnx\n";
        }
        if let Some(base) = &self.base_model {
            let _ = write!(yaml, "base_model: {}\nbase_model_relation: finetune\n", json!(base));
        }
        if let Some(dataset) = &self.dataset {
            let _ = write!(yaml, "datasets:\n- {}\n", json!(dataset));
        }
        if let Some(score) = &self.score {
            let _ = write!(yaml, "metrics:\n- accuracy\n{}", self.results(score, &title(network)));
        }
        yaml
    }

    /// The results as the Hub's `model-index` has them, which wants a kind of data set for each: its name on
    /// the Hub if it is there.
    fn results(&self, score: &Score, title: &str) -> String {
        let on_the_hub = self.dataset.as_deref();
        let (kind, name) =
            (on_the_hub.unwrap_or("custom"), on_the_hub.or(score.data.as_deref()).unwrap_or("custom"));
        let mut yaml = format!(
            "model-index:\n- name: {}\n  results:\n  - task:\n      type: {CLASSIFICATION}\n    dataset:\n      \
             name: {}\n      type: {}\n      split: {}\n    metrics:\n",
            json!(title),
            json!(name),
            json!(kind),
            json!(score.split)
        );
        for (k, value) in [(1, Some(score.top1)), (5, score.top5)] {
            let Some(value) = value else { continue };
            let _ = write!(
                yaml,
                "    - type: accuracy\n      name: Top-{k} accuracy\n      value: {value:.6}\n      args:\n        \
                 top_k: {k}\n"
            );
        }
        yaml
    }
}

/// The Hub's name of the task.
const CLASSIFICATION: &str = "image-classification";

impl Score {
    fn in_words(&self) -> String {
        let top5 = self.top5.map_or(String::new(), |top5| format!(", top-5 {:.2} %", 100.0 * top5));
        let images = self.images.map_or("the images".to_owned(), |images| format!("the {images} images"));
        let data = self.data.as_ref().map_or(String::new(), |data| format!(" of `{data}`"));
        let ema = if self.ema { ", by the moving average of the weights" } else { "" };
        format!(
            "Top-1 accuracy {:.2} %{top5} on {images}{data} that were held out (part `{}`), after {} updates{ema}. \
             The network was chosen by this accuracy.",
            100.0 * self.top1,
            self.split,
            self.step
        )
    }
}

/// `ConvNeXt V2-atto`; of no published size, `ConvNeXt V2`.
fn title(network: &Network) -> String {
    match network.config.size() {
        Some(size) => format!("ConvNeXt V2-{size}"),
        None => "ConvNeXt V2".to_owned(),
    }
}

fn describe(network: &Network) -> String {
    let config = &network.config;
    let what = match network.kind {
        Kind::Pretraining { .. } => "A ConvNeXt V2 pretrained with FCMAE, without labels".to_owned(),
        Kind::Encoder | Kind::Backbone => "A ConvNeXt V2 encoder".to_owned(),
        Kind::Classifier => match network.problem_type.as_deref() {
            Some("regression") => format!("A ConvNeXt V2 that predicts {} numbers", config.num_labels),
            _ => format!("A ConvNeXt V2 classifier of {} classes", config.num_labels),
        },
    };
    format!(
        "{what} ([paper](https://arxiv.org/abs/2301.00808)): depths {:?}, channels {:?}. In evaluation, images \
         become {}.",
        config.depths,
        config.hidden_sizes,
        network.preprocessing()
    )
}
