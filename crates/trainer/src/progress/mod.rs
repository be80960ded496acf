//! How a run, or anything else that takes time, shows itself while it works.

mod bar;
mod dashboard;
mod plain;
mod report;
mod run_bar;
mod words;

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::TrainError;
pub use bar::{Bar, Unit};
use dashboard::Dashboard;
use plain::Plain;
pub(crate) use plain::Silent;
pub use report::{Progress, Screen, StepReport};
use run_bar::RunBar;

/// What a display knows, also after a thread that held it has panicked: what is shown may be old, not wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which display to use. All are on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// A line an interval, for pipes and files.
    Plain,
    /// A progress bar, on a terminal.
    Bar,
    /// A full-screen dashboard, on a terminal.
    Tui,
    /// Warnings only: for all processes of a job but one, and for who wants quiet.
    Silent,
}

impl ProgressKind {
    /// Checks that there is what it needs.
    ///
    /// # Errors
    /// The dashboard without a terminal.
    pub fn check(self) -> Result<(), TrainError> {
        match self {
            Self::Tui if !stderr().is_terminal() => Err(TrainError::NoTerminal),
            _ => Ok(()),
        }
    }
}

/// The display of a kind.
///
/// The dashboard takes the keys of the terminal, and with them Ctrl-C, which is no signal then:
/// `on_interrupt` hears of it.
///
/// # Errors
/// The dashboard without a terminal.
pub fn progress(
    kind: ProgressKind,
    on_interrupt: impl Fn(&Arc<dyn Screen>) + Send + 'static,
) -> Result<Box<dyn Progress>, TrainError> {
    kind.check()?;
    Ok(match kind {
        ProgressKind::Plain => Box::new(Plain::default()),
        ProgressKind::Bar => Box::new(RunBar::new(Bar::on_stderr())),
        ProgressKind::Tui => Box::new(Dashboard::open(on_interrupt).map_err(TrainError::Terminal)?),
        ProgressKind::Silent => Box::new(Silent),
    })
}
