//! The health of a run, read from its log: in words, and drawn.

use std::fmt;
use std::path::Path;

use checkpoint::RunDir;
use drawing::{Chart, Key, LINES, Line, Panel};
use image::RgbImage;
use serde::Serialize;

use crate::error::TrainError;
use crate::health::layers::LayerUpdates;
use crate::health::measures::{Health, Look, Measures};
use crate::health::verdict::Verdict;
use crate::log::lines_of;
use crate::number::readable;

/// The looks of a log, in order; none where there is no log yet.
pub(crate) fn looks_of(log: &Path) -> Result<Vec<Look>, TrainError> {
    let lines = match lines_of(log) {
        Err(TrainError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        lines => lines?,
    };
    let looks = lines.into_iter().filter_map(|(line, value)| {
        let damaged = |error| TrainError::LogLine { path: log.to_owned(), line, error };
        Some(Look::of_line(value)?.map_err(damaged))
    });
    looks.collect()
}

/// How a run is, by its last look, and how it came there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthReport {
    verdict: Verdict,
    reason: String,
    /// Updates done when the run was looked at last.
    step: u64,
    epoch: f64,
    /// How often it was looked at.
    looks: usize,
    #[serde(flatten)]
    measures: Measures,
    #[serde(flatten)]
    updates: LayerUpdates,
    #[serde(skip)]
    history: Vec<Look>,
}

impl HealthReport {
    /// Reads the log of a run that has ended or is under way.
    ///
    /// # Errors
    /// There is none, it is damaged, or nobody has looked at the run yet.
    pub fn read(run: &Path) -> Result<Self, TrainError> {
        let log = RunDir::of_leader(run).log();
        if !log.is_file() {
            return Err(TrainError::NoLog(run.to_owned()));
        }
        let history = looks_of(&log)?;
        let Some(Look { step, epoch, health }) = history.last().cloned() else {
            return Err(TrainError::NoLooks(log));
        };
        let Health { verdict, reason, measures, updates } = health;
        Ok(Self { verdict, reason, step, epoch, looks: history.len(), measures, updates, history })
    }

    /// Curves of what was measured, over epochs: a panel for each kind of value.
    pub fn draw(&self) -> RgbImage {
        let measures: Vec<_> = self.history.iter().map(|look| (look.epoch, &look.health)).collect();
        let curve = |value: &dyn Fn(&Health) -> Option<f64>| -> Vec<[f64; 2]> {
            let points = measures.iter().filter_map(|(epoch, health)| Some([*epoch, value(health)?]));
            points.filter(|point| point[1].is_finite()).collect()
        };
        let stages = |values: &dyn Fn(&Measures) -> &Vec<f64>, factor: f64| {
            let count = values(&self.measures).len();
            let curves = (0..count).map(|stage| {
                let value = |health: &Health| Some(factor * values(&health.measures).get(stage)?);
                (format!("stage {}", stage + 1), curve(&value))
            });
            curves.collect::<Vec<_>>()
        };
        let layers = |values: &dyn Fn(&LayerUpdates) -> &Vec<(String, f64)>| {
            let curves = values(&self.updates).iter().map(|(layer, _)| {
                let value = |health: &Health| {
                    let found = values(&health.updates).iter().find(|(name, _)| name == layer);
                    // Powers of ten: layers and times differ by that much.
                    found.map(|(_, value)| value.log10())
                };
                (layer.clone(), curve(&value))
            });
            curves.collect::<Vec<_>>()
        };
        let loss = if self.measures.held_out { "loss on held-out images" } else { "loss on training images" };
        let probes = vec![
            (
                "nearest neighbours".to_owned(),
                curve(&|health| health.measures.knn.map(|share| 100.0 * share)),
            ),
            (
                "linear classifier".to_owned(),
                curve(&|health| health.measures.linear.map(|share| 100.0 * share)),
            ),
        ];
        let panels = [
            panel(
                loss,
                "",
                vec![
                    ("loss".to_owned(), curve(&|health| health.measures.loss)),
                    ("same answer for all".to_owned(), curve(&|health| health.measures.baseline)),
                ],
            ),
            panel("distance between channels", "", stages(&|measures| &measures.distance, 1.0)),
            panel("dead channels", " %", stages(&|measures| &measures.dead, 100.0)),
            panel("probes of the features", " %", probes),
            panel("norm of gradients, power of ten", "", layers(&|updates| &updates.grad_norm)),
            panel("update by weight, power of ten", "", layers(&|updates| &updates.update_ratio)),
        ];
        Chart { x: "epoch", panels: panels.into_iter().flatten().collect() }.draw()
    }
}

