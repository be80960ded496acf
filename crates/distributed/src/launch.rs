//! A command on several processes of this machine, and on its part of several machines.

use std::io::{BufRead, BufReader, Read, Write, stderr, stdout};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::signals::{self, Signal};

/// The exit code of a process that was asked to stop and has done so in good order, with a checkpoint to go
/// on from: `EX_TEMPFAIL` of sysexits.h, by which schedulers start a job again. 0 says that all is done.
pub const STOPPED: u8 = 75;
/// The code of a command line that is wrong, and would be again.
const MISTAKEN: u8 = 2;

/// How long the others may take to say why they end, when one process has failed.
const FAREWELL: Duration = Duration::from_secs(20);

/// This program on several processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Processes on this machine.
    pub nproc: usize,
    /// With how few of them a restart may come back; as many as before unless given.
    pub min_nproc: Option<usize>,
    /// Machines; each starts its own part.
    pub nnodes: usize,
    /// The number of this machine, from 0.
    pub node_rank: usize,
    /// Address of machine 0; this machine unless given.
    pub master_addr: Option<String>,
    /// A free port of machine 0; any unless given.
    pub master_port: Option<u16>,
    /// How often all are started again after a failure.
    pub max_restarts: u64,
}

/// Why processes cannot be launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Several machines that do not know where to meet.
    #[error(
        "--nnodes {0} needs --master-addr and --master-port: the address of the machine with --node-rank 0, \
         and a free port there; the same on all machines"
    )]
    NoMaster(usize),
    /// A machine beyond the number of machines.
    #[error("--node-rank {rank} of --nnodes {nodes}: machines count from 0")]
    NodeRank {
        /// The machine.
        rank: usize,
        /// Number of machines.
        nodes: usize,
    },
    /// A system without signals.
    #[error(
        "launch stops its processes by signals, which this system does not have: start each by itself, with RANK,          LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment"
    )]
    NoSignals,
    /// Signals cannot be passed on.
    #[error("cannot install the signal handler: {0}")]
    Signals(ctrlc::Error),
    /// Fewer processes on one of several machines.
    #[error("--min-nproc is for one machine: with --nnodes the others would not hear of it; leave it out")]
    FewerOfSeveral,
    /// More processes at least than there are.
    #[error(
        "--min-nproc {min} of --nproc {nproc}: restarts come back with numbers that divide {nproc}, and none from \
         {min} on is smaller"
    )]
    MinNproc {
        /// At least.
        min: usize,
        /// At first.
        nproc: usize,
    },
    /// The program cannot find itself.
    #[error("cannot find this program: {0}")]
    NoProgram(std::io::Error),
    /// The program cannot be started.
    #[error("cannot start {}: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
    /// No port to meet at.
    #[error("no free port: {0}")]
    NoPort(std::io::Error),
}

impl Launch {
    /// Runs this program with the arguments that `command_line` gives for each attempt, 0 the first,
    /// and returns the exit code: of the first process that failed, [`STOPPED`] if one was asked to stop,
    /// or 0. What was asked to stop is not started again.
    ///
    /// # Errors
    /// Machines that do not know each other, processes that cannot be started.
    pub fn run(&self, command_line: impl Fn(u64) -> Vec<String>) -> Result<u8, LaunchError> {
        if !signals::AVAILABLE {
            return Err(LaunchError::NoSignals);
        }
        if self.nnodes > 1 && (self.master_addr.is_none() || self.master_port.is_none()) {
            return Err(LaunchError::NoMaster(self.nnodes));
        }
        if let Some(min) = self.min_nproc {
            if self.nnodes > 1 {
                return Err(LaunchError::FewerOfSeveral);
            }
            if min == 0 || min > self.nproc || self.fewer_than(self.nproc) == self.nproc && min < self.nproc {
                return Err(LaunchError::MinNproc { min, nproc: self.nproc });
            }
        }
        if self.node_rank >= self.nnodes {
            return Err(LaunchError::NodeRank { rank: self.node_rank, nodes: self.nnodes });
        }
        let children: Arc<Mutex<Vec<u32>>> = Arc::default();
        let asked_to_stop = Arc::new(AtomicBool::new(false));
        let (running, asked) = (Arc::clone(&children), Arc::clone(&asked_to_stop));
        ctrlc::set_handler(move || {
            asked.store(true, Relaxed);
            // Each finishes its step, writes what it has to, and ends.
            let children = running.lock().unwrap_or_else(PoisonError::into_inner);
            children.iter().for_each(|process| signals::send(*process, Signal::Stop));
        })
        .map_err(LaunchError::Signals)?;
        let (mut attempt, mut nproc) = (0, self.nproc);
        loop {
            let job = Job::start(self, nproc, attempt, &command_line(attempt), &children)?;
            if asked_to_stop.load(Relaxed) {
                // It may have come before there was anybody to tell.
                let children = children.lock().unwrap_or_else(PoisonError::into_inner);
                children.iter().for_each(|process| signals::send(*process, Signal::Stop));
            }
            let code = job.wait(&children);
            let is_over = [0, STOPPED, MISTAKEN].contains(&code) || asked_to_stop.load(Relaxed);
            if is_over || attempt == self.max_restarts {
                return Ok(code);
            }
            attempt += 1;
            nproc = self.fewer_than(nproc);
            let _ = writeln!(
                stderr(),
                "launch: starting {nproc} process{} again, restart {attempt} of {}",
                if nproc == 1 { "" } else { "es" },
                self.max_restarts
            );
        }
    }

