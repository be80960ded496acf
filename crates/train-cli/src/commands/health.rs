//! `train-cli health`: how a run is, by what it has measured of itself.

use anyhow::{Context, Result};
use checkpoint::RunDir;
use trainer::health::HealthReport;

use crate::args::HealthArgs;
use crate::output::{self, out};

pub(crate) fn run(args: &HealthArgs) -> Result<()> {
    let report = HealthReport::read(&args.run)?;
    let picture = args.out.clone().unwrap_or_else(|| RunDir::of_leader(&args.run).health());
    drawing::save(&report.draw(), &picture).with_context(|| format!("cannot write {}", picture.display()))?;
    if args.json {
        return output::json(&report);
    }
    out!("{report}");
    out!("picture      {}", picture.display());
    Ok(())
}
