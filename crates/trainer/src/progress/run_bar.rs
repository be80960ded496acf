//! A run as a bar.

use std::sync::Arc;

use super::bar::{Bar, Unit};
use super::report::{Progress, Screen, StepReport};
use super::words::{gpu_memory, metrics, numbers};
use crate::health::Look;
use crate::plan::Plan;

/// Updates as a bar, the numbers of the last interval below it; evaluations are lines above.
pub(super) struct RunBar {
    bar: Bar,
    numbers: Vec<String>,
}

impl RunBar {
    pub(super) fn new(bar: Bar) -> Self {
        Self { bar, numbers: Vec::new() }
    }
}

impl Progress for RunBar {
    fn start(&mut self, plan: &Plan, step: u64) {
        self.bar.start("", Unit::Items, step..plan.total_steps);
    }

    fn step(&mut self, step: u64) {
        self.bar.reach(step);
    }

    fn report(&mut self, report: &StepReport) {
        let [epoch, loss, lr, _grad, speed, wait] = numbers(report);
        self.numbers = vec![epoch, loss, lr, speed, wait];
        self.numbers.extend(gpu_memory(report));
        self.bar.note(self.numbers.clone());
    }

    fn evaluating(&mut self, done: u64, total: u64) {
        self.bar.note(vec![format!("evaluating {done}/{total}")]);
        if done == 0 {
            self.bar.draw();
        }
    }

    fn evaluation(&mut self, step: u64, found: &[(String, f64)]) {
        self.bar.note(self.numbers.clone());
        self.bar.print(&[&[format!("step {step}")], &metrics(found)[..]].concat());
    }

    fn health(&mut self, look: &Look, before: &[Look]) {
        let verdict = format!("health  {}", look.health.verdict);
        self.bar.print(&[&[verdict], &look.parts(before)[..]].concat());
    }

    fn finish(&mut self) {
        self.bar.end();
    }

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(self.bar.screen())
    }
}
