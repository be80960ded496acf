//! How a run shows itself while it works.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::Arc;
use std::time::Duration;

use burn::train::Interrupter;
use burn::train::logger::TrainingProgressLogger;
use burn::train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::TrainError;

/// One log interval: a line of `log.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// Updates done.
    pub step: u64,
    /// Epochs done, a fraction.
    pub epoch: f64,
    /// Mean over the interval.
    pub loss: f64,
    /// Of the last update.
    pub lr: f64,
    /// Mean over the interval, before clipping.
    pub grad_norm: f64,
    /// Images per second.
    pub img_per_s: f64,
    /// Share of time spent waiting for data, 0 to 1.
    pub data_wait: f64,
    /// Most memory held so far, in MiB, where the system tells.
    pub peak_rss_mib: Option<u64>,
    /// Seconds to the end at this speed.
    pub eta_s: f64,
}

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

/// A display of a run.
pub trait Progress {
    /// The run begins, or goes on, at `step` of `total`.
    fn start(&mut self, total: u64, step: u64);
    /// An interval is over.
    fn report(&mut self, report: &StepReport);
    /// An evaluation is done.
    fn evaluation(&mut self, step: u64, metrics: &[(String, f64)]);
    /// An update is done.
    fn step(&mut self, step: u64);
    /// The run is over.
    fn finish(&mut self);
}

/// The display of a kind.
///
/// # Errors
/// The dashboard without a terminal.
pub fn progress(kind: ProgressKind, interrupter: &Interrupter) -> Result<Box<dyn Progress>, TrainError> {
    Ok(match kind {
        ProgressKind::Plain => Box::new(Plain { total: 0 }),
        ProgressKind::Bar => Box::new(Bar(ProgressBar::hidden())),
        // Without a terminal its thread panics and the run would go on blind.
        ProgressKind::Tui if !stdout().is_terminal() => return Err(TrainError::NoTerminal),
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

struct Silent;

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

/// burn-train's dashboard, driven from our loop; the whole run is one of its epochs.
struct Tui {
    renderer: TuiMetricsRendererWrapper,
    metrics: Vec<MetricId>,
    /// By name, as they first come.
    evaluations: BTreeMap<String, MetricId>,
}

/// Name, unit, whether more is better.
const METRICS: [(&str, Option<&str>, bool); 4] = [
    ("Loss", None, false),
    ("Learning rate", None, false),
    ("Gradient norm", None, false),
    ("Images per second", Some("img/s"), true),
];

fn register(
    renderer: &mut TuiMetricsRendererWrapper,
    name: &str,
    unit: Option<&str>,
    higher_is_better: bool,
) -> MetricId {
    let name = Arc::new(name.to_owned());
    let metric_id = MetricId::new(name.clone());
    let attributes = NumericAttributes { unit: unit.map(str::to_owned), higher_is_better };
    renderer.register_metric(MetricDefinition {
        metric_id: metric_id.clone(),
        name,
        description: None,
        attributes: attributes.into(),
    });
    metric_id
}

impl Tui {
    fn new(interrupter: Interrupter) -> Self {
        let mut renderer = TuiMetricsRendererWrapper::new(interrupter, None);
        let metrics = METRICS
            .into_iter()
            .map(|(name, unit, higher_is_better)| register(&mut renderer, name, unit, higher_is_better))
            .collect();
        Self { renderer, metrics, evaluations: BTreeMap::new() }
    }
}

impl Progress for Tui {
    fn start(&mut self, total: u64, step: u64) {
        self.renderer.start(1, 1, Some(total as usize), Some("training"));
        self.renderer.start_split("train", total as usize);
        self.renderer.update_split(step as usize);
    }

    fn report(&mut self, r: &StepReport) {
        let values = [r.loss, r.lr, r.grad_norm, r.img_per_s];
        for (id, value) in self.metrics.iter().zip(values) {
            let text = format!("{value:.4e}");
            let entry = MetricEntry::new(id.clone(), SerializedEntry::new(text.clone(), text));
            self.renderer.update_train(MetricState::Numeric(entry, Some(NumericEntry::Value(value))));
        }
    }

    fn evaluation(&mut self, _step: u64, metrics: &[(String, f64)]) {
        for (name, value) in metrics {
            let id = self
                .evaluations
                .entry(name.clone())
                .or_insert_with(|| register(&mut self.renderer, name, None, !name.ends_with("loss")));
            let text = format!("{value:.4}");
            let entry = MetricEntry::new(id.clone(), SerializedEntry::new(text.clone(), text));
            self.renderer.update_valid(MetricState::Numeric(entry, Some(NumericEntry::Value(*value))));
        }
    }

    fn step(&mut self, step: u64) {
        self.renderer.update_split(step as usize);
    }

    fn finish(&mut self) {
        // Not `manual_close`, which waits for a stop by keyboard: dropping it gives the terminal back.
        self.renderer.end_split();
        self.renderer.end();
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
