//! `train-cli data preview`: the batch that training begins with, as a picture.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use data::mixup::Mix;
use data::transform::Normalize;
use data::{Batch, ImageSource, Labels, Shard, TrainingBatches};
use drawing::{Block, Sheet, enlarge, enlargement};
use fcmae::usual_bands;
use image::{Rgb, RgbImage};

use super::settings;
use crate::args::DataPreviewArgs;
use crate::configuration::ImageSettings;
use crate::output::out;

/// Images that are drawn, at most.
const TILES: usize = 64;
/// Pixels of a tile's shorter side, at least.
const SIDE: u32 = 112;

pub(crate) fn run(args: &DataPreviewArgs) -> Result<()> {
    let mut settings = settings(&args.images)?;
    settings.seed = args.seed.unwrap_or(settings.seed);
    let source = match settings.classifies {
        true => settings.data.open_divided(settings.seed, None)?.training,
        false => settings.data.open(Labels::Ignored)?,
    };
    let (batch, mix) = first_batch(&settings, &source)?;
    let sheet = draw(&settings, &*source, &batch, mix)?;
    drawing::save(&sheet, &args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    out!("batch        {} images, the first of epoch 0 with seed {}", batch.shape[0], settings.seed);
    out!("picture      {}", args.out.display());
    Ok(())
}

/// The batch as the network gets it, normalised and mixed, and how it was mixed.
fn first_batch(settings: &ImageSettings, source: &Arc<dyn ImageSource>) -> Result<(Batch, Mix)> {
    let batches = TrainingBatches {
        data: &settings.data,
        augment: &settings.augment,
        seed: settings.seed,
        batch_size: settings.batch_size,
        accumulate: 1,
        channels: settings.channels,
        raw: false,
        shard: Shard::default(),
    };
    let mut batch = batches.loader(source)?.batches(0, 0).next().context("training has no end")??;
    if !settings.classifies {
        return Ok((batch, Mix::None));
    }
    let (mix, shape) = (settings.augment.mixup().draw_for(settings.seed, &batch), batch.shape);
    mix.apply(batch.normalized_mut().context("the batch is not normalised")?, shape);
    Ok((batch, mix))
}

fn draw(settings: &ImageSettings, source: &dyn ImageSource, batch: &Batch, mix: Mix) -> Result<RgbImage> {
    let normalize = settings.data.normalize(settings.channels)?;
    let [count, _, height, width] = batch.shape;
    let times = enlargement([width as u32, height as u32], SIDE);
    let block = |number: usize| Block {
        tiles: vec![enlarge(&picture(batch, number, &normalize), times)],
        caption: caption(source, batch, number, mix),
    };
    let shown = count.min(TILES);
    let some = if shown < count { format!("the first {shown} of ") } else { String::new() };
    let mixed = match mix {
        Mix::None => String::new(),
        Mix::Mixup(lambda) => format!("; mixup, {lambda:.2} of each stays"),
        Mix::Cutmix(_) => format!("; CutMix, {:.2} of each stays", mix.lambda([height, width])),
    };
    let note = format!(
        "{some}{count} images of {height}×{width} pixels: the first batch of epoch 0, seed {}{mixed}",
        settings.seed
    );
    let columns = (shown as f64).sqrt().ceil() as usize;
    Ok(Sheet { titles: Vec::new(), columns, blocks: (0..shown).map(block).collect(), notes: vec![note] }
        .draw())
}

/// An image of a batch with its intensities, as far as 8 bits show them.
fn picture(batch: &Batch, number: usize, normalize: &Normalize) -> RgbImage {
    let [_, channels, height, width] = batch.shape;
    let data::Pixels::F32(values) = &batch.pixels else { unreachable!("the loader normalises") };
    let plane = height * width;
    let shown = usual_bands(channels);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        let intensity = |channel: usize| {
            let value = values[(number * channels + channel) * plane + at];
            (255.0 * (value * normalize.std[channel] + normalize.mean[channel])).round() as u8
        };
        Rgb(shown.map(intensity))
    })
}

/// What an image shows, and the file that it is of.
fn caption(source: &dyn ImageSource, batch: &Batch, number: usize, mix: Mix) -> Vec<String> {
    let [count, _, height, width] = batch.shape;
    let name = |number: usize| {
        let name = source.name(batch.indices[number] as usize);
        Path::new(&name).file_name().map_or(name.clone(), |file| file.to_string_lossy().into_owned())
    };
    let class = |number: usize| {
        let label = source.label(batch.indices[number] as usize)?;
        source.classes().get(label as usize).cloned()
    };
    let lambda = mix.lambda([height, width]);
    let shares = match mix {
        Mix::None => vec![class(number)],
        _ => [(number, lambda), (count - 1 - number, 1.0 - lambda)]
            .map(|(number, share)| Some(format!("{share:.2} {}", class(number)?)))
            .to_vec(),
    };
    shares.into_iter().flatten().chain([name(number)]).collect()
}
