//! Means and deviations of channels, as configurations give them.

use config::SettingError;

use crate::transform::Normalize;

/// The values of a key, with its name for messages: `data.mean`.
pub(crate) type Named<'a> = (&'a str, &'a [f32]);

/// Refuses means and deviations that cannot be those of intensities from 0 to 1. Mean 0 with deviation
/// 1, which leaves intensities as they are, is allowed.
///
/// # Errors
/// The key at fault; for intensities from 0 to 255 also what was probably meant.
pub fn check_statistics(mean: Named, std: Named) -> Result<(), SettingError> {
    check("0 or more, and at most 1", mean, |value| value >= 0.0)?;
    check("above 0, and at most 1", std, |value| value > 0.0)
}

fn check(allowed: &str, (key, values): Named, is_enough: fn(f32) -> bool) -> Result<(), SettingError> {
    let sound = values.iter().all(|value| is_enough(*value) && *value <= 1.0);
    if sound {
        return Ok(());
    }
    let in_bytes = values.iter().all(|value| is_enough(*value) && *value <= 255.0);
    let hint = match in_bytes {
        true => {
            format!(
                "; these look like intensities from 0 to 255, so {:?} was probably meant (of arrays and TIFFs \
                 data.range says which numbers are 0 and 1)",
                scaled(values)
            )
        }
        false => String::new(),
    };
    Err(SettingError::Together(format!(
        "{key} must be of intensities from 0 to 1: {allowed}, found {values:?}{hint}"
    )))
}

/// Intensities from 0 to 255 as ones from 0 to 1, to four places.
fn scaled(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| (f64::from(*value) / 255.0 * 1e4).round() / 1e4).collect()
}

/// The normalisation by these values for images of so many channels; one channel takes the mean of
/// three numbers.
///
/// # Errors
/// Numbers that do not fit the channels or are not allowed.
pub(crate) fn normalize(channels: usize, mean: Named, std: Named) -> Result<Normalize, SettingError> {
    check_statistics(mean, std)?;
    let of = |(key, values): Named| match (values.len(), channels) {
        (found, wanted) if found == wanted => Ok(values.to_vec()),
        (3, 1) => Ok(vec![values.iter().sum::<f32>() / 3.0]),
        (found, wanted) => Err(SettingError::Together(format!(
            "{key} has {found} numbers for model.num_channels = {wanted}; `train-cli data info --config FILE` \
             finds those of your images"
        ))),
    };
    Ok(Normalize { mean: of(mean)?, std: of(std)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(mean: &[f32], std: &[f32]) -> String {
        check_statistics(("data.mean", mean), ("data.std", std)).unwrap_err().to_string()
    }

    #[test]
    fn intensities_up_to_255_are_refused_with_those_that_were_meant() {
        let error = refused(&[123.675, 116.28, 103.53], &[0.229, 0.224, 0.225]);
        assert!(
            error.contains("data.mean") && error.contains("[0.485, 0.456, 0.406] was probably"),
            "{error}"
        );
        let error = refused(&[0.485, 0.456, 0.406], &[58.395, 57.12, 57.375]);
        assert!(
            error.contains("data.std") && error.contains("[0.229, 0.224, 0.225] was probably"),
            "{error}"
        );
    }

    #[test]
    fn what_no_image_has_is_refused() {
        for (mean, std, key) in [
            ([-0.485, 0.0, 0.0], [0.2; 3], "data.mean"),
            ([f32::NAN, 0.0, 0.0], [0.2; 3], "data.mean"),
            ([0.5; 3], [0.2, 0.0, 0.2], "data.std"),
            ([0.5; 3], [0.2, -0.2, 0.2], "data.std"),
            ([0.5; 3], [0.2, f32::INFINITY, 0.2], "data.std"),
        ] {
            let error = refused(&mean, &std);
            assert!(error.contains(key) && !error.contains("probably"), "{error}");
        }
    }

    #[test]
    fn plain_and_symmetric_intensities_are_allowed() {
        for (mean, std) in [([0.0; 3], [1.0; 3]), ([0.5; 3], [0.5; 3]), ([1.0, 0.0, 0.0], [1.0 / 255.0; 3])] {
            check_statistics(("data.mean", &mean), ("data.std", &std)).unwrap();
        }
    }
}
