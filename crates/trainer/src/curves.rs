//! Curves of what runs have logged: `curves.png` of each, and several over each other.

use std::path::{Path, PathBuf};

use checkpoint::RunDir;
use drawing::{Chart, Key, LINES, Line, MUTED, Panel};
use image::RgbImage;
use serde_json::Value;

use crate::error::TrainError;
use crate::log::lines_of;

/// What is drawn together.
struct Group {
    title: &'static str,
    unit: &'static str,
    values: &'static [Measured],
}

/// A value of the log.
struct Measured {
    key: &'static str,
    /// What it is called among the others of its group, and on its own.
    name: &'static str,
    title: &'static str,
}

const fn measured(key: &'static str, name: &'static str, title: &'static str) -> Measured {
    Measured { key, name, title }
}

const GROUPS: [Group; 6] = [
    Group {
        title: "loss",
        unit: "",
        values: &[
            measured(TRAINING, "training", "training loss"),
            measured("val_loss", "validation", "validation loss"),
            measured("health.loss", "fixed images", "loss on fixed images"),
        ],
    },
    Group {
        title: "accuracy",
        unit: " %",
        values: &[
            measured("val_top1", "top-1", "top-1 accuracy"),
            measured("val_top5", "top-5", "top-5 accuracy"),
        ],
    },
    Group {
        title: "labels",
        unit: " %",
        values: &[
            measured("val_map", "mean average precision", "mean average precision"),
            measured("val_f1", "F1", "F1"),
        ],
    },
    Group { title: "R²", unit: "", values: &[measured("val_r2", "validation", "R²")] },
    Group {
        title: "probes of the features",
        unit: " %",
        values: &[
            measured("health.knn", "nearest neighbours", "nearest neighbours"),
            measured("health.linear", "linear classifier", "linear classifier"),
        ],
    },
    Group { title: "learning rate", unit: "", values: &[measured("lr", "", "learning rate")] },
];

/// The key of the one loss that runs of all objectives have.
const TRAINING: &str = "loss";
/// Before the keys of what the moving average of the weights achieves; drawn in dashes.
const AVERAGE: &str = "ema_";
/// Runs that can be told apart.
pub(crate) const MOST_RUNS: usize = LINES.len();
/// A run of fewer epochs is drawn over its updates: whole epochs would say nothing of it.
const SHORT: f64 = 2.0;

/// The log of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What the run is called.
    pub name: String,
    /// What it is trained for: losses of different objectives are not comparable.
    pub objective: &'static str,
    lines: Vec<Value>,
}

impl History {
    /// Reads the log of a run directory; name and objective are for the caller to fill in.
    ///
    /// # Errors
    /// There is none, it cannot be read, or nothing in it can be drawn.
    pub fn read(run: &Path) -> Result<Self, TrainError> {
        let path = RunDir::of_leader(run).log();
        if !path.is_file() {
            return Err(TrainError::NoLog(run.to_owned()));
        }
        let lines = lines_of(&path)?.into_iter().map(|(_, line)| with_present_keys(line)).collect();
        let history = Self { name: String::new(), objective: "", lines };
        if history.is_empty() {
            return Err(TrainError::EmptyLog(path));
        }
        Ok(history)
    }

    /// The lines, whose keys are those of today.
    pub fn into_lines(self) -> Vec<Value> {
        self.lines
    }

    /// Whether there is nothing to draw.
    fn is_empty(&self) -> bool {
        let has = |key: &str| !self.points(key, "epoch", 1.0).is_empty();
        let mut keys = GROUPS.iter().flat_map(|group| group.values).map(|value| value.key);
        !keys.any(|key| has(key) || has(&format!("{AVERAGE}{key}")))
    }

    /// The finite values of a key over those of another one.
    fn points(&self, key: &str, over: &str, factor: f64) -> Vec<[f64; 2]> {
        let point = |line: &Value| Some([number(line, over)?, factor * number(line, key)?]);
        self.lines.iter().filter_map(point).filter(|point| point[1].is_finite()).collect()
    }

    fn last_epoch(&self) -> f64 {
        self.lines.iter().filter_map(|line| line["epoch"].as_f64()).fold(0.0, f64::max)
    }
}

/// A line of a log, under the keys of today where it was written under former ones.
fn with_present_keys(line: Value) -> Value {
    let Value::Object(fields) = line else { return line };
    fields.into_iter().map(|(key, value)| (key.replace("val_acc", "val_top"), value)).collect()
}

/// The number of a key; `a.b` is `b` of the object `a`.
fn number(line: &Value, key: &str) -> Option<f64> {
    key.split('.').fold(line, |value, name| &value[name]).as_f64()
}

