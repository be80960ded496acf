//! What the dashboard shows, and where.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType};

use super::series::Series;
use crate::number::readable;
use crate::plan::Plan;
use crate::progress::StepReport;
use crate::progress::bar::gauge;
use crate::progress::words::{clock, fold, gpu_memory, metrics, numbers};

/// Columns from which two charts stand side by side.
const WIDE: u16 = 100;
const COLORS: [Color; 4] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green];

/// A run as far as it has come.
#[derive(Default)]
pub(super) struct View {
    plan: Option<Plan>,
    pub(super) step: u64,
    /// The last interval, and when it ended.
    report: Option<(StepReport, Instant)>,
    loss: Series,
    /// Every metric of evaluation, in the order in which they are told.
    metrics: Vec<(String, Series)>,
    /// What the last evaluation found.
    found: Vec<(String, f64)>,
    /// Images that are judged, and all of them, during an evaluation.
    pub(super) evaluating: Option<(u64, u64)>,
    /// What the last look has seen.
    pub(super) health: Vec<String>,
    /// A sentence in the place of the hint.
    pub(super) note: String,
}

impl View {
    pub(super) fn start(&mut self, plan: Plan, step: u64) {
        (self.plan, self.step) = (Some(plan), step);
    }

    pub(super) fn report(&mut self, report: &StepReport) {
        self.loss.push(report.epoch, report.loss);
        self.report = Some((report.clone(), Instant::now()));
    }

    pub(super) fn evaluation(&mut self, step: u64, found: &[(String, f64)]) {
        self.evaluating = None;
        let epoch = self.plan.map_or(0.0, |plan| plan.epoch(step));
        for (name, value) in found {
            if !self.metrics.iter().any(|(known, _)| known == name) {
                self.metrics.push((name.clone(), Series::default()));
            }
            let series = self.metrics.iter_mut().filter(|(known, _)| known == name);
            series.for_each(|(_, series)| series.push(epoch, *value));
        }
        self.found = found.to_vec();
    }

    pub(super) fn draw(&self, frame: &mut Frame) {
        let Some(plan) = &self.plan else {
            return frame.render_widget(Line::from("starting …"), frame.area());
        };
        let width = usize::from(frame.area().width);
        let told = |report: &StepReport| [&numbers(report)[..], gpu_memory(report).as_slice()].concat();
        let numbers = self.report.as_ref().map_or_else(Vec::new, |(report, _)| fold(&told(report), width));
        let mut found = fold(&metrics(&self.found), width);
        found.extend(fold(&self.health, width));
        let heights = [numbers.len(), found.len(), 2, 1].map(|lines| Constraint::Length(lines as u16));
        let [numbers_at, found_at, bars_at, hint_at] = heights;
        let rows = Layout::vertical([Constraint::Min(0), numbers_at, found_at, bars_at, hint_at]);
        let [charts_at, numbers_at, found_at, bars_at, hint_at] = rows.areas(frame.area());
        self.draw_charts(frame, charts_at);
        frame.render_widget(Text::from_iter(numbers), numbers_at);
        frame.render_widget(Text::from_iter(found), found_at);
        frame.render_widget(Text::from_iter(self.bars(plan, width)), bars_at);
        let hint = match &self.note[..] {
            "" => "Ctrl-C or q stops with a checkpoint; once more ends at once".dim(),
            note => note.yellow(),
        };
        frame.render_widget(Line::from(hint), hint_at);
    }

    /// This epoch, or the evaluation under way; and the whole run.
    fn bars(&self, plan: &Plan, width: usize) -> [String; 2] {
        let share = |done: u64, of: u64| done as f64 / of.max(1) as f64;
        let (steps, epochs) = (plan.steps_per_epoch(), plan.total_steps.div_ceil(plan.steps_per_epoch()));
        let (done, epoch) = match self.step {
            // The last one is full, not followed by another.
            step if step >= plan.total_steps => (plan.total_steps - (epochs - 1) * steps, epochs),
            step => (step % steps, step / steps + 1),
        };
        let first = match self.evaluating {
            Some((done, of)) => gauge("evaluating", share(done, of), &format!("{done}/{of}"), width),
            None => {
                let tail = format!("{done}/{steps}  epoch {epoch} of {epochs}");
                gauge("this epoch", share(done, steps), &tail, width)
            }
        };
        let eta = self.report.as_ref().map_or("?".to_owned(), |(report, since)| {
            clock((report.eta_s - since.elapsed().as_secs_f64()).max(0.0))
        });
        let tail = format!("{}/{}  eta {eta}", self.step, plan.total_steps);
        [first, gauge("whole run ", share(self.step, plan.total_steps), &tail, width)]
    }

