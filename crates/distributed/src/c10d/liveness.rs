//! Who is alive, and whose fault a failure is.
//!
//! Every rank counts up a key of the store each second. When a collective fails, a rank watches
//! these keys for a few seconds: a rank whose key stands still is dead or frozen. The first that
//! knows writes the verdict into the store, so that all ranks say the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ffi::Store;
use crate::environment::Environment;
use crate::error::ranks;

const HEARTBEAT: Duration = Duration::from_secs(1);
/// A rank that shows no sign of life for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// A store that gives no answer for so long is lost.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long rank 0 keeps the store open after a failure, for the others to learn the reason.
const FAREWELL: Duration = Duration::from_secs(10);
/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Liveness {
    shared: Arc<Shared>,
    /// Dropped to stop the heartbeat.
    stop: Mutex<Option<Sender<()>>>,
    heartbeat: Option<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    rank: usize,
    world_size: usize,
    timeout: Duration,
    /// Host and port of the store.
    address: String,
    /// The store ends with this process.
    serves: bool,
    /// Collectives begun.
    collectives: AtomicU64,
    /// The reason is known to all.
    explained: AtomicBool,
}

/// What a rank says each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pulse {
    beats: u64,
    collectives: u64,
}

impl Pulse {
    fn parse(text: &str) -> Option<Self> {
        let (beats, collectives) = text.split_once(' ')?;
        Some(Self { beats: beats.parse().ok()?, collectives: collectives.parse().ok()? })
    }
}

