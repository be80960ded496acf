//! Standard output, which may go away: after `predict … | head` that is no error, on a full disk it is
//! one; `println!` would panic in both cases.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write, stdout};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// The first failure; nothing is written after it.
static FAILED: Mutex<Option<Error>> = Mutex::new(None);

/// Prints a line.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use out;

pub(crate) fn line(text: Arguments) {
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
