//! How far a run is, and how it ended if it has.

use std::fs;
use std::time::UNIX_EPOCH;

use checkpoint::{Best, RunDir, RunState};
use finetune::ProblemType;
use serde::Serialize;
use serde_json::Value;

use crate::curve::{Curve, Point};

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Status {
    /// As `results.json` has it, or `open`: no end is recorded.
    outcome: String,
    reason: Option<String>,
    pub(crate) step: Option<u64>,
    pub(crate) total_steps: Option<u64>,
    epoch: Option<f64>,
    epochs: Option<u64>,
    seconds: Option<f64>,
    skipped_images: Option<u64>,
    best: Option<BestScore>,
    /// What the score of the best network is.
    pub(crate) score_name: &'static str,
    peak_rss_mib: Option<f64>,
    pub(crate) version: Option<String>,
    /// When the log was written last, in seconds since 1970, of a run without an end.
    last_line: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct BestScore {
    score: f64,
    step: u64,
    ema: bool,
}

impl Status {
    /// From the results, if there are any, or else from the newest checkpoint and the log.
    pub(crate) fn of(
        run: &RunDir,
        results: Option<&Value>,
        state: Option<&RunState>,
        curves: &[Curve],
    ) -> Self {
        let last = curves.iter().filter_map(|curve| curve.points.last()).max_by_key(|point| point.step);
        let peak = curves.iter().find(|curve| curve.of == "peak_rss_mib");
        let peak_rss_mib = peak.and_then(|curve| curve.points.last()).map(|point| point.value);
        let score_name = score_name(None);
        let Some(results) = results else {
            let logged = fs::metadata(run.log()).and_then(|file| file.modified()).ok();
            let since = logged.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let best = state.and_then(|state| state.best);
            return Self {
                outcome: "open".to_owned(),
                reason: None,
                step: last.map(|point| point.step).or(state.map(|state| state.position.step)),
                total_steps: None,
                epoch: last.and_then(|point: &Point| point.epoch),
                epochs: None,
                seconds: None,
                skipped_images: None,
                best: best.map(|Best { score, step, ema, .. }| BestScore { score, step, ema }),
                score_name,
                peak_rss_mib,
                version: None,
                last_line: since.map(|time| time.as_secs()),
            };
        };
        let text = |key: &str| results[key].as_str().map(str::to_owned);
        let best = &results["best"];
        let best = best["score"].as_f64().zip(best["step"].as_u64()).map(|(score, step)| BestScore {
            score,
            step,
            ema: best["ema"].as_bool().unwrap_or_default(),
        });
        Self {
            outcome: text("outcome").unwrap_or_else(|| "ended".to_owned()),
            reason: text("reason"),
            step: results["step"].as_u64(),
            total_steps: results["total_steps"].as_u64(),
            epoch: results["epoch"].as_f64(),
            epochs: results["epochs"].as_u64(),
            seconds: results["seconds"].as_f64(),
            skipped_images: results["skipped_images"].as_u64(),
            best,
            score_name,
            peak_rss_mib,
            version: text("version"),
            last_line: None,
        }
    }
}

/// What the best network of a run is chosen by.
pub(crate) fn score_name(problem: Option<ProblemType>) -> &'static str {
    match problem.unwrap_or_default() {
        ProblemType::SingleLabelClassification => "best accuracy",
        ProblemType::MultiLabelClassification => "best mean average precision",
        ProblemType::Regression => "R²",
    }
}
