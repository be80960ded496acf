//! `train-cli data info`: what images there are, and what they are like.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use data::{Overview, Part};
use serde::Serialize;
use serde_json::{Map, Value};
use trainer::Unit;

use super::classes::{Class, Classes};
use super::sheet::sheet;
use super::{count, parts, settings};
use crate::args::DataInfoArgs;
use crate::output::{self, Verbosity, out, verbosity};

/// Classes that are listed, unless more is wanted.
const LISTED: usize = 20;

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report {
    images: usize,
    /// Images of each part.
    splits: Map<String, Value>,
    /// Images of each class.
    classes: Map<String, Value>,
    /// Images whose channels were looked at.
    read: usize,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
    left_out: BTreeMap<String, usize>,
}

pub(crate) fn run(args: &DataInfoArgs) -> Result<()> {
    let settings = settings(&args.images)?;
    let parts = parts(&settings)?;
    let bar = output::bar();
    let most = args.most.unwrap_or(usize::MAX).min(count(&parts));
    bar.start("reading", Unit::Items, 0..most as u64);
    let decode = settings.data.decode(settings.channels);
    let seen = data::overview(&parts, args.most, decode, &mut |images| bar.reach(images as u64));
    drop(bar);
    let classes = Classes::of(&parts);
    tell(&parts, &seen, &classes);
    let report = report(&parts, &seen, &classes);
    if let Some(file) = &args.sheet {
        let sheet = sheet(&parts, classes, decode)?;
        drawing::save(&sheet, file).with_context(|| format!("cannot write {}", file.display()))?;
        out!("picture      {}", file.display());
    }
    if args.json { output::json(&report) } else { Ok(()) }
}

fn report(parts: &[Part], seen: &Overview, classes: &Classes) -> Report {
    let mut left_out = BTreeMap::new();
    for part in parts {
        for (kind, files) in part.left_out.kinds() {
            *left_out.entry(kind.clone()).or_insert(0) += files;
        }
    }
    Report {
        images: count(parts),
        splits: parts
            .iter()
            .filter_map(|part| Some((part.split?.to_string(), part.images.len().into())))
            .collect(),
        classes: classes.0.iter().map(|class| (class.name.clone(), class.places.len().into())).collect(),
        read: seen.tried - seen.corrupt.len(),
        mean: seen.channels.mean(),
        std: seen.channels.std(),
        left_out,
    }
}

fn tell(parts: &[Part], seen: &Overview, classes: &Classes) {
    let all = count(parts);
    let of_parts = listed(parts.iter().map(|part| format!("{} {}", part.images.len(), part.name())));
    out!("images       {}", if parts.len() > 1 { format!("{all}: {of_parts}") } else { all.to_string() });
    tell_classes(parts, classes);
    tell_sizes(seen);
    out!("endings      {}", listed(endings(parts).iter().map(|(ending, files)| format!("{files} {ending}"))));
    out!("read         {} of {} images that were tried", seen.tried - seen.corrupt.len(), seen.tried);
    if let [(_, reason), more @ ..] = &seen.corrupt[..] {
        out!("unreadable   {} of them, which data check names; the first one: {reason}", 1 + more.len());
    }
    if let (Some(mean), Some(std)) = (seen.channels.mean(), seen.channels.std()) {
        let numbers = |values: Vec<f64>| listed(values.iter().map(|value| format!("{value:.4}")));
        out!("mean         [{}]", numbers(mean));
        out!("std          [{}]", numbers(std));
    }
    for left_out in parts.iter().map(|part| &part.left_out).filter(|left_out| !left_out.is_empty()) {
        out!("left out     {left_out}");
    }
}

fn listed(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn tell_classes(parts: &[Part], Classes(classes): &Classes) {
    let counts = classes.iter().map(|class| class.places.len());
    let (Some(smallest), Some(largest)) = (counts.clone().min(), counts.max()) else {
        out!("classes      none");
        return;
    };
    out!("classes      {}, of {smallest} to {largest} images", classes.len());
    let shown = if verbosity() >= Verbosity::Verbose { classes.len() } else { LISTED };
    for Class { name, places } in classes.iter().take(shown) {
        let of_part = |number: usize| places.iter().filter(|(part, _)| *part == number).count();
        let of_parts =
            parts.iter().enumerate().map(|(number, part)| format!("{} {}", of_part(number), part.name()));
        let of_parts = if parts.len() > 1 { format!(" ({})", listed(of_parts)) } else { String::new() };
        out!("  {:>8} {name}{of_parts}", places.len());
    }
    if classes.len() > shown {
        out!("  … and {} more; --verbose lists them", classes.len() - shown);
    }
}

fn tell_sizes(seen: &Overview) {
    let pixels = |size: &&(u32, u32)| u64::from(size.0) * u64::from(size.1);
    let (smallest, largest) = (seen.sizes.keys().min_by_key(pixels), seen.sizes.keys().max_by_key(pixels));
    if let (Some((width, height)), Some((most_width, most_height)), Some(side)) =
        (smallest, largest, seen.usual_side())
    {
        match seen.sizes.len() {
            1 => out!("sizes        {width}×{height} pixels, all of them"),
            sizes => out!(
                "sizes        {sizes}, from {width}×{height} to {most_width}×{most_height} pixels, usually {side} \
                 or more on the shorter side"
            ),
        }
    }
}

/// How many images there are of each ending.
fn endings(parts: &[Part]) -> BTreeMap<String, usize> {
    let mut endings = BTreeMap::new();
    for part in parts {
        for index in 0..part.images.len() {
            let name = part.images.name(index);
            let ending = Path::new(&name).extension().map(|ending| ending.to_string_lossy().to_lowercase());
            // Images that are stored with others in one file have numbers behind its name.
            let ending = ending.filter(|ending| !ending.contains('['));
            let ending = ending.map(|ending| match ending.split_once(':') {
                Some((file, _)) => file.to_owned(),
                None => ending,
            });
            let ending = ending.map_or("without ending".to_owned(), |ending| format!(".{ending}"));
            *endings.entry(ending).or_insert(0) += 1;
        }
    }
    endings
}
