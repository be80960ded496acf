//! Lines of text, for pipes and files; and nothing at all.

use std::io::{Write, stderr};
use std::sync::Arc;

use super::report::{Progress, Screen, StepReport};
use super::words::{clock, gpu_memory, metrics, numbers};
use crate::health::Look;
use crate::plan::Plan;

/// A line an interval.
#[derive(Default)]
pub(super) struct Plain {
    total: u64,
}

impl Plain {
    /// An interval as a line of text.
    fn line(&self, r: &StepReport) -> String {
        let width = self.total.to_string().len();
        let numbers = numbers(r).into_iter().chain(gpu_memory(r)).collect::<Vec<_>>().join("  ");
        format!("step {:>width$}/{}  {numbers}  eta {}", r.step, self.total, clock(r.eta_s))
    }
}

impl Progress for Plain {
    fn start(&mut self, plan: &Plan, _step: u64) {
        self.total = plan.total_steps;
    }

    fn step(&mut self, _step: u64) {}

    fn report(&mut self, report: &StepReport) {
        say(&self.line(report));
    }

    fn evaluating(&mut self, _done: u64, _total: u64) {}

    fn evaluation(&mut self, step: u64, found: &[(String, f64)]) {
        say(&format!("step {step}  {}", metrics(found).join("  ")));
    }

    fn health(&mut self, look: &Look, before: &[Look]) {
        say(&look.line(before));
    }

    fn finish(&mut self) {}

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(Stderr)
    }
}

/// Standard error.
pub(super) struct Stderr;

impl Screen for Stderr {
    fn say(&self, sentence: &str) {
        say(sentence);
    }

    fn restore(&self) {}
}

/// Not eprintln!, which panics when the reader of a pipe has gone: the run matters more.
fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// No display at all.
pub(crate) struct Silent;

impl Progress for Silent {
    fn start(&mut self, _plan: &Plan, _step: u64) {}

    fn step(&mut self, _step: u64) {}

    fn report(&mut self, _report: &StepReport) {}

    fn evaluating(&mut self, _done: u64, _total: u64) {}

    fn evaluation(&mut self, _step: u64, _metrics: &[(String, f64)]) {}

    fn health(&mut self, _look: &Look, _before: &[Look]) {}

    fn finish(&mut self) {}

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(Self)
    }
}

impl Screen for Silent {
    fn say(&self, _sentence: &str) {}

    fn warn(&self, sentence: &str) {
        Stderr.warn(sentence);
    }

    fn restore(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Plain { total: 1000 }.line(&report),
            "step  120/1000  epoch 3.00  loss 0.8123  lr 1.20e-4  grad 1.0300  312 img/s  wait 1%  eta 0:02:11"
        );
    }
}
