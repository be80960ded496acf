//! Standard output, which may go away: after `predict … | head` that is no error, on a full disk it is
//! one; `println!` would panic in both cases.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;

/// The first failure; nothing is written after it.
static FAILED: Mutex<Option<Error>> = Mutex::new(None);

/// Whether standard output is for programs.
static FOR_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// Keeps standard output for [`json`]: lines for people go to standard error from here on.
pub(crate) fn keep_for_programs() {
    FOR_PROGRAMS.store(true, Ordering::Relaxed);
}

/// Prints a line for people.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use out;

pub(crate) fn line(text: Arguments) {
    if FOR_PROGRAMS.load(Ordering::Relaxed) {
        // Whoever reads the other stream does not depend on this one.
        let _ = writeln!(stderr(), "{text}");
    } else {
        print(text);
    }
}

/// Prints a value for programs, in one line.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print(format_args!("{}", serde_json::to_string(value)?));
    Ok(())
}

fn print(text: Arguments) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        *failed = writeln!(stdout(), "{text}").err();
    }
}

/// Whether it is pointless to compute what would be printed next.
pub(crate) fn is_gone() -> bool {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// What kept lines from being written, unless their reader had seen enough.
pub(crate) fn check() -> Result<()> {
    match FAILED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