/// A panel of curves with their names; none where there are no points.
fn panel(title: &str, unit: &'static str, curves: Vec<(String, Vec<[f64; 2]>)>) -> Option<Panel> {
    let drawn: Vec<_> = curves.into_iter().filter(|(_, points)| !points.is_empty()).collect();
    // Of more layers than there are colours the later ones are dashed.
    let style = |index: usize| (LINES[index % LINES.len()], index >= LINES.len());
    let keys = drawn.iter().enumerate().map(|(index, (name, _))| {
        let (colour, dashed) = style(index);
        Key { name: name.clone(), colour, dashed }
    });
    // One curve is named by the title.
    let legend = keys.filter(|_| drawn.len() > 1).collect();
    let lines = drawn.iter().enumerate().map(|(index, (_, points))| {
        let (colour, dashed) = style(index);
        Line { colour, dashed, points: points.clone() }
    });
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then_some(Panel { title: title.to_owned(), unit, lines, legend })
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, reason, step, epoch, looks, measures: m, updates, .. } = self;
        writeln!(f, "verdict      {verdict}: {reason}")?;
        let times = if *looks == 1 { "time" } else { "times" };
        write!(f, "looked at    {looks} {times}, last at step {step}, epoch {epoch:.2}")?;
        let images = if m.held_out { "held-out" } else { "training" };
        if let Some(loss) = m.loss {
            let baseline = m.baseline.map_or(String::new(), |baseline| {
                format!("; {} of the same answer for every image", readable(baseline))
            });
            write!(f, "\nloss         {} on {images} images{baseline}", readable(loss))?;
        }
        for (name, share) in [("k-NN", m.knn), ("linear", m.linear)] {
            if let Some(share) = share {
                write!(f, "\n{name:<12} {:.1} %{}", 100.0 * share, by_chance(m.num_classes))?;
            }
        }
        let stages = (1..=m.distance.len()).map(|stage| format!("{stage:>8}")).collect::<String>();
        write!(f, "\nstage       {stages}")?;
        let plain = |values: &[f64]| values.iter().map(|value| format!("{value:>8.3}")).collect::<String>();
        let percent = |value: &f64| format!("{:>8}", format!("{:.1} %", 100.0 * value));
        let rows = [
            ("distance", plain(&m.distance)),
            ("dead", m.dead.iter().map(percent).collect()),
            ("GRN |γ|", plain(&m.grn_gamma)),
            ("GRN |β|", plain(&m.grn_beta)),
        ];
        for (name, values) in rows {
            write!(f, "\n{name:<12}{values}")?;
        }
        for (layer, norm) in &updates.grad_norm {
            let ratio = updates.update_ratio.iter().find(|(name, _)| name == layer);
            let ratio = ratio.map_or(String::new(), |(_, ratio)| {
                format!(", moved by {} of its weights", readable(*ratio))
            });
            write!(f, "\n{layer:<20} gradient {}{ratio}", readable(*norm))?;
        }
        Ok(())
    }
}

impl Look {
    /// The look in a line, for people, with what has changed since the one before.
    pub fn line(&self, before: &[Self]) -> String {
        format!("health  {}: {}", self.health.verdict, self.parts(before).join(", "))
    }

    /// What stands in the line behind the verdict, part by part.
    pub(crate) fn parts(&self, before: &[Self]) -> Vec<String> {
        let Health { verdict, reason, measures: m, .. } = &self.health;
        let mut parts = Vec::new();
        if let Some(loss) = m.loss {
            let images = if m.held_out { "held-out" } else { "training" };
            let last = before.last().and_then(|look| Some((look.epoch, look.health.measures.loss?)));
            let change = last.map_or(String::new(), |(epoch, last)| {
                format!(" ({} % since epoch {epoch:.0})", percent_change(last, loss))
            });
            parts.push(format!("{images} loss {}{change}", readable(loss)));
        }
        if !m.distance.is_empty() {
            let distances: Vec<_> = m.distance.iter().map(|distance| format!("{distance:.2}")).collect();
            parts.push(format!("distance {}", distances.join(" ")));
        }
        parts.extend(m.knn.map(|share| format!("k-NN {:.0} %{}", 100.0 * share, by_chance(m.num_classes))));
        if *verdict != Verdict::Learning {
            parts.extend(reason.split(", ").map(str::to_owned));
        }
        parts
    }
}

/// What a probe of so many classes scores without features: ` (chance 10 %)`.
fn by_chance(classes: Option<usize>) -> String {
    let Some(classes) = classes else { return String::new() };
    let chance = 100.0 / classes as f64;
    format!(" (chance {chance:.*} %)", usize::from(chance < 1.0))
}

