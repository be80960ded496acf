//! `train-cli health`: how a run is, by what it has measured of itself.

use anyhow::{Context, Result};
use checkpoint::RunDir;
use trainer::health::HealthReport;

use crate::args::HealthArgs;
use crate::output::{self, out};

pub(crate) fn run(args: &HealthArgs) -> Result<()> {
    let report = HealthReport::read(&args.run)?;
    match args.json {
        true => output::json(&report)?,
        false => out!("{report}"),
    }
    let picture = args.out.clone().unwrap_or_else(|| RunDir::of_leader(&args.run).health());
    let drawn = drawing::save(&report.draw(), &picture);
    let drawn = drawn.with_context(|| format!("cannot write {}", picture.display()));
    match drawn {
        Ok(()) if args.json => {}
        Ok(()) => out!("picture      {}", picture.display()),
        // Nobody has asked for it there: the run may be somebody else's, or its disk full.
        Err(error) if args.out.is_none() => output::say(format_args!("warning: {error:#}")),
        Err(error) => return Err(error),
    }
    Ok(())
}
