//! `train-cli launch`: a command on several processes of this machine, and on its part of several
//! machines.

use std::io::{BufRead, BufReader, Read, Write, stderr, stdout};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::LaunchArgs;

/// How long the others may take to say why they end, when one process has failed.
const FAREWELL: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &LaunchArgs) -> Result<ExitCode> {
    if args.nnodes > 1 && (args.master_addr.is_none() || args.master_port.is_none()) {
        bail!(
            "--nnodes {} needs --master-addr and --master-port: the address of the machine with \
             --node-rank 0, and a free port there; the same on all machines",
            args.nnodes
        );
    }
    if args.node_rank >= args.nnodes {
        bail!("--node-rank {} of --nnodes {}: machines count from 0", args.node_rank, args.nnodes);
    }
    let children: Arc<Mutex<Vec<u32>>> = Arc::default();
    let asked_to_stop = Arc::new(AtomicBool::new(false));
    let (running, asked) = (Arc::clone(&children), Arc::clone(&asked_to_stop));
    ctrlc::set_handler(move || {
        asked.store(true, Relaxed);
        // Each finishes its step, writes what it has to, and ends.
        let children = running.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter().for_each(|process| signal(*process, libc::SIGTERM));
    })
    .context("cannot install the signal handler")?;

    for attempt in 0.. {
        let code = Job::start(args, attempt, &children)?.wait(&children);
        if code == 0 || asked_to_stop.load(Relaxed) || attempt == args.max_restarts {
            return Ok(ExitCode::from(code));
        }
        eprintln!("launch: starting all processes again, restart {} of {}", attempt + 1, args.max_restarts);
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes of this machine.
struct Job {
    /// Each end of a process: rank and how.
    ended: Receiver<(usize, ExitStatus)>,
    count: usize,
}

impl Job {
    fn start(args: &LaunchArgs, attempt: u64, children: &Mutex<Vec<u32>>) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let port = match args.master_port {
            Some(port) => port,
            None => free_port()?,
        };
        let (send, ended) = mpsc::channel();
        for local_rank in 0..args.nproc {
            let rank = args.node_rank * args.nproc + local_rank;
            let mut command = Command::new(&program);
            command
                .args(command_line(args, attempt))
                .env("RANK", rank.to_string())
                .env("LOCAL_RANK", local_rank.to_string())
                .env("WORLD_SIZE", (args.nnodes * args.nproc).to_string())
                .env("MASTER_ADDR", args.master_addr.as_deref().unwrap_or("127.0.0.1"))
                .env("MASTER_PORT", port.to_string())
                .env("TORCHELASTIC_RESTART_COUNT", attempt.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            divide_cores(&mut command, args.nproc);
            let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
            children.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
            let output = [
                child.stdout.take().map(|from| prefix(rank, from, stdout())),
                child.stderr.take().map(|from| prefix(rank, from, stderr())),
            ];
            let send = send.clone();
            thread::spawn(move || {
                let status = wait(&mut child);
                // All it has said comes before its end.
                output.into_iter().flatten().for_each(|thread| drop(thread.join()));
                if let Some(status) = status {
                    let _ = send.send((rank, status));
                }
            });
        }
        Ok(Self { ended, count: args.nproc })
    }

    /// Waits for all processes; the first failure ends the others. Returns the exit code: of the
    /// first failure, or 0.
    fn wait(self, children: &Mutex<Vec<u32>>) -> u8 {
        let mut first: Option<(u8, Instant)> = None;
        let mut killed = false;
        for _ in 0..self.count {
            let (rank, status) = loop {
                let patience = match first {
                    Some((_, since)) if !killed => FAREWELL.saturating_sub(since.elapsed()),
                    _ => Duration::MAX,
                };
                match self.ended.recv_timeout(patience) {
                    Ok(end) => break end,
                    Err(RecvTimeoutError::Timeout) => {
                        let children = children.lock().unwrap_or_else(PoisonError::into_inner);
                        children.iter().for_each(|process| signal(*process, libc::SIGKILL));
                        killed = true;
                    }
                    // Nobody is left.
                    Err(RecvTimeoutError::Disconnected) => break (0, ExitStatus::default()),
                }
            };
            if !status.success() && !killed {
                eprintln!("launch: rank {rank} ended: {status}");
                first.get_or_insert((exit_code(status), Instant::now()));
            }
        }
        children.lock().unwrap_or_else(PoisonError::into_inner).clear();
        first.map_or(0, |(code, _)| code)
    }
}

/// What each process is told. Where restarts are allowed, training goes on from its newest
/// checkpoint, which a command that was cut off and started again finds as well.
fn command_line(args: &LaunchArgs, attempt: u64) -> Vec<String> {
    let mut command = args.command.clone();
    let trains = matches!(command.first().map(String::as_str), Some("pretrain" | "finetune"));
    if args.max_restarts == 0 || !trains {
        return command;
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

/// Threads for an equal part of this machine's cores, unless somebody has decided already.
fn divide_cores(command: &mut Command, processes: usize) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
        if std::env::var_os(variable).is_none() {
            command.env(variable, (cores / processes).max(1).to_string());
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr().context("no free port")?.port())
}

/// Copies lines and puts the rank before each.
fn prefix(
    rank: usize,
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        // Bytes: what a process says need not be text.
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            // A reader that has gone is no reason to stop the run. In one piece, so that lines of two
            // ranks do not mix.
            let _ = to.write_all(&[format!("[{rank}] ").as_bytes(), &line].concat());
            let _ = to.flush();
            line.clear();
        }
    })
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    child.wait().ok()
}

/// As shells have it: 128 and the number of the signal that ended a process.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

fn signal(process: u32, signal: i32) {
    let Ok(process) = i32::try_from(process) else { return };
    // SAFETY: sends a signal to a child; one that has ended already makes it fail, which is fine.
    #[allow(unsafe_code, reason = "a C function")]
    unsafe {
        libc::kill(process, signal);
    }
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
        assert_eq!(line(&["--max-restarts", "1", "--", "eval"], 1), "eval");
    }

    #[test]
    fn a_signal_reaches_a_child_and_becomes_an_exit_code() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        signal(child.id(), libc::SIGKILL);
        assert_eq!(exit_code(child.wait().unwrap()), 137);
    }

    #[test]
    fn lines_carry_their_rank() {
        let (mut read, write) = std::io::pipe().unwrap();
        prefix(3, &b"one\ntwo"[..], write).join().unwrap();
        let mut found = String::new();
        read.read_to_string(&mut found).unwrap();
        assert_eq!(found, "[3] one\n[3] two\n");
    }
}
