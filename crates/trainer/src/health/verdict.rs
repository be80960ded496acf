//! How a run is, in a word: what its looks so far say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::health::layers::LayerUpdates;
use crate::health::measures::{Look, Measures};
use crate::number::readable;

/// Share of dead channels of a stage from which on it has collapsed. Small networks had none at usual learning
/// rates, also without GRN; less than a tenth where they still learnt at ten times the rate; and from a third to
/// nearly all at a hundred times and more.
const DEAD: f64 = 0.2;
/// Distance between the channels of a stage below which they all say the same. Channels that have nothing to
/// do with each other are at 0.5, those of small networks that learnt above 0.25.
const SAME: f64 = 0.1;
/// Mean distance between channels below which a network that has learnt nothing has collapsed: fresh ones are
/// at 0.5, and among networks that learn it falls only with the loss.
const NARROW: f64 = 0.4;
/// Loss above its best, as a share of it, from which on a run diverges: far beyond what the loss of a hundred
/// images varies by from look to look.
const RISE: f64 = 0.1;
/// How much more than at the best look gradients have to be for that: where they are not, the network only
/// learns its training images by heart.
const GROWTH: f64 = 2.0;
/// Loss that the last third of a run has to gain, as a share of it, to count as learning.
const GAIN: f64 = 0.005;
/// Looks before there can be a plateau: fewer say nothing of a third.
const LOOKS: usize = 4;

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The loss falls.
    Learning,
    /// The loss no longer falls.
    Plateau,
    /// Channels say the same, or nothing.
    Collapsing,
    /// The loss rises, and the gradients grow.
    Diverging,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Learning => "learning",
            Self::Plateau => "plateau",
            Self::Collapsing => "collapsing",
            Self::Diverging => "diverging",
        })
    }
}

/// The verdict on what was measured after so many epochs, and the reason with the number that says so, by that
/// and by the looks before, in order. Of several the first one counts: collapsing, diverging, plateau.
pub fn judge(before: &[Look], epoch: f64, now: &Measures, updates: &LayerUpdates) -> (Verdict, String) {
    let found = collapse(before, now).map(|reason| (Verdict::Collapsing, reason));
    let found = found.or_else(|| divergence(before, now, updates).map(|reason| (Verdict::Diverging, reason)));
    let found = found.or_else(|| plateau(before, epoch, now).map(|reason| (Verdict::Plateau, reason)));
    found.unwrap_or_else(|| (Verdict::Learning, gain(before, epoch, now)))
}

/// The stage that says least, if it says too little.
fn collapse(before: &[Look], now: &Measures) -> Option<String> {
    let stages = || now.dead.iter().zip(1..);
    if let Some((dead, stage)) = stages().filter(|(dead, _)| **dead >= DEAD).max_by(|a, b| a.0.total_cmp(b.0))
    {
        return Some(format!("{:.0} % of the channels of stage {stage} are dead", 100.0 * dead));
    }
    let distances = now.distance.iter().zip(1..);
    let (least, stage) = distances.min_by(|a, b| a.0.total_cmp(b.0))?;
    if *least < SAME {
        return Some(format!("the channels of stage {stage} say the same: their distance is {least:.2}"));
    }
    // A first look may come before anything was learnt.
    let (loss, baseline) = now.loss.zip(now.baseline).filter(|_| !before.is_empty())?;
    let mean = now.distance.iter().sum::<f64>() / now.distance.len() as f64;
    (loss >= baseline && mean < NARROW).then(|| {
        format!(
            "the distance between channels has fallen to {mean:.2}, and the loss of {} is no less than the {} of \
             the same answer for every image",
            readable(loss),
            readable(baseline)
        )
    })
}

/// A look with a loss.
struct Past<'a> {
    look: &'a Look,
    loss: f64,
}

/// Looks at the same images with a loss.
fn losses<'a>(before: &'a [Look], now: &Measures) -> impl DoubleEndedIterator<Item = Past<'a>> + use<'a> {
    let held_out = now.held_out;
    let comparable = before.iter().filter(move |look| look.health.measures.held_out == held_out);
    comparable.filter_map(|look| Some(Past { look, loss: look.health.measures.loss? }))
}

