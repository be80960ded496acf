//! `launch`: several processes of one command, in any build.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{Bench, checkpoints, failure};

#[test]
fn every_process_knows_its_rank_and_speaks_with_it() {
    let bench = Bench::new();
    let output = bench.run(&["launch", "--nproc", "2", "--", "info", "tiny.toml", "--json"]);
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut ranks: Vec<_> = stdout.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    ranks.sort_unstable();
    ranks.dedup();
    assert_eq!(ranks, ["[0]", "[1]"]);
}

#[test]
fn a_failure_of_one_is_the_failure_of_all() {
    let bench = Bench::new();
    let output = bench.run(&["launch", "--nproc", "2", "--max-restarts", "1", "--", "info", "nothing.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for rank in ["[0] error: ", "[1] error: "] {
        assert_eq!(stderr.lines().filter(|line| line.starts_with(rank)).count(), 2, "{stderr}");
    }
    assert!(stderr.contains("restart 1 of 1"), "{stderr}");
}

#[test]
fn several_machines_need_an_address() {
    let bench = Bench::new();
    let line = |more: &[&str]| {
        let args =
            [&["launch", "--nproc", "1", "--nnodes", "2"], more, &["--", "info", "tiny.toml"]].concat();
        failure(&bench.run(&args), &args)
    };
    assert!(line(&[]).contains("--master-addr and --master-port"));
    let fewer =
        line(&["--master-addr", "a", "--master-port", "1", "--max-restarts", "1", "--min-nproc", "1"]);
    assert!(fewer.contains("--min-nproc is for one machine"), "{fewer}");
    let beyond = line(&["--master-addr", "127.0.0.1", "--master-port", "29500", "--node-rank", "2"]);
    assert!(beyond.contains("machines count from 0"), "{beyond}");
}

#[test]
fn variables_that_are_wrong_are_named() {
    let bench = Bench::new();
    let message = |variables: &[(&str, &str)]| {
        let args = ["pretrain", "--config", "tiny.toml"];
        let output = bench.command(&args).envs(variables.iter().copied()).output().unwrap();
        failure(&output, &args)
    };
    // Four tasks of SLURM of which each would start a run of its own, and what srun says of one of two.
    let script = message(&[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")]);
    assert!(script.contains("SLURM_NTASKS is 4, and this process was not started by srun"), "{script}");
    let step = [("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "2"), ("SLURM_PROCID", "2")];
    assert!(message(&step).contains("RANK is 2, but WORLD_SIZE is 2"));
    let mpi = [("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "0")];
    assert!(message(&mpi).contains("MASTER_ADDR is not set"));
    let two = [("WORLD_SIZE", "2"), ("RANK", "0")];
    assert!(message(&two).contains("MASTER_ADDR is not set"));
    assert!(message(&[("WORLD_SIZE", "2"), ("RANK", "2")]).contains("ranks go from 0 to 1"));
    assert!(!bench.path("runs").exists(), "a run directory was left behind");
    #[cfg(not(feature = "tch"))]
    {
        let whole = [&two[..], &[("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")]].concat();
        assert!(message(&whole).contains("--features tch"));
    }
}

/// A process that was asked to stop, by whoever, has not failed: its code is passed on, and nothing starts
/// again.
#[cfg(target_os = "linux")]
#[test]
fn what_was_asked_to_stop_is_not_started_again() {
    let bench = Bench::new();
    for whom in ["launch", "process"] {
        let train = ["--", "pretrain", "--config", "tiny.toml", "--run-dir", whom, "--epochs", "100000"];
        let args = [&["launch", "--nproc", "1", "--max-restarts", "3"], &train[..]].concat();
        let mut launch = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(launch.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.by_ref().any(|line| line.contains("epoch 1.")), "never came to the second epoch");
        let id = launch.id().to_string();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let asked = if whom == "launch" { &id[..] } else { children.trim() };
        assert!(Command::new("kill").args(["-TERM", asked]).status().unwrap().success());
        let rest: Vec<_> = lines.collect();
        assert_eq!(launch.wait().unwrap().code(), Some(75), "{rest:#?}");
        assert!(!rest.iter().any(|line| line.starts_with("launch: ")), "{rest:#?}");
        assert!(!checkpoints(&bench.path(whom)).is_empty());
    }
}
