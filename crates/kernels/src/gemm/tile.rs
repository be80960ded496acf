//! A tile of C, in registers.

use pulp::Simd;

use super::Start;

/// Adds `N` vectors of columns of B, multiplied by `M` values of A, for every step of the depth.
#[inline(always)]
pub(super) fn multiply<'b, S: Simd, const M: usize, const N: usize>(
    s: S,
    steps: impl Iterator<Item = ([f32; M], &'b [S::f32s; N])>,
) -> [[S::f32s; N]; M] {
    let mut sums = [[s.splat_f32s(0.0); N]; M];
    for (a, b) in steps {
        for i in 0..M {
            let value = s.splat_f32s(a[i]);
            for j in 0..N {
                sums[i][j] = s.mul_add_e_f32s(value, b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Where a tile lies: from the start of `c`, rows `stride` apart, of which `width` values are its own.
pub(super) struct Place<'a> {
    pub(super) c: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl Place<'_> {
    /// Writes start plus sums. The loops have no branches within, so that the sums stay registers.
    #[inline(always)]
    pub(super) fn put<S: Simd, const M: usize, const N: usize>(
        self,
        s: S,
        mut sums: [[S::f32s; N]; M],
        start: Start,
    ) {
        let Self { c, stride, width } = self;
        match start {
            Start::Zero => {}
            Start::Bias(bias) => {
                let row = load::<S, N>(s, bias);
                for sums in &mut sums {
                    for j in 0..N {
                        sums[j] = s.add_f32s(sums[j], row[j]);
                    }
                }
            }
            Start::Sum => {
                for i in 0..M {
                    let row = load::<S, N>(s, &c[i * stride..][..width]);
                    for j in 0..N {
                        sums[i][j] = s.add_f32s(sums[i][j], row[j]);
                    }
                }
            }
        }
        for i in 0..M {
            store::<S, N>(s, &mut c[i * stride..][..width], sums[i]);
        }
    }
}

/// Vectors from a row that may end within the last one.
#[inline(always)]
pub(super) fn load<S: Simd, const N: usize>(s: S, row: &[f32]) -> [S::f32s; N] {
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

#[inline(always)]
pub(super) fn store<S: Simd, const N: usize>(s: S, row: &mut [f32], vectors: [S::f32s; N]) {
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