fn best<'a>(looks: impl Iterator<Item = Past<'a>>) -> Option<Past<'a>> {
    looks.min_by(|a, b| a.loss.total_cmp(&b.loss))
}

/// The norm of all gradients of an update.
fn norm(updates: &LayerUpdates) -> Option<f64> {
    let squares: f64 = updates.grad_norm.iter().map(|(_, norm)| norm * norm).sum();
    (!updates.grad_norm.is_empty()).then_some(squares.sqrt())
}

fn divergence(before: &[Look], now: &Measures, updates: &LayerUpdates) -> Option<String> {
    let Some(loss) = now.loss.filter(|loss| loss.is_finite()) else {
        return losses(before, now).next().map(|_| "the loss is no number any more".to_owned());
    };
    let best = best(losses(before, now))?;
    let above = loss / best.loss - 1.0;
    let (then, now) = (norm(&best.look.health.updates)?, norm(updates)?);
    (above >= RISE && now >= GROWTH * then).then(|| {
        format!(
            "the loss of {} is {:.0} % above its best of epoch {:.0}, and gradients have grown from {} to {}",
            readable(loss),
            100.0 * above,
            best.look.epoch,
            readable(then),
            readable(now)
        )
    })
}

fn plateau(before: &[Look], epoch: f64, now: &Measures) -> Option<String> {
    let loss = now.loss?;
    let best_so_far = best(losses(before, now))?;
    if loss >= best_so_far.loss * (1.0 + RISE) {
        return Some(above(loss, &best_so_far));
    }
    if losses(before, now).count() + 1 < LOOKS {
        return None;
    }
    let since = epoch * 2.0 / 3.0;
    let earlier = best(losses(before, now).filter(|past| past.look.epoch <= since))?;
    let later = losses(before, now).filter(|past| past.look.epoch > since).map(|past| past.loss);
    let reached = later.fold(loss, f64::min);
    (reached > earlier.loss * (1.0 - GAIN)).then(|| {
        let Past { look, loss } = earlier;
        format!(
            "no loss since epoch {:.0}, which had {}, is {} % lower",
            look.epoch,
            readable(loss),
            100.0 * GAIN
        )
    })
}

/// What the loss has gained.
fn gain(before: &[Look], epoch: f64, now: &Measures) -> String {
    let Some(loss) = now.loss else { return "no loss was measured".to_owned() };
    match best(losses(before, now).filter(|past| past.look.epoch < epoch)) {
        None => format!("a first loss of {}", readable(loss)),
        Some(Past { look, loss: best }) if loss < best => format!(
            "the loss of {} is {:.1} % below the best before, of epoch {:.0}",
            readable(loss),
            100.0 * (1.0 - loss / best),
            look.epoch
        ),
        Some(best) => above(loss, &best),
    }
}

