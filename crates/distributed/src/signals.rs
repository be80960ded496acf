//! How child processes are told to end, and how they say that they have.

use std::process::ExitStatus;

/// Whether this system has signals.
pub(crate) const AVAILABLE: bool = cfg!(unix);

/// What a process is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// To finish what it is at.
    Stop,
    /// To end at once.
    Kill,
}

/// Sends a signal to a child.
#[cfg(unix)]
pub(crate) fn send(process: u32, signal: Signal) {
    let Ok(process) = i32::try_from(process) else { return };
    let signal = match signal {
        Signal::Stop => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // SAFETY: sends a signal to a child; one that has ended already makes it fail, which is fine.
    #[allow(unsafe_code, reason = "a C function")]
    unsafe {
        libc::kill(process, signal);
    }
}

/// Never called: who launches processes asks first whether there are signals.
#[cfg(not(unix))]
pub(crate) fn send(process: u32, signal: Signal) {
    unreachable!("no {signal:?} for process {process} without signals");
}

/// As shells have it: 128 and the number of the signal that ended a process.
#[cfg(unix)]
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// The code that a process ended with.
#[cfg(not(unix))]
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_signal_reaches_a_child_and_becomes_an_exit_code() {
        for (signal, code) in [(Signal::Kill, 137), (Signal::Stop, 143)] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            send(child.id(), signal);
            assert_eq!(exit_code(child.wait().unwrap()), code);
        }
    }
}
