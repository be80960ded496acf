//! Weights of a first convolution for images of other channels.

use crate::entry::Entry;
use crate::state_dict::StateDict;

/// Channels of colours.
const COLOURS: usize = 3;

impl StateDict {
    /// Makes a first convolution of three channels (`[O, 3, K, K]`, of this name) one of other channels, as
    /// timm's `adapt_input_conv` does: for one channel the weights of the colours are added up, for others
    /// they are repeated, and scaled so that their sum stays the same. Says what was done, if anything was.
    pub fn adapt_stem(&mut self, name: &str, channels: usize) -> Option<String> {
        let Entry { shape, values } = self.get(name)?;
        let [outputs, COLOURS, rows, columns] = shape[..] else { return None };
        let (plane, how) = (
            rows * columns,
            match channels {
                0 | COLOURS => return None,
                1 => "their weights added up",
                _ => "their weights repeated and scaled",
            },
        );
        let adapted = values.chunks_exact((COLOURS * plane).max(1)).flat_map(|filter| {
            (0..channels * plane).map(move |at| match channels {
                1 => filter.iter().skip(at).step_by(plane).sum(),
                _ => filter[at % (COLOURS * plane)] * (COLOURS as f32 / channels as f32),
            })
        });
        let entry = Entry { shape: vec![outputs, channels, rows, columns], values: adapted.collect() };
        self.insert(name.to_owned(), entry);
        let plural = if channels == 1 { "" } else { "s" };
        Some(format!(
            "the first convolution is that of 3 colours, {how} for {channels} channel{plural} ({name})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two filters of 1×2 pixels: 0 to 5 and 6 to 11.
    fn adapted(channels: usize) -> (Option<String>, Entry) {
        let entry = Entry { shape: vec![2, 3, 1, 2], values: (0..12).map(|v| v as f32).collect() };
        let mut weights = StateDict::default();
        weights.insert("stem".to_owned(), entry);
        let said = weights.adapt_stem("stem", channels);
        (said, weights.get("stem").unwrap().clone())
    }

    /// What `timm.models._manipulate.adapt_input_conv` makes of the same.
    #[test]
    fn stems_are_adapted_as_timm_does() {
        let (said, grey) = adapted(1);
        assert_eq!((grey.shape, grey.values), (vec![2, 1, 1, 2], vec![6.0, 9.0, 24.0, 27.0]));
        assert!(said.unwrap().contains("added up for 1 channel (stem)"));
        let (said, five) = adapted(5);
        let first: Vec<f32> = [0, 1, 2, 3, 4, 5, 0, 1, 2, 3].map(|v| v as f32 * 0.6).to_vec();
        assert_eq!((&five.shape[..], &five.values[..10]), (&[2, 5, 1, 2][..], &first[..]));
        assert_eq!(five.values[18], 8.0 * 0.6);
        assert!(said.unwrap().contains("repeated"));
        let (_, two) = adapted(2);
        assert_eq!(two.values, [0.0, 1.5, 3.0, 4.5, 9.0, 10.5, 12.0, 13.5]);
    }

    #[test]
    fn what_fits_or_is_no_stem_of_colours_stays() {
        let (said, same) = adapted(3);
        assert_eq!((said, same.values.len()), (None, 12));
        assert_eq!(StateDict::default().adapt_stem("stem", 5), None);
        let mut other = StateDict::default();
        other.insert("stem".to_owned(), Entry { shape: vec![1, 4, 1, 1], values: vec![0.0; 4] });
        assert_eq!(other.adapt_stem("stem", 5), None);
    }
}
