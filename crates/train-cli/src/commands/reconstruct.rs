//! `train-cli reconstruct`: pictures of completed images, and how good they are.

use std::fs;

use anyhow::{Context, Result};
use data::transform::EvalTransform;
use fcmae::{FcmaeConfig, Score, random_mask, reconstruct};
use interop::Allow;
use serde::Serialize;

use crate::args::ReconstructArgs;
use crate::checkpoint::open;
use crate::experiment::{normalize, prepare, to_device};
use crate::output::out;

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
    images: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    image: String,
    #[serde(flatten)]
    score: Score,
}

pub(crate) fn run(args: &ReconstructArgs) -> Result<()> {
    let device = args.device.device()?;
    let checkpoint = open(&args.checkpoint, &Allow::default())?;
    let (config, network) = checkpoint.fcmae(&device)?;
    let model = config.model.resolve(config.data.image_size)?;
    let ratio = args.mask_ratio.unwrap_or(config.fcmae.mask_ratio);
    let objective = FcmaeConfig { mask_ratio: ratio, ..config.fcmae.clone() };
    let shape = objective.mask_shape(&model, config.data.image_size.pixels())?;

    let images = args.images.iter().map(|path| data::decode_file(path)).collect::<Result<Vec<_>, _>>()?;
    let normalize = normalize(&config.data, model.num_channels)?;
    let transform = EvalTransform { size: config.data.image_size.pixels() };
    let (values, dims) = prepare(images, &transform, &normalize);

    let indices: Vec<u64> = (0..args.images.len() as u64).collect();
    let mask = random_mask(&shape, args.seed, 0, &indices)?;
    let result = reconstruct(&network, to_device(values, dims, &device), &mask, &normalize)?;

    let rows = args.images.iter().zip(&result.scores);
    let report = Report {
        checkpoint: checkpoint.path.display().to_string(),
        mask_ratio: ratio,
        visible_patches: shape.visible,
        patches: shape.patches(),
        seed: args.seed,
        used_target_statistics: result.used_target_statistics,
        images: rows.map(|(path, score)| Row { image: path.display().to_string(), score: *score }).collect(),
    };
    let json = args.out.with_extension("json");
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    result.picture.save(&args.out).with_context(|| format!("cannot write {}", args.out.display()))?;

    out!("{} of {} patches visible", shape.visible, shape.patches());
    for row in &report.images {
        out!("{}: masked MSE {:.4}, PSNR {:.1} dB", row.image, row.score.masked_mse, row.score.psnr_db);
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
