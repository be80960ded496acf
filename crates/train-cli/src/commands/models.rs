//! `train-cli models`: the published sizes, what they cost and reach, and where their weights are.

use anyhow::Result;
use model::cost::{EncoderCost, in_giga, in_millions};
use model::{ConvNextV2Config, Size};
use serde::Serialize;

use crate::args::ModelsArgs;
use crate::output::{self, out};

/// A size, its accuracy when trained on ImageNet-1k alone, and those with an intermediate fine-tuning on
/// ImageNet-22k, by the side of the images.
type Accuracies = (Size, f64, &'static [(usize, f64)]);

/// Top-1 on ImageNet-1k in per cent, as the official repository's README states it.
const PUBLISHED: [Accuracies; 8] = [
    (Size::Atto, 76.7, &[]),
    (Size::Femto, 78.5, &[]),
    (Size::Pico, 80.3, &[]),
    (Size::Nano, 81.9, &[(224, 82.1), (384, 83.4)]),
    (Size::Tiny, 83.0, &[(224, 83.9), (384, 85.1)]),
    (Size::Base, 84.9, &[(224, 86.8), (384, 87.7)]),
    (Size::Large, 85.8, &[(224, 87.3), (384, 88.2)]),
    (Size::Huge, 86.3, &[(384, 88.7), (512, 88.9)]),
];

/// Side of the images that costs and most checkpoints are for.
const USUAL_SIDE: usize = 224;

/// A size; a line of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    size: Size,
    depths: Vec<usize>,
    hidden_sizes: Vec<usize>,
    parameters: u64,
    /// Multiply-adds of a forward pass over one image of 224×224 pixels.
    macs: u64,
    checkpoints: Vec<Published>,
}

/// A checkpoint on the Hub, by both names.
#[derive(Debug, PartialEq, Serialize)]
struct Published {
    /// In transformers' format; none of an encoder without head.
    facebook: Option<String>,
    timm: String,
    image_size: usize,
    /// Published top-1 on ImageNet-1k, 0 to 1; none of an encoder without head.
    top1: Option<f64>,
}

pub(crate) fn run(args: &ModelsArgs) -> Result<()> {
    let rows = PUBLISHED.map(|(size, alone, more)| row(size, alone, more));
    if args.json {
        for row in &rows {
            output::json(row)?;
        }
        return Ok(());
    }
    out!("size   parameters  multiply-adds  depths           channels");
    for row in &rows {
        let (depths, channels) = (format!("{:?}", row.depths), format!("{:?}", row.hidden_sizes));
        let (parameters, macs) = (in_millions(row.parameters), in_giga(row.macs));
        out!("{:<6} {parameters:>10} {macs:>14}  {depths:<16} {channels}", row.size.to_string());
    }
    out!("\nclassifiers on the Hub, with their published top-1 on ImageNet-1k; take one by --init hf:NAME");
    out!("top-1  size  {:<34} timm", "facebook, for transformers");
    for checkpoint in rows.iter().flat_map(|row| &row.checkpoints) {
        let Published { facebook: Some(facebook), timm, image_size, top1: Some(top1) } = checkpoint else {
            continue;
        };
        out!("{:>5.1}  {image_size:>4}  {facebook:<34} {timm}", 100.0 * top1);
    }
    out!("\nencoders after FCMAE alone, to fine-tune");
    for checkpoint in rows.iter().flat_map(|row| &row.checkpoints).filter(|found| found.top1.is_none()) {
        out!("  {}", checkpoint.timm);
    }
    Ok(())
}

fn row(size: Size, alone: f64, more: &[(usize, f64)]) -> Row {
    let config = ConvNextV2Config::from_size(size);
    let encoder = EncoderCost::of(&config, [USUAL_SIDE; 2]);
    let (channels, classes) = (config.last_hidden_size() as u64, config.num_labels as u64);
    let encoder_alone = Published {
        facebook: None,
        timm: format!("timm/convnextv2_{size}.fcmae"),
        image_size: USUAL_SIDE,
        top1: None,
    };
    let one = Published {
        facebook: Some(format!("facebook/convnextv2-{size}-1k-{USUAL_SIDE}")),
        timm: format!("timm/convnextv2_{size}.fcmae_ft_in1k"),
        image_size: USUAL_SIDE,
        top1: Some(alone / 100.0),
    };
    let two = more.iter().map(|(side, top1)| {
        let suffix = if *side == USUAL_SIDE { String::new() } else { format!("_{side}") };
        Published {
            facebook: Some(format!("facebook/convnextv2-{size}-22k-{side}")),
            timm: format!("timm/convnextv2_{size}.fcmae_ft_in22k_in1k{suffix}"),
            image_size: *side,
            top1: Some(*top1 / 100.0),
        }
    });
    Row {
        size,
        parameters: encoder.parameters() + 2 * channels + (channels + 1) * classes,
        macs: encoder.macs() + channels * classes,
        depths: config.depths,
        hidden_sizes: config.hidden_sizes,
        checkpoints: [encoder_alone, one].into_iter().chain(two).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_and_names_are_the_published_ones() {
        let rows = PUBLISHED.map(|(size, alone, more)| row(size, alone, more));
        let published =
            [(3.7, 0.55), (5.2, 0.78), (9.1, 1.37), (15.6, 2.45), (28.6, 4.47), (89.0, 15.4), (198.0, 34.4)];
        for (row, (millions, giga)) in rows.iter().zip(published) {
            let is_near =
                |found: u64, unit: f64, stated: f64| (found as f64 / unit / stated - 1.0).abs() < 0.02;
            assert!(is_near(row.parameters, 1e6, millions) && is_near(row.macs, 1e9, giga), "{row:?}");
        }
        assert_eq!(
            rows[7].checkpoints.last().unwrap(),
            &Published {
                facebook: Some("facebook/convnextv2-huge-22k-512".to_owned()),
                timm: "timm/convnextv2_huge.fcmae_ft_in22k_in1k_512".to_owned(),
                image_size: 512,
                top1: Some(0.889),
            }
        );
        assert_eq!(rows[0].checkpoints.len(), 2);
    }
}