/// Draws the log of a run into `curves.png` beside it, if there is anything to draw yet.
///
/// # Errors
/// The log cannot be read, or the picture not be written.
pub fn draw_curves(run: &RunDir) -> Result<Option<PathBuf>, TrainError> {
    let history = match History::read(run.path()) {
        Err(TrainError::EmptyLog(_)) => return Ok(None),
        history => history?,
    };
    let path = run.curves();
    let picture = draw_runs(&[history])?;
    drawing::save(&picture, &path).map_err(|error| TrainError::Picture { path: path.clone(), error })?;
    Ok(Some(path))
}

/// Draws runs: one by what was measured, several over each other.
///
/// # Errors
/// There are more than can be told apart.
pub fn draw_runs(runs: &[History]) -> Result<RgbImage, TrainError> {
    if runs.len() > MOST_RUNS {
        return Err(TrainError::TooManyRuns { runs: runs.len() });
    }
    let longest = runs.iter().map(History::last_epoch).fold(0.0, f64::max);
    let (over, x) = if longest < SHORT { ("step", "update") } else { ("epoch", "epoch") };
    let panels = match runs {
        [run] => GROUPS.iter().filter_map(|group| together(run, group, over)).collect(),
        _ => compared(runs, over),
    };
    Ok(Chart { x, panels }.draw())
}

/// The two lines of a value: of the weights, and of their moving average.
fn lines(run: &History, key: &str, group: &Group, over: &str, colour: usize) -> Vec<Line> {
    let factor = if group.unit.is_empty() { 1.0 } else { 100.0 };
    let keys = [(key.to_owned(), false), (format!("{AVERAGE}{key}"), true)];
    keys.into_iter()
        .map(|(key, dashed)| Line { colour: LINES[colour], dashed, points: run.points(&key, over, factor) })
        .filter(|line| !line.points.is_empty())
        .collect()
}

/// A panel for all values of a group.
fn together(run: &History, group: &Group, over: &str) -> Option<Panel> {
    let (mut drawn, mut legend) = (Vec::new(), Vec::new());
    for (colour, Measured { key, name, .. }) in group.values.iter().enumerate() {
        for line in lines(run, key, group, over, colour) {
            let name = if line.dashed { format!("{name}, average") } else { (*name).to_owned() };
            legend.push(Key { name, colour: line.colour, dashed: line.dashed });
            drawn.push(line);
        }
    }
    // One line is named by the title.
    legend.retain(|_| drawn.len() > 1);
    let (title, unit) = (group.title.to_owned(), group.unit);
    (!drawn.is_empty()).then_some(Panel { title, unit, lines: drawn, legend })
}

/// A panel for each value that several runs may have, a colour for each run.
fn compared(runs: &[History], over: &str) -> Vec<Panel> {
    let mut panels = Vec::new();
    for group in &GROUPS {
        for Measured { key, title, .. } in group.values {
            for objective in objectives(runs, key) {
                let shown = runs.iter().enumerate();
                let shown = shown.filter(|(_, run)| objective.is_none_or(|only| run.objective == only));
                let lines = shown.flat_map(|(colour, run)| lines(run, key, group, over, colour)).collect();
                let title = match objective {
                    Some(objective) if *key == TRAINING => format!("{objective} loss"),
                    _ => (*title).to_owned(),
                };
                panels.push(Panel { title, unit: group.unit, lines, legend: Vec::new() });
            }
        }
    }
    panels.retain(|panel| !panel.lines.is_empty());
    let legend = legend(runs, &panels);
    if let Some(first) = panels.first_mut() {
        first.legend = legend;
    }
    panels
}

/// The colours of the runs, and what dashes are if there are any.
fn legend(runs: &[History], panels: &[Panel]) -> Vec<Key> {
    let keys = runs.iter().zip(LINES);
    let mut keys: Vec<_> =
        keys.map(|(run, colour)| Key { name: run.name.clone(), colour, dashed: false }).collect();
    if panels.iter().flat_map(|panel| &panel.lines).any(|line| line.dashed) {
        keys.push(Key { name: "moving average".to_owned(), colour: MUTED, dashed: true });
    }
    keys
}

