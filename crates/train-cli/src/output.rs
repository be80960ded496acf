//! What the program says. Standard output has the results of a command, standard error all else; both may
//! go away: after `predict … | head` that is no error, on a full disk it is one, and `println!` would panic
//! in both cases.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use trainer::Bar;

/// How much is said beside results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Nothing.
    Quiet,
    /// Plans, notes and progress.
    Normal,
    /// What was chosen, every line of tables, and how long it took as well.
    Verbose,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// Sets it, once, before anything is said.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    let _ = VERBOSITY.set(verbosity);
}

/// How much is to be said.
pub(crate) fn verbosity() -> Verbosity {
    *VERBOSITY.get_or_init(|| Verbosity::Normal)
}

/// The first failure; nothing is written after it.
static FAILED: Mutex<Option<Error>> = Mutex::new(None);

/// Whether standard output is for programs.
static FOR_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// Keeps standard output for [`json`]: lines for people go to standard error from here on.
pub(crate) fn keep_for_programs() {
    FOR_PROGRAMS.store(true, Ordering::Relaxed);
}

/// Prints a line of results, for people.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use out;

/// Says something beside the results, unless quiet is wanted.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::output::aside($crate::output::Verbosity::Normal, format_args!($($text)*))
    };
}
pub(crate) use note;

/// Says something that only who wants to know more asks for.
macro_rules! detail {
    ($($text:tt)*) => {
        $crate::output::aside($crate::output::Verbosity::Verbose, format_args!($($text)*))
    };
}
pub(crate) use detail;

pub(crate) fn line(text: Arguments) {
    if FOR_PROGRAMS.load(Ordering::Relaxed) {
        aside(Verbosity::Normal, text);
    } else {
        print(text);
    }
}

/// Prints a value for programs, in one line.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print(format_args!("{}", serde_json::to_string(value)?));
    Ok(())
}

/// Says something to people beside the results, where `eprintln!` would panic once the reader has gone.
pub(crate) fn say(text: Arguments) {
    let _ = writeln!(stderr(), "{text}");
}

fn print(text: Arguments) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        *failed = writeln!(stdout(), "{text}").err();
    }
}

pub(crate) fn aside(least: Verbosity, text: Arguments) {
    if verbosity() >= least {
        say(text);
    }
}

/// A bar for what takes time, where somebody sees it.
pub(crate) fn bar() -> Bar {
    match verbosity() > Verbosity::Quiet && stderr().is_terminal() {
        true => Bar::on_stderr(),
        false => Bar::hidden(),
    }
}

/// Refuses a file whose folder is missing, before what goes into it is computed.
pub(crate) fn require_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("cannot write {}: there is no folder {}", file.display(), folder.display()),
        None => Ok(()),
    }
}

/// The file of numbers beside a picture, which may replace an older one that has `key`, but nothing else.
pub(crate) fn beside(picture: &Path, key: &str) -> Result<PathBuf> {
    let path = picture.with_extension("json");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.contains(&format!("\"{key}\"")) => {
            bail!(
                "{} is another file, and the numbers of {} would replace it; name another picture",
                path.display(),
                picture.display()
            )
        }
        _ => Ok(path),
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
