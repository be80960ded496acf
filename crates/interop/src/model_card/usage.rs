//! Python that uses an exported directory: from within it, and on the Hub.

use data::transform::CropMode;

use crate::format::Format;
use crate::network::{Kind, Network};
use crate::preprocessing::{Preprocessing, name};

/// What the line of a snippet ends with that says where the model is.
const HERE: &str = "  # this folder";
/// Those lines, and what they are on the Hub, where `REPO` is the repository.
const PLACES: [(&str, &str); 3] = [
    ("name = \".\"", "name = \"REPO\""),
    ("name = \"local-dir:.\"", "name = \"hf-hub:REPO\""),
    (
        "folder = \".\"",
        "from huggingface_hub import snapshot_download\n\nfolder = snapshot_download(\"REPO\")",
    ),
];

/// Python that opens the directory and computes something, as it can be pasted there.
pub(super) fn snippet(network: &Network, format: Format) -> String {
    let classifies = network.kind == Kind::Classifier;
    let mode = if network.config.num_channels == 1 { "L" } else { "RGB" };
    let is_of_pictures = matches!(network.config.num_channels, 1 | 3);
    let text = match format {
        Format::Transformers if !is_of_pictures => TRANSFORMERS_BANDS,
        Format::Timm if !is_of_pictures => TIMM_BANDS,
        Format::Onnx if !is_of_pictures => ONNX_BANDS,
        Format::Transformers if classifies => TRANSFORMERS_CLASSIFIER,
        Format::Transformers => TRANSFORMERS_ENCODER,
        Format::Timm => TIMM,
        Format::Official => OFFICIAL,
        Format::Onnx => ONNX,
    };
    let preprocessing = network.preprocessing();
    let (resized, [height, width]) = (resized(&preprocessing), preprocessing.size);
    let shape = format!("(1, {}, {height}, {width})", network.config.num_channels);
    text.replace("HERE", HERE)
        .replace("AUTO", if classifies { "AutoModelForImageClassification" } else { "AutoModel" })
        .replace("SHAPE", &shape)
        .replace("MODE", mode)
        .replace("RESIZED", &resized)
        .replace("SHOWN", shown(network, format))
        .trim()
        .to_owned()
}

const TRANSFORMERS_CLASSIFIER: &str = r#"
from PIL import Image
from transformers import pipeline

name = "."HERE
image = Image.new("MODE", (640, 480))  # or Image.open("photo.jpg")
print(pipeline("image-classification", model=name)(image))
"#;

const TRANSFORMERS_ENCODER: &str = r#"
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

name = "."HERE
processor = AutoImageProcessor.from_pretrained(name)
model = AutoModel.from_pretrained(name).eval()
image = Image.new("MODE", (640, 480))  # or Image.open("photo.jpg").convert("MODE")
with torch.no_grad():
    print(model(**processor(image, return_tensors="pt")).pooler_output.shape)
"#;

const TIMM: &str = r#"
import timm
import torch
from PIL import Image

name = "local-dir:."HERE
model = timm.create_model(name, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = Image.new("MODE", (640, 480))  # or Image.open("photo.jpg").convert("MODE")
with torch.no_grad():
    outputs = model(transform(image).unsqueeze(0))[0]
SHOWN
"#;

const TRANSFORMERS_BANDS: &str = r#"
import torch
from transformers import AUTO

name = "."HERE
model = AUTO.from_pretrained(name).eval()
pixels = torch.zeros(SHAPE)  # images, resized and normalised
with torch.no_grad():
    print(model(pixels)[0].shape)
"#;

const TIMM_BANDS: &str = r#"
import timm
import torch

name = "local-dir:."HERE
model = timm.create_model(name, pretrained=True).eval()
pixels = torch.zeros(SHAPE)  # images, resized and normalised
with torch.no_grad():
    outputs = model(pixels)[0]
SHOWN
"#;

const ONNX_BANDS: &str = r#"
import json

import numpy as np
import onnxruntime

folder = "."HERE
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
meta = session.get_modelmeta().custom_metadata_map
pixels = np.zeros(SHAPE, "float32")  # images, resized and normalised
outputs = session.run(None, {"pixel_values": pixels})[-1][0]
SHOWN
"#;

const OFFICIAL: &str = r#"
import torch

folder = "."HERE
# For model.load_state_dict of the official code; main_finetune.py takes the file itself.
state = torch.load(f"{folder}/checkpoint.pth", weights_only=True)["model"]
print(len(state), "tensors")
"#;

const ONNX: &str = r#"
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = "."HERE
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
meta = session.get_modelmeta().custom_metadata_map
image = Image.new("MODE", (640, 480))  # or Image.open("photo.jpg").convert("MODE")
RESIZED
mean, std = (np.array(json.loads(meta[key]), "float32") for key in ("image_mean", "image_std"))
pixels = np.asarray(image, "float32").reshape(image.height, image.width, -1) / 255
pixels = ((pixels - mean) / std).transpose(2, 0, 1)[None]
outputs = session.run(None, {"pixel_values": pixels})[-1][0]
SHOWN
"#;

/// The line that prints the outputs: the class where the file names classes and one is right.
fn shown(network: &Network, format: Format) -> &'static str {
    let tells_one = network.problem_type.as_deref().is_none_or(|problem| problem.starts_with("single"));
    let is_named = network.kind == Kind::Classifier && network.labels.is_some() && tells_one;
    match format {
        Format::Timm if is_named => r#"print(model.pretrained_cfg["label_names"][int(outputs.argmax())])"#,
        Format::Onnx if is_named => r#"print(json.loads(meta["id2label"])[str(outputs.argmax())])"#,
        _ => "print(outputs.shape)",
    }
}

