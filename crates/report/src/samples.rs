//! Pictures that a run has drawn of what its network does.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Serialize;

use crate::curve::Curve;
use crate::error::ReportError;
use crate::jpeg::{data_url, shrunk};

/// A picture of a run directory: `samples/step-00000600.png`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) step: u64,
    pub(crate) path: PathBuf,
}

/// The same in the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shown {
    step: u64,
    epoch: Option<f64>,
    /// An address that holds the picture.
    image: String,
}

/// How pictures are made smaller until they fit: at most so many of a run, their longer side, and their quality.
const RUNGS: [(usize, u32, u8); 9] = [
    (40, 1200, 82),
    (40, 900, 80),
    (32, 800, 75),
    (24, 700, 70),
    (16, 640, 65),
    (10, 560, 60),
    (5, 480, 55),
    (2, 400, 50),
    (1, 320, 40),
];

/// The pictures of a folder, first ones first; none if there is no folder.
pub(crate) fn list(folder: &Path) -> Vec<Sample> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let sample = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let step = name.strip_prefix("step-")?.strip_suffix(".png")?.parse().ok()?;
        Some(Sample { step, path })
    };
    let mut found: Vec<Sample> = entries.flatten().filter_map(|entry| sample(entry.path())).collect();
    found.sort_by_key(|sample| sample.step);
    found
}

/// The first and the last of a list, and evenly spaced ones between them.
fn spaced<T>(all: &[T], most: usize) -> Vec<&T> {
    match most {
        _ if all.len() <= most => all.iter().collect(),
        0 => Vec::new(),
        1 => all.last().into_iter().collect(),
        _ => (0..most).map(|number| &all[number * (all.len() - 1) / (most - 1)]).collect(),
    }
}

/// As many pictures as fit into so many bytes, as large as they can be then, and what is wrong with those that
/// cannot be read.
pub(crate) fn fit(
    samples: &[Sample],
    curves: &[Curve],
    budget: usize,
) -> Result<(Vec<Shown>, Vec<String>), ReportError> {
    let mut unreadable = Vec::new();
    let mut readable: Vec<&Sample> = samples.iter().collect();
    for (most, side, quality) in RUNGS {
        let mut shown = Vec::new();
        let mut left = budget;
        let mut fits = true;
        for sample in spaced(&readable.clone(), most) {
            let picture = match open(&sample.path) {
                Ok(picture) => picture,
                Err(reason) => {
                    unreadable.push(format!("{}: {reason}", name(&sample.path)));
                    readable.retain(|other| other.step != sample.step);
                    continue;
                }
            };
            let image = data_url(&shrunk(picture, side), quality)?;
            // What stands around the picture is counted with it.
            let Some(rest) = left.checked_sub(image.len() + 80) else {
                fits = false;
                break;
            };
            left = rest;
            shown.push(Shown { step: sample.step, epoch: epoch(curves, sample.step), image });
        }
        if fits {
            return Ok((shown, unreadable));
        }
    }
    Ok((Vec::new(), unreadable))
}

fn open(path: &Path) -> Result<RgbImage, String> {
    let picture = image::open(path).map_err(|error| error.to_string())?;
    Ok(picture.into_rgb8())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, data::shown)
}

/// The epoch of an update, from those that were logged.
fn epoch(curves: &[Curve], step: u64) -> Option<f64> {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let known = points.filter_map(|point| Some((point.step, point.epoch?)));
    let (before, after) =
        known.fold((None, None), |(before, after): (Option<_>, Option<_>), found| match found.0 <= step {
            true => (before.filter(|(at, _)| *at > found.0).or(Some(found)), after),
            false => (before, after.filter(|(at, _)| *at < found.0).or(Some(found))),
        });
    match (before, after) {
        (Some((at, epoch)), _) if at == step => Some(epoch),
        (Some((from, low)), Some((to, high))) => {
            Some(low + (high - low) * (step - from) as f64 / (to - from) as f64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Point;
    use crate::testing::noise;

    fn samples(folder: &Path, count: u64, [width, height]: [u32; 2]) -> Vec<Sample> {
        for step in 1..=count {
            noise(width, height, step as u32)
                .save(folder.join(format!("step-{:08}.png", 10 * step)))
                .unwrap();
        }
        list(folder)
    }

    #[test]
    fn pictures_come_by_their_steps_and_others_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["step-00000100.png", "step-00000020.png", "step-x.png", "photo.png", "step-1.jpg"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let steps: Vec<u64> = list(dir.path()).iter().map(|sample| sample.step).collect();
        assert_eq!(steps, [20, 100]);
        assert!(list(&dir.path().join("nowhere")).is_empty());
    }

    #[test]
    fn what_is_left_is_spread_over_the_run_and_fits() {
        let dir = tempfile::tempdir().unwrap();
        let all = samples(dir.path(), 60, [120, 90]);
        let (shown, _) = fit(&all, &[], 10_000_000).unwrap();
        assert_eq!((shown.len(), shown[0].step, shown[39].step), (40, 10, 600));
        let size = |shown: &[Shown]| shown.iter().map(|one| one.image.len() + 80).sum::<usize>();
        let large = size(&shown);
        for budget in [large - 1, large / 3, large / 40] {
            let (shown, unreadable) = fit(&all, &[], budget).unwrap();
            assert!(!shown.is_empty() && size(&shown) <= budget && unreadable.is_empty());
            assert_eq!(shown.last().unwrap().step, 600);
        }
        assert_eq!(fit(&all, &[], 500).unwrap().0, []);
    }

    #[test]
    fn a_damaged_picture_is_named_once_and_the_others_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        let all = samples(dir.path(), 3, [40, 30]);
        fs::write(&all[1].path, "no picture").unwrap();
        let (shown, unreadable) = fit(&all, &[], 7_000).unwrap();
        assert_eq!(shown.iter().map(|one| one.step).collect::<Vec<_>>(), [10, 30]);
        assert!(unreadable.len() == 1 && unreadable[0].starts_with("step-00000020.png: "), "{unreadable:?}");
    }

    #[test]
    fn epochs_are_those_that_were_logged_or_lie_between_them() {
        let point = |step, epoch| Point { step, epoch: Some(epoch), value: 0.0 };
        let curve = |points| Curve { of: String::new(), part: None, points };
        let curves = [curve(vec![point(10, 1.0), point(20, 2.0)]), curve(vec![point(30, 3.0)])];
        assert_eq!(
            [10, 14, 20, 25, 30].map(|step| epoch(&curves, step)),
            [1.0, 1.4, 2.0, 2.5, 3.0].map(Some)
        );
        assert_eq!([5, 31].map(|step| epoch(&curves, step)), [None, None]);
    }
}
