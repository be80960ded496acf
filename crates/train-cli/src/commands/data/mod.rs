//! `train-cli data`: looking at images, and packing them.

mod check;
mod classes;
mod info;
mod pack;
mod preview;
mod sheet;

use std::process::ExitCode;

use anyhow::Result;
use data::Part;

use crate::args::{DataArgs, ImagesArgs};
use crate::configuration::ImageSettings;
use crate::output::note;

pub(crate) fn run(args: &DataArgs) -> Result<ExitCode> {
    match args {
        DataArgs::Info(args) => info::run(args),
        DataArgs::Check(args) => return check::run(args),
        DataArgs::Pack(args) => pack::run(args),
        DataArgs::Preview(args) => preview::run(args),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn settings(args: &ImagesArgs) -> Result<ImageSettings> {
    ImageSettings::of(args.config.as_deref(), &args.set, args.data.as_deref())
}

/// All parts of the data; why there are no classes is said.
fn parts(settings: &ImageSettings) -> Result<Vec<Part>> {
    let parts = settings.data.parts(settings.seed)?;
    for part in &parts {
        if let Some(reason) = &part.without_classes {
            note!("note: {} without classes: {reason}", part.name());
        }
    }
    Ok(parts)
}

/// Images of all parts.
fn count(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.images.len()).sum()
}
