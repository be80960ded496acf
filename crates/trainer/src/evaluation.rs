//! Judging a network and its moving average on data held out, and remembering the best one.

use burn::module::Module;
use checkpoint::Best;

use crate::ema::Ema;
use crate::objective::{BoxError, Evaluation, Objective};
use crate::stop::StopSignal;
use crate::update::State;

/// When a run is evaluated, and when it has seen enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationPlan {
    /// Epochs between evaluations; the end of the run is always evaluated.
    pub every_epochs: u64,
    /// Evaluations without a better score after which the run stops.
    pub patience: Option<u64>,
}

/// A network and its moving average, judged.
pub(crate) struct Judgement<M> {
    /// Names and values of both, for the logs.
    pub(crate) metrics: Vec<(String, f64)>,
    /// The better score of the two; one that is no number is worse than any other.
    pub(crate) score: f64,
    /// Whether it is the moving average's.
    pub(crate) ema: bool,
    /// The network that has it.
    pub(crate) winner: M,
}

/// Evaluates the network of a state and its moving average; none if the objective has no data to
/// judge by, or was told to stop. `watch` is told how many images of how many are judged, over both.
pub(crate) fn judge<O: Objective>(
    objective: &O,
    state: &State<O::Model>,
    stop: &StopSignal<'_>,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Option<Judgement<O::Model>>, BoxError> {
    let model = state.model.valid();
    let networks = 1 + u64::from(state.ema.is_some());
    let mut first = |done, total| watch(done, networks * total);
    let Some(plain) = objective.evaluate(&model, stop, &mut first)? else { return Ok(None) };
    let mut second = |done, total| watch(total + done, networks * total);
    let averaged = match &state.ema {
        Some(ema) => objective.evaluate(ema.model(), stop, &mut second)?,
        None => None,
    };
    if stop.was_given() {
        return Ok(None);
    }
    let mut metrics = named("val_", &plain);
    metrics.extend(averaged.iter().flat_map(|evaluation| named("ema_val_", evaluation)));
    let ema = averaged.as_ref().is_some_and(|averaged| is_better(averaged.score, plain.score));
    let score = averaged.filter(|_| ema).map_or(plain.score, |averaged| averaged.score);
    let winner = state.ema.as_ref().filter(|_| ema).map_or(model, |ema| Ema::model(ema).clone());
    Ok(Some(Judgement { metrics, score, ema, winner }))
}

fn named(prefix: &str, evaluation: &Evaluation) -> Vec<(String, f64)> {
    evaluation.metrics.iter().map(|(name, value)| (format!("{prefix}{name}"), *value)).collect()
}

/// Whether a score is more than another; what is no number never is, and always less.
fn is_better(score: f64, than: f64) -> bool {
    score > than || than.is_nan() && !score.is_nan()
}

/// Takes note of an evaluation after `step` updates. Whether it is the best so far.
pub(crate) fn is_best<M>(best: &mut Option<Best>, judgement: &Judgement<M>, step: u64) -> bool {
    match best {
        Some(best) if !is_better(judgement.score, best.score) => {
            best.since += 1;
            false
        }
        None if judgement.score.is_nan() => false,
        best => {
            *best = Some(Best { score: judgement.score, step, ema: judgement.ema, since: 0 });
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_better_score_is_the_best_and_others_are_counted() {
        let mut best = None;
        let judged = |score| Judgement { metrics: Vec::new(), score, ema: false, winner: () };
        assert!(!is_best(&mut best, &judged(f64::NAN), 0) && best.is_none());
        let found: Vec<_> = [0.5, 0.5, f64::NAN, 0.6]
            .iter()
            .zip(1..)
            .map(|(s, step)| is_best(&mut best, &judged(*s), step))
            .collect();
        assert_eq!(found, [true, false, false, true]);
        assert_eq!(best, Some(Best { score: 0.6, step: 4, ema: false, since: 0 }));
    }
}
