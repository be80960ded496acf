//! What a run has logged, as curves.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A value that was logged, over updates and epochs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Curve {
    /// The key of the log.
    pub(crate) of: String,
    /// Which of several values under that key: a stage, a group of layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<String>,
    pub(crate) points: Vec<Point>,
}

/// A value of one moment; `[step, epoch, value]` in the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) step: u64,
    pub(crate) epoch: Option<f64>,
    pub(crate) value: f64,
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.step, self.epoch.map(rounded), rounded(self.value)).serialize(serializer)
    }
}

/// A number with the six digits that a picture can show.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// Keys of a log line that say when it was, or what is still to come.
const MOMENTS: [&str; 3] = ["step", "epoch", "eta_s"];

/// The finite numbers of the lines of a log, a curve a key, in the order in which keys appear.
pub(crate) fn curves(lines: &[Value]) -> Vec<Curve> {
    let mut curves = Vec::new();
    for line in lines {
        let (Some(fields), Some(at)) = (line.as_object(), moment(line)) else { continue };
        for (key, value) in fields.iter().filter(|(key, _)| !MOMENTS.contains(&key.as_str())) {
            add(&mut curves, key, None, at, value);
        }
    }
    curves
}

/// When a line was logged.
pub(crate) fn moment(line: &Value) -> Option<(u64, Option<f64>)> {
    Some((line["step"].as_u64()?, line["epoch"].as_f64()))
}

/// Adds a number to its curve, which begins with it if there is none yet; what is no number is passed over.
pub(crate) fn add(
    curves: &mut Vec<Curve>,
    of: &str,
    part: Option<&str>,
    (step, epoch): (u64, Option<f64>),
    value: &Value,
) {
    let Some(value) = value.as_f64() else { return };
    let point = Point { step, epoch, value };
    match curves.iter_mut().find(|curve| curve.of == of && curve.part.as_deref() == part) {
        Some(curve) => curve.points.push(point),
        None => curves.push(Curve { of: of.to_owned(), part: part.map(str::to_owned), points: vec![point] }),
    }
}

/// Keeps about `most` points, and with them the lowest and the highest value of every stretch, so that no
/// spike is lost. Whether any went.
pub(crate) fn thin(points: &mut Vec<Point>, most: usize) -> bool {
    let stretches = (most / 2).max(1);
    if points.len() <= 2 * stretches {
        return false;
    }
    let mut kept = Vec::with_capacity(2 * stretches);
    for stretch in 0..stretches {
        let [begin, end] = [stretch, stretch + 1].map(|at| at * points.len() / stretches);
        let extreme = |better: fn(f64, f64) -> bool| {
            (begin..end)
                .reduce(|best, at| if better(points[at].value, points[best].value) { at } else { best })
        };
        let (low, high) = (extreme(|a, b| a < b), extreme(|a, b| a > b));
        let mut both: Vec<usize> = low.into_iter().chain(high).collect();
        both.sort_unstable();
        both.dedup();
        kept.extend(both.into_iter().map(|at| points[at]));
    }
    *points = kept;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_become_curves_and_nothing_else_does() {
        let lines = [
            json!({"step": 1, "epoch": 0.5, "loss": 2.0, "lr": 1e-3, "eta_s": 9.0, "peak": null}),
            json!({"step": 2, "epoch": 1.0, "loss": null, "lr": 2e-3, "note": "x", "list": [1]}),
            json!({"epoch": 1.0, "loss": 7.0}),
            json!(3),
        ];
        let found = curves(&lines);
        let names: Vec<_> = found.iter().map(|curve| (&curve.of[..], curve.points.len())).collect();
        assert_eq!(names, [("loss", 1), ("lr", 2)]);
        assert_eq!(serde_json::to_string(&found[1].points).unwrap(), "[[1,0.5,0.001],[2,1.0,0.002]]");
    }

    #[test]
    fn thinned_curves_keep_their_spikes() {
        let value = |step: u64| {
            if step == 777 {
                50.0
            } else if step == 40 {
                -3.0
            } else {
                1.0
            }
        };
        let all: Vec<Point> = (0..1000).map(|step| Point { step, epoch: None, value: value(step) }).collect();
        let mut few = all.clone();
        assert!(thin(&mut few, 20));
        assert!(few.len() <= 20 && few.is_sorted_by_key(|point| point.step));
        let extremes: Vec<_> =
            few.iter().filter(|point| point.value != 1.0).map(|point| point.step).collect();
        assert_eq!(extremes, [40, 777]);
        let mut whole = all.clone();
        assert!(!thin(&mut whole, 1000));
        assert_eq!(whole, all);
    }

    #[test]
    fn six_digits_are_kept() {
        assert_eq!(
            [rounded(0.123_456_789), rounded(-98_765_432.1), rounded(0.0)],
            [0.123_457, -98_765_400.0, 0.0]
        );
    }
}
