//! `train-cli export`: a network in a format of the outside world.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use interop::onnx::{self, Metadata};
use model::official_name;
use trainer::StateDict;

use crate::args::{ExportArgs, ExportFormat};
use crate::checkpoint::{Classifier, FeatureExtractor, is_pretraining};
use crate::config::DataSection;
use crate::experiment::normalize;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let file = args.out.join("model.onnx");
    match args.format {
        ExportFormat::Onnx => export_onnx(&args.checkpoint, &file)?,
    }
    println!("wrote {}", file.display());
    Ok(())
}

/// A classifier with its logits; a pretrained encoder with its features.
fn export_onnx(checkpoint: &Path, file: &Path) -> Result<()> {
    let device = Device::flex();
    let (config, network, data, labels) = if is_pretraining(checkpoint)? {
        let encoder = FeatureExtractor::open(checkpoint, &device)?;
        (encoder.model, encoder.network, encoder.data, Vec::new())
    } else {
        let classifier = Classifier::open(checkpoint, &device)?;
        let config = classifier.config;
        (classifier.model, classifier.network, config.data, config.finetune.classes)
    };
    let weights = StateDict::of_module(&network, &official_name);
    let metadata = metadata(&data, config.num_channels, labels)?;
    Ok(onnx::write(&config, &weights, &metadata, file)?)
}

fn metadata(data: &DataSection, channels: usize, labels: Vec<String>) -> Result<Metadata> {
    let normalize = normalize(data, channels)?;
    let image_size = Some(data.image_size.pixels());
    Ok(Metadata { labels, image_size, image_mean: normalize.mean, image_std: normalize.std })
}
