//! How a run shows itself while it works.

mod report;
mod tui;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;

use burn::train::Interrupter;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::TrainError;
pub use report::{Progress, StepReport};
use tui::Tui;

/// Which display to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// A line an interval, for pipes and files.
    Plain,
    /// A progress bar, on a terminal.
    Bar,
    /// burn-train's full-screen dashboard.
    Tui,
    /// Nothing, for all processes of a job but one.
    Silent,
}

impl ProgressKind {
    /// Checks that there is what it needs.
    ///
    /// # Errors
    /// The dashboard without a terminal: its thread would panic and the run go on blind.
    pub fn check(self) -> Result<(), TrainError> {
        match self {
            Self::Tui if !stdout().is_terminal() => Err(TrainError::NoTerminal),
            _ => Ok(()),
        }
    }
}

/// The display of a kind.
///
/// # Errors
/// The dashboard without a terminal.
pub fn progress(kind: ProgressKind, interrupter: &Interrupter) -> Result<Box<dyn Progress>, TrainError> {
    kind.check()?;
    Ok(match kind {
        ProgressKind::Plain => Box::new(Plain { total: 0 }),
        ProgressKind::Bar => Box::new(Bar(ProgressBar::hidden())),
        ProgressKind::Tui => Box::new(Tui::new(interrupter.clone())),
        ProgressKind::Silent => Box::new(Silent),
    })
}

/// `1:02:03`.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// An interval as a line of text.
fn line(r: &StepReport, total: u64) -> String {
    let width = total.to_string().len();
    format!(
        "step {:>width$}/{total}  epoch {:.2}  loss {:.4}  lr {:.2e}  grad {:.3}  {:.0} img/s  wait {:.0}%  eta {}",
        r.step,
        r.epoch,
        r.loss,
        r.lr,
        r.grad_norm,
        r.img_per_s,
        100.0 * r.data_wait,
        clock(r.eta_s),
    )
}

/// An evaluation as a line of text.
fn evaluation_line(step: u64, metrics: &[(String, f64)]) -> String {
    let metrics: Vec<_> = metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    format!("step {step}  {}", metrics.join("  "))
}

/// No display at all.
pub(crate) struct Silent;

impl Progress for Silent {
    fn start(&mut self, _total: u64, _step: u64) {}

    fn report(&mut self, _report: &StepReport) {}

    fn evaluation(&mut self, _step: u64, _metrics: &[(String, f64)]) {}

    fn step(&mut self, _step: u64) {}

    fn finish(&mut self) {}
}

struct Plain {
    total: u64,
}

impl Progress for Plain {
    fn start(&mut self, total: u64, _step: u64) {
        self.total = total;
    }

    fn report(&mut self, r: &StepReport) {
        // Not eprintln!, which panics when the reader of a pipe has gone: the run matters more.
        let _ = writeln!(stderr(), "{}", line(r, self.total));
    }

    fn evaluation(&mut self, step: u64, metrics: &[(String, f64)]) {
        let _ = writeln!(stderr(), "{}", evaluation_line(step, metrics));
    }

    fn step(&mut self, _step: u64) {}

    fn finish(&mut self) {}
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn start(&mut self, total: u64, step: u64) {
        let style = ProgressStyle::with_template(
            "{bar:30.cyan/blue} {pos}/{len} {elapsed_precise} eta {eta_precise}  {msg}",
        );
        self.0 = ProgressBar::new(total).with_position(step);
        self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.reset_eta();
        self.0.enable_steady_tick(Duration::from_millis(500));
    }

    fn report(&mut self, r: &StepReport) {
        self.0.set_message(format!(
            "epoch {:.2}  loss {:.4}  lr {:.2e}  {:.0} img/s  wait {:.0}%",
            r.epoch,
            r.loss,
            r.lr,
            r.img_per_s,
            100.0 * r.data_wait
        ));
    }

    fn evaluation(&mut self, step: u64, metrics: &[(String, f64)]) {
        self.0.println(evaluation_line(step, metrics));
    }

    fn step(&mut self, step: u64) {
        self.0.set_position(step);
    }

    fn finish(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_clocks() {
        assert_eq!(clock(3723.9), "1:02:03");
    }

    #[test]
    fn an_interval_is_one_line_without_escape_codes() {
        let report = StepReport {
            step: 120,
            epoch: 3.0,
            loss: 0.8123,
            lr: 1.2e-4,
            grad_norm: 1.03,
            img_per_s: 312.2,
            data_wait: 0.01,
            eta_s: 131.0,
            ..StepReport::default()
        };
        assert_eq!(
            line(&report, 1000),
            "step  120/1000  epoch 3.00  loss 0.8123  lr 1.20e-4  grad 1.030  312 img/s  wait 1%  eta 0:02:11"
        );
    }
}