/// The line that brings an image to the network's size as evaluation does, where Pillow has it in one.
fn resized(preprocessing: &Preprocessing) -> String {
    let Preprocessing { size: [height, width], crop_pct, crop_mode, interpolation, .. } = preprocessing;
    let filter = format!("Image.Resampling.{}", name(interpolation).to_uppercase());
    let bleed = (1.0 - crop_pct) / 2.0;
    match crop_mode {
        CropMode::Center | CropMode::CenterTruncated if *crop_pct <= 1.0 => {
            format!("image = ImageOps.fit(image, ({width}, {height}), {filter}, bleed={bleed})")
        }
        CropMode::Squash if *crop_pct == 1.0 => {
            format!("image = image.resize(({width}, {height}), {filter})")
        }
        _ => format!(
            "# Simpler than the evaluation: crop_mode {}, crop_pct {crop_pct}.\nimage = image.resize(({width}, \
             {height}), {filter})",
            name(crop_mode)
        ),
    }
}

/// A card as it is in a repository of the Hub: that is named where the text has the folder, and as the model
/// of the results. Other texts stay as they are.
#[cfg(feature = "hub")]
pub(crate) fn on_the_hub(card: &str, owner: &str, model: &str) -> String {
    let repo = format!("{owner}/{model}");
    let mut lines = Vec::new();
    for line in card.split('\n') {
        let place = PLACES.iter().find(|(here, _)| line.strip_suffix(HERE) == Some(here));
        lines.push(match place {
            Some((_, there)) => there.replace("REPO", &repo),
            None if lines.last().is_some_and(|last| last == "model-index:")
                && line.starts_with("- name: ") =>
            {
                format!("- name: {}", serde_json::json!(model))
            }
            None => line.to_owned(),
        });
    }
    lines.join("\n")
}

#[cfg(all(test, feature = "hub"))]
mod tests {
    use super::*;

    #[test]
    fn a_card_names_its_repository_wherever_it_said_here() {
        let card = "---\nmodel-index:\n- name: \"ConvNeXt V2\"\n---\nname = \".\"  # this folder\n\
                    name = \"local-dir:.\"  # this folder\nfolder = \".\"  # this folder\nname = \".\"\n";
        let filled = "---\nmodel-index:\n- name: \"my-model\"\n---\nname = \"me/my-model\"\n\
                      name = \"hf-hub:me/my-model\"\nfrom huggingface_hub import snapshot_download\n\n\
                      folder = snapshot_download(\"me/my-model\")\nname = \".\"\n";
        assert_eq!(on_the_hub(card, "me", "my-model"), filled);
        assert_eq!(
            on_the_hub(filled, "me", "other"),
            filled.replace("- name: \"my-model\"", "- name: \"other\"")
        );
    }

    #[test]
    fn every_snippet_says_once_where_the_model_is() {
        let of_bands = [TRANSFORMERS_BANDS, TIMM_BANDS, ONNX_BANDS];
        let of_pictures = [TRANSFORMERS_CLASSIFIER, TRANSFORMERS_ENCODER, TIMM, OFFICIAL, ONNX];
        for text in of_pictures.into_iter().chain(of_bands) {
            let text = text.replace("HERE", HERE);
            let places = text
                .lines()
                .filter(|line| PLACES.iter().any(|(here, _)| line.strip_suffix(HERE) == Some(here)));
            assert_eq!(places.count(), 1, "{text}");
        }
    }
}