/// What the values of a key are to be divided by, in the order of the runs: losses by what they are
/// losses of, unless all are of the same.
fn objectives(runs: &[History], key: &str) -> Vec<Option<&'static str>> {
    let mut objectives: Vec<&str> = Vec::new();
    for run in runs {
        if !objectives.contains(&run.objective) {
            objectives.push(run.objective);
        }
    }
    match key.ends_with("loss") && objectives.len() > 1 {
        true => objectives.into_iter().map(Some).collect(),
        false => vec![None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A run of `epochs` epochs of two updates, with an evaluation after each.
    fn history(name: &str, objective: &'static str, epochs: u64, evaluates: bool) -> History {
        let mut lines = Vec::new();
        for step in 1..=2 * epochs {
            let (epoch, loss) = (step as f64 / 2.0, 2.0 / (step as f64).sqrt());
            lines.push(
                serde_json::json!({"step": step, "epoch": epoch, "loss": loss, "lr": 1e-3 / step as f64}),
            );
            if evaluates && step.is_multiple_of(2) {
                let accuracy = 0.8 - 0.6 / epoch;
                lines.push(serde_json::json!({
                    "step": step, "epoch": epoch, "val_loss": 1.2 * loss, "val_top1": accuracy,
                    "ema_val_loss": 1.1 * loss, "ema_val_top1": accuracy + 0.05, "val_top5": accuracy + 0.2,
                }));
            }
        }
        History { name: name.to_owned(), objective, lines }
    }

    fn titles(panels: &[Panel]) -> Vec<&str> {
        panels.iter().map(|panel| &panel.title[..]).collect()
    }

    #[test]
    fn one_run_is_drawn_by_what_was_measured() {
        let run = history("a", "finetune", 3, true);
        let panels: Vec<_> = GROUPS.iter().filter_map(|group| together(&run, group, "epoch")).collect();
        assert_eq!(titles(&panels), ["loss", "accuracy", "learning rate"]);
        let names: Vec<_> = panels[1].legend.iter().map(|key| (&key.name[..], key.dashed)).collect();
        assert_eq!(names, [("top-1", false), ("top-1, average", true), ("top-5", false)]);
        // In percent, over the epochs; a value and its average have one colour.
        let points = panels[1].lines[0].points.iter().map(|point| point.map(f64::round));
        assert_eq!(points.collect::<Vec<_>>(), [[1.0, 20.0], [2.0, 50.0], [3.0, 60.0]]);
        assert_eq!(panels[1].lines[0].colour, panels[1].lines[1].colour);
        assert!(panels[2].legend.is_empty());
    }

    #[test]
    fn losses_of_different_objectives_are_not_drawn_over_each_other() {
        let runs = [
            history("p", "pretraining", 4, false),
            history("f", "fine-tuning", 3, true),
            history("g", "fine-tuning", 2, true),
        ];
        let panels = compared(&runs, "epoch");
        assert_eq!(
            titles(&panels),
            [
                "pretraining loss",
                "fine-tuning loss",
                "validation loss",
                "top-1 accuracy",
                "top-5 accuracy",
                "learning rate"
            ]
        );
        let colours = |panel: &Panel| panel.lines.iter().map(|line| line.colour).collect::<Vec<_>>();
        assert_eq!(colours(&panels[0]), LINES[..1]);
        assert_eq!(colours(&panels[1]), LINES[1..3]);
        assert_eq!(colours(&panels[5]), LINES[..3]);
        let names: Vec<_> = panels[0].legend.iter().map(|key| &key.name[..]).collect();
        assert_eq!(names, ["p", "f", "g", "moving average"]);
        assert_eq!(titles(&compared(&runs[1..], "epoch"))[0], "training loss");
        assert!(matches!(draw_runs(&vec![runs[0].clone(); 8]), Err(TrainError::TooManyRuns { runs: 8 })));
    }

    #[test]
    fn curves_look_as_stored() {
        let stored = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
        let run = history("first", "fine-tuning", 6, true);
        let one = draw_runs(std::slice::from_ref(&run)).unwrap();
        drawing::stored::compare(&one, &stored("one_run.png")).unwrap();
        let other = history("another with a longer name", "fine-tuning", 3, true);
        drawing::stored::compare(&draw_runs(&[run, other]).unwrap(), &stored("two_runs.png")).unwrap();
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let read = |log: &[u8]| {
            fs::write(dir.path().join("log.jsonl"), log).unwrap();
            History::read(dir.path())
        };
        let line = b"{\"step\": 1, \"epoch\": 0.5, \"loss\": 3.0}\n";
        // A run of one update, and one that is writing its second line.
        assert_eq!(read(line).unwrap().points("loss", "step", 1.0), [[1.0, 3.0]]);
        assert!(draw_runs(&[read(&[&line[..], b"{\"step\": 2, \"lo\xff"].concat()).unwrap()]).is_ok());
        assert!(matches!(read(&[b"{]\n", &line[..]].concat()), Err(TrainError::LogLine { line: 1, .. })));
        assert!(matches!(read(b""), Err(TrainError::EmptyLog(_))));
        assert!(matches!(
            read(b"{\"step\": 1, \"epoch\": 1.0, \"loss\": null}\n"),
            Err(TrainError::EmptyLog(_))
        ));
        let nowhere = dir.path().join("nowhere");
        assert!(matches!(History::read(&nowhere), Err(TrainError::NoLog(_))));
    }
}