fn above(loss: f64, best: &Past<'_>) -> String {
    let (share, epoch) = (100.0 * (loss / best.loss - 1.0), best.look.epoch);
    format!("the loss of {} is {share:.1} % above its best, of epoch {epoch:.0}", readable(loss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::measures::Health;

    fn measures(loss: f64) -> Measures {
        Measures {
            loss: Some(loss),
            held_out: true,
            distance: vec![0.5, 0.4],
            dead: vec![0.0, 0.01],
            ..Measures::default()
        }
    }

    fn updates(norm: f64) -> LayerUpdates {
        LayerUpdates { grad_norm: vec![("stages.0".to_owned(), norm)], update_ratio: Vec::new() }
    }

    /// Looks after every second epoch.
    fn looks(losses: &[f64]) -> Vec<Look> {
        let look = |(loss, number): (&f64, u64)| Look {
            step: 20 * number,
            epoch: 2.0 * number as f64,
            health: Health {
                verdict: Verdict::Learning,
                reason: String::new(),
                measures: measures(*loss),
                updates: updates(1.0),
            },
        };
        losses.iter().zip(1..).map(look).collect()
    }

    /// The verdict on the last of some losses, where gradients have this norm.
    fn verdict(losses: &[f64], norm: f64) -> (Verdict, String) {
        let (last, before) = losses.split_last().unwrap();
        judge(&looks(before), 2.0 * losses.len() as f64, &measures(*last), &updates(norm))
    }

    #[test]
    fn a_loss_that_falls_is_learning_and_one_that_stays_is_a_plateau() {
        assert_eq!(verdict(&[0.9], 1.0), (Verdict::Learning, "a first loss of 0.9000".to_owned()));
        let (learning, reason) = verdict(&[0.9, 0.8, 0.7, 0.63], 1.0);
        assert_eq!(learning, Verdict::Learning);
        assert_eq!(reason, "the loss of 0.6300 is 10.0 % below the best before, of epoch 6");
        // Of three looks no third is known; of six, the last two gain nothing on the fourth.
        assert_eq!(verdict(&[0.7, 0.7, 0.7], 1.0).0, Verdict::Learning);
        let (plateau, reason) = verdict(&[0.9, 0.8, 0.7, 0.6, 0.61, 0.599], 1.0);
        assert_eq!(plateau, Verdict::Plateau);
        assert_eq!(reason, "no loss since epoch 8, which had 0.6000, is 0.5 % lower");
        // One look that is worse by chance is none.
        assert_eq!(verdict(&[0.9, 0.8, 0.7, 0.6, 0.55, 0.56], 1.0).0, Verdict::Learning);
    }

    #[test]
    fn a_loss_that_rises_diverges_if_the_gradients_grow() {
        let rises = [0.9, 0.8, 0.7, 1.4];
        let (diverging, reason) = verdict(&rises, 5.0);
        assert_eq!(diverging, Verdict::Diverging);
        let expected = "the loss of 1.4000 is 100 % above its best of epoch 6, and gradients have grown from 1.0000 to 5.0000";
        assert_eq!(reason, expected);
        let by_heart =
            (Verdict::Plateau, "the loss of 1.4000 is 100.0 % above its best, of epoch 6".to_owned());
        assert_eq!(verdict(&rises, 1.5), by_heart);
        assert_eq!(verdict(&[0.9, 0.8, 0.7, f64::NAN], 1.0).0, Verdict::Diverging);
    }

    #[test]
    fn channels_that_say_the_same_or_nothing_have_collapsed_whatever_the_loss() {
        let now = |dead: f64, distance: f64| {
            let now = Measures { dead: vec![0.1, dead], distance: vec![0.5, distance], ..measures(0.1) };
            judge(&looks(&[0.9]), 4.0, &now, &updates(1.0))
        };
        assert_eq!(now(0.19, 0.11).0, Verdict::Learning);
        let dead = (Verdict::Collapsing, "35 % of the channels of stage 2 are dead".to_owned());
        assert_eq!(now(0.351, 0.5), dead);
        // No less than the same answer for every image would have, behind a first look.
        let narrow = |loss, before: &[Look]| {
            let now = Measures { distance: vec![0.45, 0.33], baseline: Some(1.3), ..measures(loss) };
            judge(before, 4.0, &now, &updates(1.0))
        };
        let (collapsing, reason) = narrow(1.31, &looks(&[1.4]));
        assert_eq!(collapsing, Verdict::Collapsing);
        assert!(reason.contains("fallen to 0.39") && reason.contains("than the 1.3000 of"), "{reason}");
        let others = [narrow(1.29, &looks(&[1.4])), narrow(1.31, &[])];
        assert!(others.iter().all(|(verdict, _)| *verdict == Verdict::Learning), "{others:?}");
        let (verdict, reason) = now(0.0, 0.07);
        assert_eq!(verdict, Verdict::Collapsing);
        assert_eq!(reason, "the channels of stage 2 say the same: their distance is 0.07");
    }

    #[test]
    fn losses_of_other_images_are_not_compared() {
        let mut before = looks(&[0.5, 0.4, 0.3]);
        before.iter_mut().for_each(|look| look.health.measures.held_out = false);
        let (verdict, reason) = judge(&before, 8.0, &measures(0.9), &updates(9.0));
        assert_eq!((verdict, &reason[..]), (Verdict::Learning, "a first loss of 0.9000"));
    }
}
