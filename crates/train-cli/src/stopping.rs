//! How a run is asked to stop: by a signal, or by a key of the dashboard.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use trainer::Screen;

/// Requests that come within this time of the first are one with it: who presses Ctrl-C reaches `launch` and
/// its processes, and `launch` passes it on; schedulers do the same.
const ONE_REQUEST: Duration = Duration::from_millis(500);
/// How long the screen may take to be given back.
const FAREWELL: Duration = Duration::from_secs(1);

/// Requests to stop, from wherever they come.
pub(crate) struct Stopping {
    interrupter: Interrupter,
    first: Mutex<Option<Instant>>,
}

impl Stopping {
    pub(crate) fn new(interrupter: Interrupter) -> Arc<Self> {
        Arc::new(Self { interrupter, first: Mutex::default() })
    }

    /// The first request asks the run to stop, which drops the update that it is at; the second ends the
    /// process at once.
    pub(crate) fn ask(&self, screen: &Arc<dyn Screen>) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match *first {
            None => {
                *first = Some(Instant::now());
                self.interrupter.stop(Some("asked to stop"));
                screen.say("stopping; once more ends at once, without a checkpoint");
            }
            Some(first) if first.elapsed() < ONE_REQUEST => {}
            Some(_) => leave_at_once(screen),
        }
    }
}

/// Gives the screen back, unless the terminal has gone with it, and ends the process as shells say of one
/// that Ctrl-C ended, whatever its threads are at.
fn leave_at_once(screen: &Arc<dyn Screen>) {
    let (screen, (restored, wait)) = (Arc::clone(screen), channel());
    thread::spawn(move || {
        screen.restore();
        let _ = restored.send(());
    });
    let _ = wait.recv_timeout(FAREWELL);
    // SAFETY: does not return. Nothing is cleaned up, which `std::process::exit` would do beside threads
    // that still compute.
    #[allow(unsafe_code, reason = "a C function")]
    unsafe {
        libc::_exit(130)
    }
}
