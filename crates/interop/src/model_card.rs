//! `README.md` of an exported directory, with the header that the Hugging Face Hub reads.

use std::fmt::Write;

use serde_json::json;

use crate::format::Format;
use crate::network::{Kind, Network};
use crate::preprocessing::{Preprocessing, name};

/// A measured accuracy.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Top-1 accuracy, 0 to 1.
    pub top1: f64,
    /// Updates after which it was measured.
    pub step: u64,
}

/// What is known of a network beside its weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelCard {
    /// Title.
    pub name: String,
    /// As the Hub names licences: `mit`, `apache-2.0`, `cc-by-nc-4.0`, `unknown`.
    pub license: String,
    /// Name of the data set.
    pub dataset: Option<String>,
    /// Accuracy on the validation images of the run.
    pub score: Option<Score>,
    /// The configuration that it was trained with, as TOML.
    pub experiment: Option<String>,
}

impl ModelCard {
    /// The card of a network in a format.
    pub(crate) fn text(&self, network: &Network, format: Format) -> String {
        let mut text = format!("---\n{}---\n\n# {}\n\n", self.header(network, format), self.name);
        let _ = writeln!(text, "{}\n", describe(network));
        for difference in network.preprocessing().differences(format) {
            let _ = writeln!(text, "Beware: {difference}.\n");
        }
        let _ = writeln!(text, "## Use\n\n```python\n{}\n```\n", usage(network, format));
        if let Some(Score { top1, step }) = &self.score {
            let _ =
                writeln!(text, "Top-1 accuracy on validation images: {:.2}% (step {step}).\n", 100.0 * top1);
        }
        if let Some(experiment) = &self.experiment {
            let _ = writeln!(text, "## Training configuration\n\n```toml\n{}\n```", experiment.trim_end());
        }
        text.trim_end().to_owned() + "\n"
    }

    /// YAML; a JSON string is one as well.
    fn header(&self, network: &Network, format: Format) -> String {
        let classifier = network.kind == Kind::Classifier;
        let task = if classifier { "image-classification" } else { "image-feature-extraction" };
        let library = if format == Format::Timm { "timm" } else { "transformers" };
        let mut yaml = format!("license: {}\n", json!(self.license));
        if format != Format::Official {
            let _ = writeln!(yaml, "library_name: {library}");
        }
        let _ = write!(yaml, "pipeline_tag: {task}\ntags:\n- convnextv2\n- {task}\n- vision\n");
        if let Some(dataset) = &self.dataset {
            let _ = write!(yaml, "datasets:\n- {}\n", json!(dataset));
        }
        if let Some(score) = &self.score {
            let _ = write!(yaml, "metrics:\n- accuracy\n{}", self.results(score, task));
        }
        yaml
    }

    fn results(&self, score: &Score, task: &str) -> String {
        let (name, dataset) =
            (json!(self.name), json!(self.dataset.as_deref().unwrap_or("validation images")));
        format!(
            "model-index:\n- name: {name}\n  results:\n  - task:\n      type: {task}\n    dataset:\n      \
             name: {dataset}\n      type: {dataset}\n    metrics:\n    - type: accuracy\n      value: {:.6}\n",
            score.top1
        )
    }
}

fn describe(network: &Network) -> String {
    let (config, preprocessing) = (&network.config, network.preprocessing());
    let what = match network.kind {
        Kind::Pretraining { .. } => "A ConvNeXt V2 pretrained with FCMAE, without labels".to_owned(),
        Kind::Encoder | Kind::Backbone => "A ConvNeXt V2 encoder".to_owned(),
        Kind::Classifier => format!("A ConvNeXt V2 classifier of {} classes", config.num_labels),
    };
    let [height, width] = preprocessing.size;
    let Preprocessing { crop_pct, crop_mode, interpolation, .. } = preprocessing;
    format!(
        "{what} ([paper](https://arxiv.org/abs/2301.00808)): depths {:?}, channels {:?}. In evaluation, images become \
         {height}×{width} pixels (crop_mode {}, crop_pct {crop_pct}, interpolation {}), normalised by mean {:?} and \
         deviation {:?}.",
        config.depths,
        config.hidden_sizes,
        name(crop_mode),
        name(interpolation),
        preprocessing.mean,
        preprocessing.std
    )
}

/// Python that opens the directory.
fn usage(network: &Network, format: Format) -> &'static str {
    let classifier = network.kind == Kind::Classifier;
    match format {
        Format::Transformers if classifier => {
            "from transformers import pipeline\n\n\
             print(pipeline(\"image-classification\", model=\"DIR\")(\"photo.jpg\"))"
        }
        Format::Transformers => {
            "from transformers import AutoImageProcessor, AutoModel\n\n\
             processor = AutoImageProcessor.from_pretrained(\"DIR\")\n\
             model = AutoModel.from_pretrained(\"DIR\")"
        }
        Format::Timm => {
            "import timm\n\n\
             model = timm.create_model(\"local-dir:DIR\", pretrained=True).eval()\n\
             transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        }
        Format::Official if classifier => {
            "# main_finetune.py --eval --resume DIR/checkpoint.pth, or\n\
             model.load_state_dict(torch.load(\"DIR/checkpoint.pth\")[\"model\"])"
        }
        Format::Official => {
            "# main_finetune.py --finetune DIR/checkpoint.pth\n\
             state = torch.load(\"DIR/checkpoint.pth\")[\"model\"]  # names and shapes of main_pretrain.py"
        }
    }
}
