//! `train-cli launch`: a command on several processes.

use std::process::ExitCode;

use anyhow::Result;
use distributed::Launch;

use crate::args::LaunchArgs;
use crate::output::{Verbosity, verbosity};

pub(crate) fn run(args: &LaunchArgs) -> Result<ExitCode> {
    let launch = Launch {
        nproc: args.nproc,
        min_nproc: args.min_nproc,
        nnodes: args.nnodes,
        node_rank: args.node_rank,
        master_addr: args.master_addr.clone(),
        master_port: args.master_port,
        max_restarts: args.max_restarts,
    };
    // What this command was told beside its own arguments, all processes are told.
    let spoken = match verbosity() {
        Verbosity::Quiet => Some("--quiet"),
        Verbosity::Normal => None,
        Verbosity::Verbose => Some("--verbose"),
    };
    let is_told = |arg: &String| matches!(&**arg, "-q" | "--quiet" | "-v" | "--verbose");
    let spoken = spoken.filter(|_| !args.command.iter().any(is_told));
    let whole = |attempt| spoken.map(str::to_owned).into_iter().chain(command_line(args, attempt)).collect();
    Ok(ExitCode::from(launch.run(whole)?))
}

/// What each process is told. Where restarts are allowed, training goes on from its newest
/// checkpoint, which a command that was cut off and started again finds as well.
fn command_line(args: &LaunchArgs, attempt: u64) -> Vec<String> {
    let mut command = args.command.clone();
    let first = command.iter().find(|arg| !arg.starts_with('-'));
    let trains = matches!(first.map(String::as_str), Some("pretrain" | "finetune"));
    if args.max_restarts == 0 || !trains {
        return command;
    }
    // What it replaces, it replaces once.
    if let Some(at) = command.iter().position(|arg| arg == "--overwrite") {
        match attempt {
            0 => return command,
            _ => drop(command.remove(at)),
        }
    }
    let given = command.iter().position(|arg| arg == "--resume" || arg.starts_with("--resume="));
    match given {
        // The checkpoint that was asked for, the first time.
        Some(_) if attempt == 0 => return command,
        Some(at) if command[at] == "--resume" => drop(command.drain(at..command.len().min(at + 2))),
        Some(at) => drop(command.remove(at)),
        None => {}
    }
    command.extend(["--resume".to_owned(), "auto".to_owned()]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn launch(args: &[&str]) -> LaunchArgs {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            launch: LaunchArgs,
        }
        Line::parse_from([&["launch", "--nproc", "2"], args].concat()).launch
    }

    #[test]
    fn restarts_go_on_from_the_newest_checkpoint() {
        let line = |args: &[&str], attempt| command_line(&launch(args), attempt).join(" ");
        let plain = ["--", "pretrain", "--config", "a.toml"];
        assert_eq!(line(&plain, 0), "pretrain --config a.toml");
        let often = |more: &[&'static str]| [&["--max-restarts", "2"], &plain[..], more].concat();
        for attempt in [0, 1] {
            assert_eq!(line(&often(&[]), attempt), "pretrain --config a.toml --resume auto");
        }
        for given in [&["--resume", "b"][..], &["--resume=b"]] {
            let first = format!("pretrain --config a.toml {}", given.join(" "));
            assert_eq!(line(&often(given), 0), first);
            assert_eq!(line(&often(given), 1), "pretrain --config a.toml --resume auto");
        }
        let overwrite = often(&["--overwrite"]);
        assert_eq!(line(&overwrite, 0), "pretrain --config a.toml --overwrite");
        assert_eq!(line(&overwrite, 1), "pretrain --config a.toml --resume auto");
        let quiet = ["--max-restarts", "1", "--", "-q", "finetune"];
        assert_eq!(line(&quiet, 0), "-q finetune --resume auto");
        assert_eq!(line(&["--max-restarts", "1", "--", "eval"], 1), "eval");
    }
}
