//! `train-cli pull`: a repository of the Hub to a folder.

use anyhow::Result;
use interop::hub::{Hub, Settings};

use crate::args::PullArgs;
use crate::hub::Transfer;
use crate::output::out;

pub(crate) fn run(args: &PullArgs) -> Result<()> {
    Hub::new(Settings::from_env()?)?.pull(&args.source, &args.out, &Transfer::new())?;
    out!("wrote {}", args.out.display());
    Ok(())
}
