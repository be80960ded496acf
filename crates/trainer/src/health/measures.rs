//! What is measured of a network, and the line of the log that tells it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::health::layers::LayerUpdates;
use crate::health::verdict::Verdict;

/// What was measured of a network. Lists are by stage, the first one first; what does not exist is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Mean loss, with fixed masks in pretraining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Mean loss of a network that says the same of every image, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// Whether nothing was learnt from the images.
    pub held_out: bool,
    /// [Mean cosine distance between channels](crate::health::channel_distances), a mean over images.
    #[serde(default, deserialize_with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub distance: Vec<f64>,
    /// Share of [dead](crate::health::Deviations::dead) channels, 0 to 1.
    #[serde(default, deserialize_with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<f64>,
    /// Mean |γ| of the GRN layers.
    #[serde(default, deserialize_with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub grn_gamma: Vec<f64>,
    /// Mean |β| of the GRN layers.
    #[serde(default, deserialize_with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub grn_beta: Vec<f64>,
    /// Accuracy of the classes of the nearest neighbours, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn: Option<f64>,
    /// Accuracy of the linear classifier, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<f64>,
    /// Classes that both tell apart; by chance they would be right once in as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
}

/// Numbers, of which those that are not finite were written as null.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// A look at a network: a line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Updates done.
    pub step: u64,
    /// Epochs done, a fraction.
    pub epoch: f64,
    /// What was seen.
    pub health: Health,
}

/// What was seen of a network, and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// How the run is.
    pub verdict: Verdict,
    /// Why, with the number that says so.
    pub reason: String,
    /// The network.
    #[serde(flatten)]
    pub measures: Measures,
    /// The update that led to it; empty where it is not known any more.
    #[serde(flatten)]
    pub updates: LayerUpdates,
}

impl Look {
    /// Names and values for TensorBoard.
    pub(crate) fn scalars(&self) -> Vec<(String, f64)> {
        let Health { measures: m, updates, .. } = &self.health;
        let single = [("loss", m.loss), ("knn", m.knn), ("linear", m.linear)];
        let single = single.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let by_stage = [
            ("distance", &m.distance),
            ("dead", &m.dead),
            ("grn_gamma", &m.grn_gamma),
            ("grn_beta", &m.grn_beta),
        ];
        let by_stage = by_stage.into_iter().flat_map(|(name, values)| {
            values.iter().enumerate().map(move |(stage, value)| (format!("{name}/stages.{stage}"), *value))
        });
        let by_layer = [("grad_norm", &updates.grad_norm), ("update_ratio", &updates.update_ratio)];
        let by_layer = by_layer.into_iter().flat_map(|(name, values)| {
            values.iter().map(move |(layer, value)| (format!("{name}/{layer}"), *value))
        });
        let all = single.chain(by_stage).chain(by_layer);
        all.map(|(name, value)| (format!("health/{name}"), value)).collect()
    }

    /// The look of a line of a log, if it tells of one.
    pub(crate) fn of_line(line: Value) -> Option<Result<Self, serde_json::Error>> {
        line.get("health")?;
        Some(serde_json::from_value(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_the_keys_that_others_read_and_no_others() {
        let measures = Measures {
            loss: Some(0.81),
            distance: vec![0.5, f64::NAN],
            dead: vec![0.0, 0.25],
            knn: Some(0.34),
            ..Measures::default()
        };
        let grad_norm = vec![("stages.0".to_owned(), 1.5), ("pred".to_owned(), 0.5)];
        let updates = LayerUpdates { grad_norm, update_ratio: Vec::new() };
        let (verdict, reason) = (Verdict::Plateau, "why".to_owned());
        let look = Look { step: 7, epoch: 1.5, health: Health { verdict, reason, measures, updates } };
        let line = serde_json::to_value(&look).unwrap();
        let expected = "{\"step\":7,\"epoch\":1.5,\"health\":{\"verdict\":\"plateau\",\"reason\":\"why\",\"loss\":0.81,\
                        \"held_out\":false,\"distance\":[0.5,null],\"dead\":[0.0,0.25],\"knn\":0.34,\
                        \"grad_norm\":{\"stages.0\":1.5,\"pred\":0.5}}}";
        assert_eq!(line.to_string(), expected);
        let found = Look::of_line(line).unwrap().unwrap();
        assert!(found.health.measures.distance[1].is_nan() && found.health.updates == look.health.updates);
        let tags: Vec<_> = look.scalars().into_iter().map(|(tag, _)| tag).collect();
        let stages = ["distance/stages.0", "distance/stages.1", "dead/stages.0", "dead/stages.1"];
        let all = [&["loss", "knn"][..], &stages, &["grad_norm/stages.0", "grad_norm/pred"]].concat();
        assert_eq!(tags, all.into_iter().map(|tag| format!("health/{tag}")).collect::<Vec<_>>());
        assert!(Look::of_line(serde_json::json!({"step": 1, "loss": 0.5})).is_none());
    }
}
