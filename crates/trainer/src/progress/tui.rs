//! The full-screen dashboard.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::train::Interrupter;
use burn::train::logger::TrainingProgressLogger;
use burn::train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};

use super::report::{Progress, StepReport};

/// burn-train's dashboard, driven from our loop; the whole run is one of its epochs.
pub(super) struct Tui {
    renderer: TuiMetricsRendererWrapper,
    metrics: Vec<MetricId>,
    /// Metrics of evaluation, registered by name when they first come.
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
    pub(super) fn new(interrupter: Interrupter) -> Self {
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
