//! How a run is, as its log says it.

use serde::Serialize;
use serde_json::Value;

use crate::curve::{Curve, add, moment};

/// The lines of a log with the key `health`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Health {
    /// What the last of them says, and why.
    verdict: Option<String>,
    reason: Option<String>,
    /// Whether it was measured on images that are held out.
    held_out: Option<bool>,
    pub(crate) curves: Vec<Curve>,
}

impl Health {
    /// Whatever numbers the lines hold: a curve each, and one for each stage or group of layers where a key has
    /// several. None without such lines.
    pub(crate) fn of(lines: &[Value]) -> Option<Self> {
        let mut health = None;
        for line in lines {
            let (Some(measured), Some(at)) = (line["health"].as_object(), moment(line)) else { continue };
            let Self { verdict, reason, held_out, curves } = health.get_or_insert_with(|| Self {
                verdict: None,
                reason: None,
                held_out: None,
                curves: Vec::new(),
            });
            let text = |key: &str| measured.get(key).and_then(Value::as_str).map(str::to_owned);
            (*verdict, *reason) = (text("verdict"), text("reason"));
            *held_out = measured.get("held_out").and_then(Value::as_bool);
            for (key, value) in measured {
                match value {
                    Value::Array(stages) => stages.iter().enumerate().for_each(|(stage, value)| {
                        add(curves, key, Some(&format!("stage {}", stage + 1)), at, value);
                    }),
                    Value::Object(groups) => {
                        groups.iter().for_each(|(group, value)| add(curves, key, Some(group), at, value));
                    }
                    value => add(curves, key, None, at, value),
                }
            }
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stages_and_groups_are_curves_and_the_last_verdict_counts() {
        let line = |step: u64, health: Value| json!({"step": step, "epoch": 1.0, "health": health});
        let lines = [
            json!({"step": 1, "loss": 1.0}),
            line(1, json!({"verdict": "learning", "reason": "a", "distance": [0.4, 0.3], "knn": 0.2})),
            line(
                2,
                json!({"verdict": "collapsing", "distance": [0.2, null], "grad_norm": {"stages.0": 3.0}}),
            ),
        ];
        let found = Health::of(&lines).unwrap();
        assert_eq!(
            (found.verdict.as_deref(), &found.reason, found.held_out),
            (Some("collapsing"), &None, None)
        );
        let names: Vec<_> =
            found.curves.iter().map(|c| (&c.of[..], c.part.as_deref(), c.points.len())).collect();
        assert_eq!(
            names,
            [
                ("distance", Some("stage 1"), 2),
                ("distance", Some("stage 2"), 1),
                ("knn", None, 1),
                ("grad_norm", Some("stages.0"), 1)
            ]
        );
        assert_eq!(Health::of(&lines[..1]), None);
    }
}
