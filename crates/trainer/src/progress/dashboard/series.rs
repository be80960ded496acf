//! The values of a curve on the dashboard.

/// More points than a terminal can show.
const MOST: usize = 2048;

/// Points of a curve, thinned out as they become many.
#[derive(Debug, Default)]
pub(super) struct Series {
    points: Vec<(f64, f64)>,
    /// Values passed over between two that are kept.
    skip: usize,
    /// How many of them have been, since the last one that was kept.
    skipped: usize,
}

impl Series {
    /// Adds a value; what is not finite cannot be drawn.
    pub(super) fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        if self.skipped < self.skip {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.points.push((x, y));
        if self.points.len() == MOST {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            // The last one is gone, and counts as skipped with those before it.
            self.skipped = self.skip + 1;
            self.skip = 2 * self.skip + 1;
        }
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_are_thinned_out_evenly() {
        let mut series = Series::default();
        (0..20 * MOST).for_each(|i| series.push(i as f64, 1.0));
        series.push(0.0, f64::NAN);
        let points = series.points();
        assert!((MOST / 2..MOST).contains(&points.len()), "{}", points.len());
        let distance = points[1].0 - points[0].0;
        assert!(points.windows(2).all(|pair| pair[1].0 - pair[0].0 == distance), "{distance}");
    }
}
