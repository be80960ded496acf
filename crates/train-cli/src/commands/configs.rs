//! `train-cli configs`: the configurations that the program brings.

use anyhow::{Result, bail};

use crate::args::ConfigsArgs;
use crate::bundled::{ALL, Bundled, Meant};
use crate::output::out;

pub(crate) fn run(args: &ConfigsArgs) -> Result<()> {
    match args {
        ConfigsArgs::List => {
            for bundled in ALL {
                out!("{:<20} {}", bundled.name, bundled.headline());
            }
        }
        ConfigsArgs::Show { name } => match Bundled::find(name.trim_end_matches(".toml"), Meant::Either) {
            Some(bundled) => out!("{}", bundled.text.trim_end()),
            None => bail!("the program brings no configuration {name}; train-cli configs list shows them"),
        },
    }
    Ok(())
}
