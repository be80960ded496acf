//! An axis: what it reaches from and to, where its marks are and what they say.

/// An axis of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// One with about five marks, a little longer than the values need. There is something to see
    /// around a single value as well.
    pub(crate) fn around(values: impl Iterator<Item = f64>) -> Self {
        let extremes = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), extremes);
        let margin = match high - low {
            range if range > 1e-9 * high.abs() => 0.06 * range,
            _ if high == 0.0 => 1.0,
            _ => 0.5 * high.abs(),
        };
        let (low, high) = (low - margin, high + margin);
        Self { low, high, step: round_step((high - low) / 5.0) }
    }

    /// The same, no longer than from `low` to `high`.
    pub(crate) fn within(self, low: f64, high: f64) -> Self {
        let (low, high) = (self.low.max(low), self.high.min(high));
        Self { low, high, step: round_step((high - low) / 5.0) }
    }

    /// From 0 to `last`, with marks at whole numbers, `most` of them or fewer.
    pub(crate) fn whole(last: f64, most: usize) -> Self {
        let last = last.max(1.0);
        Self { low: 0.0, high: last, step: round_step(last / most.max(1) as f64).max(1.0) }
    }

    /// From 0 at its beginning to 1 at its end.
    pub(crate) fn place(&self, value: f64) -> f32 {
        ((value - self.low) / (self.high - self.low)) as f32
    }

    /// Its marks, lowest first.
    pub(crate) fn marks(&self) -> impl Iterator<Item = f64> {
        let (step, slack) = (self.step, 1e-6 * self.step);
        let (first, last) = ((self.low - slack) / step, (self.high + slack) / step);
        (first.ceil() as i64..=last.floor() as i64).map(move |mark| mark as f64 * step)
    }

    /// A mark with as many digits as tell it from the next; all in the same power of ten, if in any.
    pub(crate) fn label(&self, mark: f64) -> String {
        let largest = self.marks().fold(0.0, |largest: f64, mark| largest.max(mark.abs()));
        let power = |value: f64| (value.log10() + 1e-9).floor() as i32;
        let (exponent, fine) = (power(largest), power(self.step));
        match largest {
            _ if mark == 0.0 => "0".to_owned(),
            0.01..1e6 => format!("{mark:.*}", (-fine).max(0) as usize),
            _ => format!("{:.*}e{exponent}", (exponent - fine).max(0) as usize, mark / 10f64.powi(exponent)),
        }
    }
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let enough = |factor: &f64| factor * power >= least * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(enough).unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.marks().map(|mark| axis.label(mark)).collect()
    }

    #[test]
    fn shares_end_at_all() {
        let axis = Axis::around([100.0, 100.0].into_iter()).within(0.0, 100.0);
        assert_eq!(axis.marks().last(), Some(100.0));
        assert_eq!(axis.place(100.0), 1.0);
    }

    #[test]
    fn marks_are_round_and_tell_apart() {
        let of = |values: &[f64]| labels(&Axis::around(values.iter().copied()));
        assert_eq!(of(&[1.69, 2.3]), ["1.8", "2.0", "2.2"]);
        assert_eq!(of(&[0.0, 4e-3]), ["0", "1e-3", "2e-3", "3e-3", "4e-3"]);
        assert_eq!(of(&[1.5e-4, 4.2e-4]), ["2e-4", "3e-4", "4e-4"]);
        assert_eq!(of(&[0.123_41, 0.123_45]), ["0.12341", "0.12342", "0.12343", "0.12344", "0.12345"]);
        assert_eq!(of(&[20.0, 87.6]), ["20", "40", "60", "80"]);
        assert_eq!(of(&[1e7, 3.3e7]), ["1e7", "2e7", "3e7"]);
        assert_eq!(of(&[-0.4, 0.3]), ["-0.4", "-0.2", "0", "0.2"]);
    }

    #[test]
    fn a_single_value_stands_in_the_middle() {
        for value in [0.0, 1.0, -3.0, 2e-5, 7e8] {
            let axis = Axis::around([value, value].into_iter());
            assert!((axis.place(value) - 0.5).abs() < 1e-6, "{value}");
            assert!(axis.marks().count() >= 2, "{value}");
        }
    }

    #[test]
    fn whole_numbers_stay_whole() {
        assert_eq!(labels(&Axis::whole(40.0, 10)), ["0", "5", "10", "15", "20", "25", "30", "35", "40"]);
        assert_eq!(labels(&Axis::whole(3.0, 10)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::whole(0.06, 10)), ["0", "1"]);
        assert_eq!(labels(&Axis::whole(1600.0, 5)), ["0", "500", "1000", "1500"]);
        assert_eq!(Axis::whole(8.0, 4).place(2.0), 0.25);
    }
}