impl Liveness {
    pub(super) fn start(store: Store, heartbeat: Store, environment: &Environment) -> Self {
        let (host, port) = &environment.master;
        let shared = Arc::new(Shared {
            store,
            rank: environment.rank,
            world_size: environment.world_size,
            timeout: environment.timeout,
            address: format!("{host}:{port}"),
            serves: environment.rank == 0 && !environment.agent_listens,
            collectives: AtomicU64::new(0),
            explained: AtomicBool::new(false),
        });
        let (stop, stopped) = mpsc::channel();
        let of = Arc::clone(&shared);
        let heartbeat = thread::spawn(move || {
            for beats in 0u64.. {
                let pulse = format!("{beats} {}", of.collectives.load(Relaxed));
                // Without a store there is nobody to tell.
                let told = heartbeat.set(&pulse_key(of.rank), &pulse).is_ok();
                if !told || stopped.recv_timeout(HEARTBEAT) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        Self { shared, stop: Mutex::new(Some(stop)), heartbeat: Some(heartbeat) }
    }

    /// A collective begins.
    pub(super) fn count(&self) {
        self.shared.collectives.fetch_add(1, Relaxed);
    }

    /// Why a collective failed with `reason`: who is to blame.
    pub(super) fn explain(&self, reason: &str) -> String {
        // A store whose machine is frozen would never answer.
        let (send, receive) = mpsc::channel();
        let (shared, owned) = (Arc::clone(&self.shared), reason.to_owned());
        thread::spawn(move || send.send(shared.verdict(&owned)));
        let verdict = receive.recv_timeout(STORE_TIMEOUT).unwrap_or_else(|_| Err("no answer".to_owned()));
        let verdict = verdict.unwrap_or_else(|silence| {
            let address = &self.shared.address;
            format!("rank 0 did not answer: its store at {address} is gone ({silence})")
        });
        self.shared.explained.store(true, Relaxed);
        verdict
    }

    /// Tells the others why this rank ends, unless they are why. `leave` breaks its connections.
    pub(super) fn confess(&self, reason: &str, leave: impl FnOnce()) {
        if self.shared.explained.swap(true, Relaxed) {
            return;
        }
        let told = self.shared.store.set(&error_key(self.shared.rank), reason);
        leave();
        if told.is_ok() && self.shared.serves {
            self.shared.wait_for_others(&[self.shared.rank]);
        }
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(heartbeat) = self.heartbeat.take() else { return };
        let begin = Instant::now();
        // Not for ever: a store whose machine is frozen keeps it.
        while begin.elapsed() < 2 * HEARTBEAT {
            if heartbeat.is_finished() {
                // A thread that panicked has said so already.
                let _ = heartbeat.join();
                return;
            }
            thread::sleep(LOOK / 10);
        }
    }
}

fn pulse_key(rank: usize) -> String {
    format!("pulse/{rank}")
}

fn error_key(rank: usize) -> String {
    format!("error/{rank}")
}

fn seen_key(rank: usize) -> String {
    format!("seen/{rank}")
}

const VERDICT: &str = "verdict";

impl Shared {
    /// The one explanation that all ranks give; an error if the store is gone.
    fn verdict(&self, reason: &str) -> Result<String, String> {
        let (lost, verdict) = self.investigate(reason)?;
        let verdict = self.store.set_once(VERDICT, &verdict)?;
        self.store.set(&seen_key(self.rank), "yes")?;
        if self.serves {
            self.wait_for_others(&[&lost[..], &[self.rank]].concat());
        }
        Ok(verdict)
    }

    /// The lost ranks, and what to say of them.
    fn investigate(&self, reason: &str) -> Result<(Vec<usize>, String), String> {
        let begin = Instant::now();
        let others = || (0..self.world_size).filter(|rank| *rank != self.rank);
        let first = others().map(|rank| self.pulse(rank)).collect::<Result<Vec<_>, _>>()?;
        loop {
            if let Some(verdict) = self.store.get(VERDICT)? {
                return Ok((Vec::new(), verdict));
            }
            for rank in others() {
                if let Some(error) = self.store.get(&error_key(rank))? {
                    return Ok((vec![rank], format!("rank {rank} ended: {error}")));
                }
            }
            let mut silent = Vec::new();
            for (rank, before) in others().zip(&first) {
                if self.pulse(rank)? == *before {
                    silent.push(rank);
                }
            }
            if silent.is_empty() {
                return Ok((silent, self.slowest(reason)?));
            }
            if begin.elapsed() >= SILENCE {
                let seconds = SILENCE.as_secs();
                let verdict = format!("{} did not answer for {seconds} s ({reason})", ranks(&silent));
                return Ok((silent, verdict));
            }
            thread::sleep(LOOK);
        }
    }

    /// All ranks live: what can be said of the one that is furthest behind.
    fn slowest(&self, reason: &str) -> Result<String, String> {
        let own = self.collectives.load(Relaxed);
        let mut behind = (0, own);
        for rank in (0..self.world_size).filter(|rank| *rank != self.rank) {
            let count = self.pulse(rank)?.map_or(0, |pulse| pulse.collectives);
            behind = if count < behind.1 { (rank, count) } else { behind };
        }
        let seconds = self.timeout.as_secs();
        Ok(match behind {
            (_, count) if count == own => format!("a collective failed, though all ranks live: {reason}"),
            (rank, count) => format!(
                "rank {rank} lives but did not come to collective {own} within {seconds} s (it is at \
                 {count}); if it was only slow, raise DISTRIBUTED_TIMEOUT_S ({reason})"
            ),
        })
    }

    fn pulse(&self, rank: usize) -> Result<Option<Pulse>, String> {
        Ok(self.store.get(&pulse_key(rank))?.as_deref().and_then(Pulse::parse))
    }

    /// Keeps the store open until all but `except` know the verdict.
    fn wait_for_others(&self, except: &[usize]) {
        let begin = Instant::now();
        let unaware =
            |rank: &usize| !except.contains(rank) && !matches!(self.store.get(&seen_key(*rank)), Ok(Some(_)));
        while begin.elapsed() < FAREWELL && (0..self.world_size).any(|rank| unaware(&rank)) {
            thread::sleep(LOOK);
        }
    }
}
