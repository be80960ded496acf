//! How far two computations of the same are apart.

use serde::Serialize;

use super::operations::Found;

/// The largest differences of a computation from its reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Difference {
    /// Of all values.
    pub(super) max_abs: f64,
    /// Of all tensors, as a share of the largest value of the tensor.
    pub(super) max_rel: f64,
    /// The tensor that has it.
    pub(super) worst: Option<String>,
}

/// Compares tensor by tensor. What is not finite, is missing or has another size is infinitely far.
pub(super) fn compare(found: &Found, expected: &Found) -> Difference {
    let mut difference = Difference::default();
    for (place, (name, expected)) in expected.iter().enumerate() {
        let values = found.get(place).filter(|(other, _)| other == name).map(|(_, values)| &values[..]);
        let (abs, rel) = apart(values.unwrap_or_default(), expected);
        difference.max_abs = difference.max_abs.max(abs);
        if rel > difference.max_rel || difference.worst.is_none() {
            (difference.max_rel, difference.worst) = (rel, Some(name.clone()));
        }
    }
    if found.len() > expected.len() {
        difference = Difference { max_abs: f64::INFINITY, max_rel: f64::INFINITY, ..difference };
    }
    difference
}

fn apart(found: &[f32], expected: &[f32]) -> (f64, f64) {
    if found.len() != expected.len() || !found.iter().chain(expected).all(|value| value.is_finite()) {
        return (f64::INFINITY, f64::INFINITY);
    }
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    let abs = differences.fold(0.0, f64::max);
    (abs, if abs == 0.0 { 0.0 } else { abs / largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(values: &[(&str, &[f32])]) -> Found {
        values.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect()
    }

    #[test]
    fn the_largest_difference_counts() {
        let expected = tensors(&[("a", &[1.0, -4.0]), ("b", &[0.5, 0.0])]);
        let found = tensors(&[("a", &[1.5, -4.0]), ("b", &[0.5, 0.25])]);
        let worst = Some("b".to_owned());
        assert_eq!(compare(&found, &expected), Difference { max_abs: 0.5, max_rel: 0.5, worst });
        let same = compare(&expected, &expected);
        assert_eq!((same.max_abs, same.max_rel), (0.0, 0.0));
    }

    #[test]
    fn what_is_missing_or_not_finite_is_far() {
        let expected = tensors(&[("a", &[1.0, 0.0]), ("zero", &[0.0])]);
        for found in [
            tensors(&[("a", &[1.0, f32::NAN]), ("zero", &[0.0])]),
            tensors(&[("a", &[1.0]), ("zero", &[0.0])]),
            tensors(&[("a", &[1.0, 0.0])]),
            tensors(&[("zero", &[0.0]), ("a", &[1.0, 0.0])]),
            tensors(&[("a", &[1.0, 0.0]), ("zero", &[0.0]), ("more", &[0.0])]),
            tensors(&[("a", &[1.0, 0.0]), ("zero", &[1e-9])]),
        ] {
            assert_eq!(compare(&found, &expected).max_rel, f64::INFINITY, "{found:?}");
        }
    }
}
