//! Vectors from slices that may end within one.

use pulp::Simd;

/// The values of a slice that a vector holds, zeros behind them.
#[inline(always)]
pub(crate) fn load<S: Simd>(s: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values) {
        ([vector], []) => *vector,
        _ => s.partial_load_f32s(values),
    }
}

/// Writes as many values of a vector as the slice holds.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, to: &mut [f32], vector: S::f32s) {
    match to.len() == S::F32_LANES {
        true => S::as_mut_simd_f32s(to).0[0] = vector,
        false => s.partial_store_f32s(to, vector),
    }
}

/// `N` vectors from a row that may end within any of them.
#[inline(always)]
pub(crate) fn load_row<S: Simd, const N: usize>(s: S, row: &[f32]) -> [S::f32s; N] {
    if row.len() == N * S::F32_LANES
        && let (vectors, []) = S::as_simd_f32s(row).0.as_chunks::<N>()
    {
        return vectors[0];
    }
    std::array::from_fn(
        #[inline(always)]
        |j| s.partial_load_f32s(&row[within::<S>(j, row.len())]),
    )
}

/// The reverse.
#[inline(always)]
pub(crate) fn store_row<S: Simd, const N: usize>(s: S, row: &mut [f32], vectors: [S::f32s; N]) {
    if row.len() == N * S::F32_LANES {
        S::as_mut_simd_f32s(row).0.copy_from_slice(&vectors);
        return;
    }
    for (j, vector) in vectors.into_iter().enumerate() {
        let part = within::<S>(j, row.len());
        s.partial_store_f32s(&mut row[part], vector);
    }
}

/// What a vector holds of a row of this length.
#[inline(always)]
fn within<S: Simd>(vector: usize, len: usize) -> std::ops::Range<usize> {
    let start = (vector * S::F32_LANES).min(len);
    start..(start + S::F32_LANES).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, numbers};
    use pulp::WithSimd;

    /// Copies a row by way of three vectors.
    struct Copy<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Copy<'_> {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) -> usize {
            let len = self.0.len().min(3 * S::F32_LANES);
            store_row::<S, 3>(s, &mut self.1[..len], load_row::<S, 3>(s, &self.0[..len]));
            len
        }
    }

    #[test]
    fn rows_of_any_length_are_copied_and_nothing_behind_them() {
        for (arch, len) in arches().into_iter().flat_map(|arch| (0..=48).map(move |len| (arch, len))) {
            let (row, mut copy) = (numbers(len, 1), vec![7.0; len + 1]);
            let copied = arch.dispatch(Copy(&row, &mut copy));
            assert_eq!(copy[..copied], row[..copied]);
            assert!(copy[copied..].iter().all(|value| *value == 7.0));
        }
    }
}
