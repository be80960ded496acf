//! `train-cli push`: a folder to the Hub.

use anyhow::Result;
use interop::hub::{Hub, Push, Settings};

use crate::args::PushArgs;
use crate::hub::Transfer;
use crate::output::out;

pub(crate) fn run(args: &PushArgs) -> Result<()> {
    let push = Push {
        folder: &args.folder,
        repo: &args.repo,
        private: args.private,
        revision: &args.revision,
        message: &args.message,
    };
    let commit = Hub::new(Settings::from_env()?)?.push(&push, &Transfer::new())?;
    out!("{}", commit.url);
    Ok(())
}