    /// With how many processes a restart comes back: the next smaller number that divides the first, so that
    /// they can share the images of an update, if so few are enough.
    fn fewer_than(&self, nproc: usize) -> usize {
        let Some(min) = self.min_nproc else { return nproc };
        (min..nproc).rev().find(|fewer| self.nproc.is_multiple_of(*fewer)).unwrap_or(nproc)
    }
}

/// The processes of this machine.
struct Job {
    /// Each end of a process: rank and how.
    ended: Receiver<(usize, ExitStatus)>,
    count: usize,
}

impl Job {
    fn start(
        launch: &Launch,
        nproc: usize,
        attempt: u64,
        command_line: &[String],
        children: &Mutex<Vec<u32>>,
    ) -> Result<Self, LaunchError> {
        let program = std::env::current_exe().map_err(LaunchError::NoProgram)?;
        let port = match launch.master_port {
            Some(port) => port,
            None => free_port()?,
        };
        let (send, ended) = mpsc::channel();
        for local_rank in 0..nproc {
            let rank = launch.node_rank * nproc + local_rank;
            let mut command = Command::new(&program);
            command
                .args(command_line)
                .env("RANK", rank.to_string())
                .env("LOCAL_RANK", local_rank.to_string())
                .env("WORLD_SIZE", (launch.nnodes * nproc).to_string())
                .env("MASTER_ADDR", launch.master_addr.as_deref().unwrap_or("127.0.0.1"))
                .env("MASTER_PORT", port.to_string())
                .env("TORCHELASTIC_RESTART_COUNT", attempt.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            divide_cores(&mut command, nproc);
            let cannot_start = |error| LaunchError::Start { program: program.clone(), error };
            let mut child = command.spawn().map_err(cannot_start)?;
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
        Ok(Self { ended, count: nproc })
    }

    /// Waits for all processes; the first failure ends the others. Returns the exit code: of the
    /// first failure, [`STOPPED`] if there was none and a process was asked to stop, or 0.
    fn wait(self, children: &Mutex<Vec<u32>>) -> u8 {
        let mut first: Option<(u8, Instant)> = None;
        let (mut killed, mut stopped) = (false, false);
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
                        children.iter().for_each(|process| signals::send(*process, Signal::Kill));
                        killed = true;
                    }
                    // Nobody is left.
                    Err(RecvTimeoutError::Disconnected) => break (0, ExitStatus::default()),
                }
            };
            if status.code() == Some(STOPPED.into()) {
                // The others stop at the same step, and rank 0 may take its time to write.
                stopped = true;
            } else if !status.success() && !killed {
                let _ = writeln!(stderr(), "launch: rank {rank} ended: {status}");
                first.get_or_insert((signals::exit_code(status), Instant::now()));
            }
        }
        children.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let otherwise = if stopped { STOPPED } else { 0 };
        first.map_or(otherwise, |(code, _)| code)
    }
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

fn free_port() -> Result<u16, LaunchError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(LaunchError::NoPort)?;
    Ok(listener.local_addr().map_err(LaunchError::NoPort)?.port())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_back_with_processes_that_divide_the_first_ones() {
        let launch = |nproc, min_nproc| Launch {
            nproc,
            min_nproc,
            nnodes: 1,
            node_rank: 0,
            master_addr: None,
            master_port: None,
            max_restarts: 9,
        };
        let all = |nproc, min| {
            let launch = launch(nproc, min);
            std::iter::successors(Some(nproc), |now| Some(launch.fewer_than(*now)))
                .take(5)
                .collect::<Vec<_>>()
        };
        assert_eq!(all(8, None), [8, 8, 8, 8, 8]);
        assert_eq!(all(8, Some(2)), [8, 4, 2, 2, 2]);
        assert_eq!(all(6, Some(1)), [6, 3, 2, 1, 1]);
        assert_eq!(all(6, Some(4)), [6, 6, 6, 6, 6]);
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
