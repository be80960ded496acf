//! Numbers as people read them.

/// A number with the digits that matter: up to four decimals, fewer the larger it is, and a power of ten
/// where it is huge or tiny. Every number that is shown and is neither a count nor a share is written so.
///
/// ```
/// use trainer::readable;
///
/// assert_eq!(readable(1.010_842), "1.0108");
/// assert_eq!(readable(3.2e24), "3.20e24");
/// ```
pub fn readable(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !size.is_finite() => value.to_string(),
        _ if (0.01..1e5).contains(&size) => {
            let decimals = 4 - size.log10().clamp(0.0, 4.0) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.2e}"),
    }
}

/// A speed in images per second, of slow ones the fractions as well.
pub fn readable_speed(img_per_s: f64) -> String {
    match img_per_s {
        slow if slow < 10.0 => format!("{slow:.2} img/s"),
        _ => format!("{img_per_s:.0} img/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_matter_and_no_others() {
        for (value, text) in [
            (0.0, "0"),
            (0.812_345, "0.8123"),
            (0.01, "0.0100"),
            (-12.345_67, "-12.346"),
            (1234.56, "1234.6"),
            (99_999.0, "99999"),
            (123_456.0, "1.23e5"),
            (0.001_23, "1.23e-3"),
            (1e24, "1.00e24"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(readable(value), text);
        }
    }

    #[test]
    fn a_slow_speed_is_not_zero() {
        assert_eq!([readable_speed(0.314), readable_speed(312.6)], ["0.31 img/s", "313 img/s"]);
    }
}
