//! `train-cli data check`: what is wrong with images.

use std::process::ExitCode;

use anyhow::Result;
use data::{Alike, Findings};
use serde::Serialize;
use trainer::Unit;

use super::{count, parts, settings};
use crate::args::DataCheckArgs;
use crate::output::{self, out};

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report<'a> {
    corrupt: Vec<&'a str>,
    duplicates: Vec<Vec<&'a str>>,
    leaks: Vec<Vec<&'a str>>,
    classes_of_one: &'a [String],
}

pub(crate) fn run(args: &DataCheckArgs) -> Result<ExitCode> {
    let settings = settings(&args.images)?;
    let parts = parts(&settings)?;
    let bar = output::bar();
    bar.start("checking", Unit::Items, 0..count(&parts) as u64);
    let findings =
        data::check(&parts, settings.data.decode(settings.channels), &mut |images| bar.reach(images as u64));
    drop(bar);
    tell(&findings);
    if args.json {
        output::json(&Report::of(&findings))?;
    }
    Ok(if findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'a> Report<'a> {
    fn of(findings: &'a Findings) -> Self {
        let names = |groups: &'a [Alike]| {
            let of = |group: &'a Alike| group.images.iter().map(|(_, name)| &name[..]).collect();
            groups.iter().map(of).collect()
        };
        Self {
            corrupt: findings.corrupt.iter().map(|(name, _)| &name[..]).collect(),
            duplicates: names(&findings.duplicates),
            leaks: names(&findings.leaks),
            classes_of_one: &findings.classes_of_one,
        }
    }
}

fn tell(findings: &Findings) {
    for (_, reason) in &findings.corrupt {
        out!("corrupt      {reason}");
    }
    for group in &findings.duplicates {
        let names: Vec<_> = group.images.iter().map(|(_, name)| name.clone()).collect();
        out!("duplicates   {}: {}", kind(group), names.join(", "));
    }
    for group in &findings.leaks {
        let named = group.images.iter().map(|(split, name)| match split {
            Some(split) => format!("{name} ({split})"),
            None => name.clone(),
        });
        out!("leak         {}: {}", kind(group), named.collect::<Vec<_>>().join(", "));
    }
    for class in &findings.classes_of_one {
        out!("one image    class {class}");
    }
    out!(
        "checked      {} images: {} corrupt, {} groups of duplicates, {} leaks, {} classes of one image",
        findings.images,
        findings.corrupt.len(),
        findings.duplicates.len(),
        findings.leaks.len(),
        findings.classes_of_one.len()
    );
}

fn kind(group: &Alike) -> &'static str {
    if group.is_exact { "the same" } else { "nearly the same" }
}
