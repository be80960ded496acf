//! Features of labelled images, and how they are brought to one scale.

/// Features of images, row by row, and their classes.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    /// `[images, width]`.
    pub values: &'a [f32],
    /// A class index an image.
    pub labels: &'a [u32],
}

impl Features<'_> {
    /// Numbers of an image.
    pub fn width(&self) -> usize {
        self.values.len() / self.labels.len().max(1)
    }
}

/// Mean and factor of every feature, which bring it to mean 0 and variance 1, as a batch norm without
/// weights does.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardize(Vec<(f64, f64)>);

impl Standardize {
    /// Those of rows of so many features.
    pub fn of(values: &[f32], width: usize) -> Self {
        let rows = (values.len() / width.max(1)) as f64;
        // Row by row, as they lie in memory; the mean first, which keeps the variance exact.
        let mean_of = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; width];
            for row in values.chunks_exact(width.max(1)) {
                for (column, (sum, value)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(column, f64::from(*value));
                }
            }
            sums.into_iter().map(|sum| sum / rows).collect::<Vec<_>>()
        };
        let means = mean_of(&|_, value| value);
        let variances = mean_of(&|column, value| (value - means[column]).powi(2));
        Self(means.into_iter().zip(variances).map(|(mean, v)| (mean, 1.0 / (v + 1e-6).sqrt())).collect())
    }

    /// Features of a row.
    pub fn width(&self) -> usize {
        self.0.len()
    }

    /// The standardised values of rows.
    pub fn apply<'a>(&'a self, values: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
        values.iter().zip(self.0.iter().cycle()).map(|(v, (mean, factor))| (f64::from(*v) - mean) * factor)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Waves of which every third follows the class of the image, one feature far from 0.
    pub(crate) fn images(count: usize, phase: f64, width: usize) -> (Vec<f32>, Vec<u32>) {
        let labels: Vec<u32> = (0..count as u32).map(|i| (i * 7 / 3) % 3).collect();
        let value = |(i, j): (usize, usize)| {
            let wave = ((i * width + j) as f64 * (1.7 + 0.01 * j as f64) + phase).sin();
            let told = if j % 3 == labels[i] as usize { 0.6 } else { 0.0 };
            (wave * (1 + j % 3) as f64 + told + if j == 1 { 10.0 } else { 0.0 }) as f32
        };
        let values = (0..count).flat_map(|i| (0..width).map(move |j| (i, j))).map(value).collect();
        (values, labels)
    }
}