    /// The losses, and, where there are others, the first metric that is none.
    fn draw_charts(&self, frame: &mut Frame, area: Rect) {
        let metrics = || self.metrics.iter().map(|(name, series)| (&name[..], series));
        let is_loss = |(name, _): &(&str, &Series)| name.ends_with("loss");
        let losses: Vec<_> =
            [("training loss", &self.loss)].into_iter().chain(metrics().filter(is_loss)).collect();
        let Some((score, _)) = metrics().find(|metric| !is_loss(metric)) else {
            return chart(frame, area, &losses);
        };
        // That of the weights and that of their average.
        let scores: Vec<_> = metrics().filter(|(name, _)| name.ends_with(score)).collect();
        let halves = [Constraint::Fill(1); 2];
        let [left, right] = match area.width {
            WIDE.. => Layout::horizontal(halves).areas(area),
            _ => Layout::vertical(halves).areas(area),
        };
        chart(frame, left, &losses);
        chart(frame, right, &scores);
    }
}

/// Curves over epochs.
fn chart(frame: &mut Frame, area: Rect, series: &[(&str, &Series)]) {
    let points = || series.iter().flat_map(|(_, series)| series.points());
    let [x, y] = [range(points().map(|point| point.0)), range(points().map(|point| point.1))];
    let datasets = series.iter().zip(COLORS).map(|((_, series), color)| {
        Dataset::default()
            .data(series.points())
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(color))
    });
    // In the title, where no curve runs below them.
    let names = series.iter().zip(COLORS).map(|((name, _), color)| format!(" {name} ").fg(color));
    let axis = |[low, high]: [f64; 2], label: fn(f64) -> String| {
        Axis::default().bounds([low, high]).labels([label(low), label(high)]).dark_gray()
    };
    let chart = Chart::new(datasets.collect())
        .block(Block::bordered().title(Line::from_iter(names)).title_bottom(" epoch "))
        .x_axis(axis(x, |epoch| format!("{epoch:.1}")))
        .y_axis(axis(y, readable));
    frame.render_widget(chart, area);
}

/// The smallest and the largest of some values, apart.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match high - low {
        wide if wide > 0.0 => [low, high],
        0.0 => [low - 0.5 * low.abs().max(1e-9), high + 0.5 * high.abs().max(1e-9)],
        _ => [0.0, 1.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use crate::sections::TrainConfig;

    /// The screen after 30 of 40 updates of a run that is evaluated, line by line.
    fn screen(width: u16, change: impl FnOnce(&mut View)) -> Vec<String> {
        let train = TrainConfig { epochs: 4, batch_size: 8, accumulate: 1, ..TrainConfig::default() };
        let mut view = View::default();
        view.start(Plan::new(&train, 10, 1), 0);
        for step in 1..=30 {
            view.step = step;
            let loss = 3.0 / step as f64;
            let (epoch, eta_s) = (step as f64 / 10.0, 131.9);
            view.report(&StepReport { step, epoch, loss, lr: 1.2e-4, eta_s, ..StepReport::default() });
        }
        let found = [("val_loss", 0.7), ("val_top1", 0.5), ("ema_val_loss", 0.6), ("ema_val_top1", 0.75)];
        view.health =
            ["health  learning", "held-out loss 0.7", "k-NN 34 % (chance 10 %)"].map(str::to_owned).to_vec();
        view.evaluation(30, &found.map(|(name, value)| (name.to_owned(), value)));
        change(&mut view);
        let mut terminal = Terminal::new(TestBackend::new(width, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells
            .chunks(width.into())
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn epochs_bars_eta_and_all_numbers_are_shown_at_any_width() {
        for width in [60, 80, 120] {
            let screen = screen(width, |_| {});
            let text = screen.join("\n");
            for expected in [
                " training loss  val_loss  ema_val_loss ",
                " val_top1  ema_val_top1 ",
                "loss 0.1000",
                "lr 1.20e-4",
                "val_top1 0.5000",
                "ema_val_loss 0.6000",
                "ema_val_top1 0.7500",
                "health  learning  held-out loss 0.7  k-NN 34 % (chance 10 %)",
                "0/10  epoch 4 of 4",
                "30/40  eta 0:02:11",
                "Ctrl-C or q stops with a checkpoint",
            ] {
                assert!(text.contains(expected), "{width}: {expected} in\n{text}");
            }
            let titles = |name: &str| screen.iter().position(|line| line.contains(name));
            assert_eq!(titles(" training loss ") == titles(" val_top1  ema_"), width == 120, "{text}");
        }
    }

    #[test]
    fn an_evaluation_and_the_end_are_shown() {
        let text = screen(80, |view| {
            view.evaluating = Some((96, 250));
            view.note = "stopping".to_owned();
        })
        .join("\n");
        assert!(text.contains("evaluating ") && text.contains(" 96/250"), "{text}");
        assert!(text.contains("\nstopping") && !text.contains("Ctrl-C"), "{text}");
        let text = screen(80, |view| view.step = 40).join("\n");
        assert!(text.contains("10/10  epoch 4 of 4") && text.contains("40/40"), "{text}");
    }

    #[test]
    fn a_run_that_is_not_evaluated_has_one_chart() {
        let text = screen(120, |view| {
            view.metrics.clear();
            view.found.clear();
        })
        .join("\n");
        assert!(text.contains(" training loss ") && !text.contains("val_"), "{text}");
    }
}
