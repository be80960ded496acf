//! `train-cli reconstruct`: pictures of completed images, and how good they are.

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use checkpoint::Checkpoint;
use data::prepare;
use fcmae::{Fcmae, FcmaeConfig, PretrainExperiment, Score, random_mask, reconstruct, usual_bands};
use model::{ConvNextV2Config, is_decoder, official_name};
use serde::Serialize;

use crate::args::ReconstructArgs;
use crate::checkpoint::{checkpoint, pretraining};
use crate::output::{self, out};
use crate::world::computing;

/// What is written beside the picture.
#[derive(Serialize)]
struct Report {
    checkpoint: String,
    mask_ratio: f64,
    visible_patches: usize,
    patches: usize,
    seed: u64,
    /// Reconstructions were coloured with the true patches' mean and variance.
    used_target_statistics: bool,
    reconstructions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    image: String,
    #[serde(flatten)]
    score: Score,
}

pub(crate) fn run(args: &ReconstructArgs) -> Result<()> {
    computing(args.device.name, || complete(args))
}

fn complete(args: &ReconstructArgs) -> Result<()> {
    let json = output::beside(&args.out, "masked_mse")?;
    let device = args.device.name.device()?;
    let checkpoint = checkpoint(&args.checkpoint, &args.set)?;
    let (experiment, model, network) = pretrained(&checkpoint, &device)?;
    let ratio = args.mask_ratio.unwrap_or(experiment.fcmae.mask_ratio);
    let masked = FcmaeConfig { mask_ratio: ratio, ..experiment.fcmae.clone() };
    let shown = bands(args.bands.as_deref(), model.num_channels)?;
    let shape = masked.mask_shape(&model, experiment.eval.size(&experiment.data))?;

    let images = args
        .images
        .iter()
        .map(|path| data::decode_file(path, experiment.data.decode(model.num_channels)))
        .collect::<Result<Vec<_>, _>>()?;
    let PretrainExperiment { data, eval, .. } = &experiment;
    let normalize = eval.normalize(data, model.num_channels)?;
    let (values, dims) = prepare(images, &eval.transform(data), &normalize).map_err(anyhow::Error::msg)?;

    let indices: Vec<u64> = (0..args.images.len() as u64).collect();
    let mask = random_mask(&shape, args.seed, 0, &indices)?;
    let images = host::floats(values, dims, &device);
    let result = reconstruct(&network, images, &mask, &normalize, shown)
        .with_context(|| format!("for {}", checkpoint.path.display()))?;

    let rows = args.images.iter().zip(&result.scores);
    let report = Report {
        checkpoint: checkpoint.path.display().to_string(),
        mask_ratio: ratio,
        visible_patches: shape.visible,
        patches: shape.patches(),
        seed: args.seed,
        used_target_statistics: result.used_target_statistics,
        reconstructions: rows
            .map(|(path, score)| Row { image: path.display().to_string(), score: *score })
            .collect(),
    };
    let numbers = serde_json::to_string_pretty(&report)? + "\n";
    let picture =
        drawing::png(&result.picture).with_context(|| format!("cannot write {}", args.out.display()))?;
    whole::write_all([(&*json, numbers.as_bytes()), (&*args.out, &*picture)])?;

    out!("{} of {} patches visible", shape.visible, shape.patches());
    for row in &report.reconstructions {
        out!("{}: {}", row.image, row.score);
    }
    if report.used_target_statistics {
        out!(
            "note: this network predicts patch-normalised pixels (norm_pix_loss); the picture and the \
             numbers use the mean and variance of the true patches"
        );
    }
    out!("picture      {}", args.out.display());
    out!("scores       {}", json.display());
    Ok(())
}

/// The channels that are shown, counted from 0, of bands that people count from 1.
fn bands(wanted: Option<&[usize]>, channels: usize) -> Result<[usize; 3]> {
    let Some(wanted) = wanted else { return Ok(usual_bands(channels)) };
    if let Some(band) = wanted.iter().find(|band| !(1..=channels).contains(*band)) {
        bail!("--bands {band}: the network's images have bands 1 to {channels}");
    }
    match *wanted {
        [grey] => Ok([grey - 1; 3]),
        [red, green, blue] => Ok([red - 1, green - 1, blue - 1]),
        _ => bail!("--bands takes three bands, as red, green and blue, or one as grey"),
    }
}

/// The pretraining network of a checkpoint, and what it was trained as.
fn pretrained(
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<(PretrainExperiment, ConvNextV2Config, Fcmae)> {
    let path = checkpoint.path.display();
    if !checkpoint.weights.names().any(is_decoder) {
        bail!("{path} has no decoder; only a pretraining checkpoint can reconstruct");
    }
    let experiment = pretraining(&checkpoint.recipe)?;
    let model = experiment.resolve()?;
    host::follow_tf32(device, experiment.train.tf32);
    let fresh = Fcmae::zeros(&experiment.fcmae, &model, experiment.model.kernels.into(), device)?;
    let (network, report) = checkpoint.weights.apply_to(fresh, &official_name);
    report.require_complete().with_context(|| format!("{path} does not fit its own config.toml"))?;
    Ok((experiment, model, network))
}