/// By how many percent a number is another one now: `−1.4`.
pub(crate) fn percent_change(before: f64, now: f64) -> String {
    let change = 100.0 * (now - before) / before;
    let sign = if change < 0.0 { "−" } else { "+" };
    format!("{sign}{:.1}", change.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Ten looks, every second epoch, of a network of three stages and four layers.
    fn looks() -> Vec<Look> {
        let look = |number: u64| {
            let done = number as f64 / 10.0;
            let layers = ["stages.0", "stages.1", "stages.2", "head"].map(str::to_owned);
            let by_layer = |size: f64| {
                layers
                    .iter()
                    .zip(1..)
                    .map(|(layer, at)| (layer.clone(), size * done / f64::from(at)))
                    .collect()
            };
            let measures = Measures {
                loss: Some(1.2 - 0.6 * done),
                baseline: Some(1.1),
                held_out: true,
                distance: vec![0.5, 0.5 - 0.1 * done, 0.5 - 0.2 * done],
                dead: vec![0.0, 0.1 * done, 0.03],
                grn_gamma: vec![0.1, 0.2, 0.3],
                grn_beta: vec![0.01, 0.02, 0.03],
                knn: Some(0.1 + 0.3 * done),
                linear: Some(0.1 + 0.4 * done),
                num_classes: Some(10),
            };
            let updates = LayerUpdates { grad_norm: by_layer(2.0), update_ratio: by_layer(0.01) };
            let (verdict, reason) = (Verdict::Learning, "a reason".to_owned());
            let health = Health { verdict, reason, measures, updates };
            Look { step: 40 * number, epoch: 2.0 * number as f64, health }
        };
        (1..=10).map(look).collect()
    }

    /// A run directory with a log of these lines and what follows them.
    fn run(looks: &[Look], then: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let lines = looks.iter().map(|look| serde_json::to_string(look).unwrap() + "\n").collect::<String>();
        fs::write(dir.path().join("log.jsonl"), lines + then).unwrap();
        dir
    }

    #[test]
    fn a_log_is_read_back_to_the_last_digit_whatever_stands_between() {
        let other = "{\"step\":1,\"epoch\":0.1,\"loss\":null}\n{\"step\":2,\"val_top1\":0.5}\n\n";
        let dir = run(&looks(), &format!("{other}{{\"step\":99,\"health\":{{"));
        assert_eq!(looks_of(&dir.path().join("log.jsonl")).unwrap(), looks());
        let report = HealthReport::read(dir.path()).unwrap();
        assert_eq!((report.step, report.looks), (400, 10));
        // A number that is none was written as null.
        let mut broken = looks();
        broken[9].health.measures.distance[1] = f64::NAN;
        let report = HealthReport::read(run(&broken, "").path()).unwrap();
        assert!(report.measures.distance[1].is_nan() && report.draw().height() > 1000);
        for (damaged, line) in [("{]\n", 11), ("{\"step\":1,\"health\":{}}\n", 11)] {
            let error = HealthReport::read(run(&looks(), damaged).path()).unwrap_err();
            assert!(matches!(error, TrainError::LogLine { line: found, .. } if found == line), "{error}");
        }
        assert!(matches!(HealthReport::read(run(&[], other).path()), Err(TrainError::NoLooks(_))));
    }

    #[test]
    fn a_look_is_a_line_for_people_and_a_report_a_table() {
        let looks = looks();
        let line = "health  learning: held-out loss 0.6000 (−9.1 % since epoch 18), distance 0.50 0.40 0.30, \
                    k-NN 40 % (chance 10 %)";
        assert_eq!(looks[9].line(&looks[..9]), line);
        let mut bad = looks[0].clone();
        bad.health.verdict = Verdict::Collapsing;
        bad.health.measures.held_out = false;
        let line = "health  collapsing: training loss 1.1400, distance 0.50 0.49 0.48, k-NN 13 % (chance 10 %), a reason";
        assert_eq!(bad.line(&[]), line);
        let text = HealthReport::read(run(&looks, "").path()).unwrap().to_string();
        for expected in [
            "verdict      learning: a reason\n",
            "looked at    10 times, last at step 400, epoch 20.00\n",
            "loss         0.6000 on held-out images; 1.1000 of the same answer for every image\n",
            "linear       50.0 % (chance 10 %)\n",
            "stage              1       2       3\n",
            "distance       0.500   0.400   0.300\n",
            "dead           0.0 %  10.0 %   3.0 %\n",
            "\nhead                 gradient 0.5000, moved by 2.50e-3 of its weights",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_report_looks_as_stored() {
        let picture = HealthReport::read(run(&looks(), "").path()).unwrap().draw();
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/health.png");
        drawing::stored::compare(&picture, &stored).unwrap();
    }
}
