//! How sums of products of 8-bit values are computed.

use std::fmt;

use pulp::{Simd, WithSimd, bytemuck};

use crate::Arch;

/// The instructions that 8-bit products use. All of them give the same results, bit for bit.
#[derive(Debug, Clone, Copy)]
pub struct Instructions(Set);

#[derive(Debug, Clone, Copy)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(x86::Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(x86::AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    Plain(Arch),
}

impl Instructions {
    /// The best ones of this machine.
    pub fn new() -> Self {
        Self::detected().next().unwrap_or(Self(Set::Plain(Arch::new())))
    }

    /// All that this machine has, and none, the best ones first.
    pub fn available() -> Vec<Self> {
        let plain = [Arch::new(), Arch::Scalar].map(|arch| Self(Set::Plain(arch)));
        Self::detected().chain(plain).collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn detected() -> impl Iterator<Item = Self> {
        let sets = [
            x86::Avx512Vnni::try_new().map(Set::Avx512Vnni),
            x86::AvxVnni::try_new().map(Set::AvxVnni),
            x86::Avx2::try_new().map(Set::Avx2),
        ];
        sets.into_iter().flatten().map(Self)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detected() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    /// The instructions on f32 that are there with them.
    pub(super) fn arch(self) -> Arch {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni(vnni) => Arch::V4(vnni.simd()),
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(vnni) => Arch::V3(vnni.simd()),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(avx2) => Arch::V3(avx2.simd()),
            Set::Plain(arch) => arch,
        }
    }

    /// Columns of a vector of sums.
    pub(super) fn lanes(self) -> usize {
        self.dispatch(Lanes)
    }

    /// Runs an operation compiled for these instructions.
    pub(super) fn dispatch<O: WithDot>(self, operation: O) -> O::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni(vnni) => vnni.run(operation),
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(vnni) => vnni.run(operation),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(avx2) => avx2.run(operation),
            Set::Plain(arch) => arch.dispatch(WithPlain(operation)),
        }
    }
}

impl Default for Instructions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni(_) => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(_) => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "AVX2",
            Set::Plain(Arch::Scalar) => "plain",
            Set::Plain(_) => "plain, vectorised by the compiler",
        })
    }
}

/// Something to compile for each of the sets of instructions.
pub(super) trait WithDot {
    type Output;

    fn with_dot<D: Dot>(self, d: D) -> Self::Output;
}

/// Vectors of sums, each of them a column's.
pub(super) trait Dot: Copy {
    /// The instructions on f32 that are there with them.
    type Simd: Simd;

    fn simd(self) -> Self::Simd;

    /// Adds the products of a row's four values (u8, the bytes of `a`) with those of every column (i8)
    /// to the column's sum, exactly.
    fn dot(self, sums: I32s<Self>, a: i32, b: I32s<Self>) -> I32s<Self>;

    /// (sums − zero · column_sums) · scales, where everything before the last product is exact but for
    /// the conversion to f32.
    fn scale(self, sums: I32s<Self>, zero: i32, column_sums: I32s<Self>, scales: F32s<Self>) -> F32s<Self>;
}

pub(super) type I32s<D> = <<D as Dot>::Simd as Simd>::i32s;
pub(super) type F32s<D> = <<D as Dot>::Simd as Simd>::f32s;

struct Lanes;

impl WithDot for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_dot<D: Dot>(self, _: D) -> usize {
        D::Simd::I32_LANES
    }
}

/// What the compiler makes of loops with these instructions.
#[derive(Clone, Copy)]
struct Plain<S>(S);

struct WithPlain<O>(O);

impl<O: WithDot> WithSimd for WithPlain<O> {
    type Output = O::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> O::Output {
        self.0.with_dot(Plain(s))
    }
}

impl<S: Simd> Dot for Plain<S> {
    type Simd = S;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn dot(self, mut sums: S::i32s, a: i32, b: S::i32s) -> S::i32s {
        let a = a.to_ne_bytes().map(i32::from);
        let columns: &[[i8; 4]] = bytemuck::cast_slice(std::slice::from_ref(&b));
        for (sum, b) in lanes(&mut sums).iter_mut().zip(columns) {
            for i in 0..4 {
                *sum += a[i] * i32::from(b[i]);
            }
        }
        sums
    }

    #[inline(always)]
    fn scale(self, mut sums: S::i32s, zero: i32, mut column_sums: S::i32s, scales: S::f32s) -> S::f32s {
        let mut values = self.0.splat_f32s(0.0);
        let floats: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut values));
        for ((value, sum), column) in floats.iter_mut().zip(lanes(&mut sums)).zip(lanes(&mut column_sums)) {
            *value = (*sum - zero * *column) as f32;
        }
        self.0.mul_f32s(values, scales)
    }
}

#[inline(always)]
fn lanes<V: bytemuck::Pod>(vector: &mut V) -> &mut [i32] {
    bytemuck::cast_slice_mut(std::slice::from_mut(vector))
}

/// The instructions that were made for this, and what comes closest to them where they are missing.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "pulp does not know these instructions")]
mod x86 {
    use std::arch::x86_64::*;

    use pulp::bytemuck::cast;
    use pulp::x86::{V3, V4};

    use super::{Dot, F32s, I32s, WithDot};

    /// Proof that the processor has VNNI on 512 bits.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Avx512Vnni(V4);

    impl Avx512Vnni {
        pub(super) fn try_new() -> Option<Self> {
            is_x86_feature_detected!("avx512vnni").then(V4::try_new).flatten().map(Self)
        }

        pub(super) fn run<O: WithDot>(self, operation: O) -> O::Output {
            #[target_feature(enable = "sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,bmi1,bmi2,fma,lzcnt")]
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni")]
            fn run<O: WithDot>(d: Avx512Vnni, operation: O) -> O::Output {
                operation.with_dot(d)
            }
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe { run(self, operation) }
        }
    }

    impl Dot for Avx512Vnni {
        type Simd = V4;

        #[inline(always)]
        fn simd(self) -> V4 {
            self.0
        }

        #[inline(always)]
        fn dot(self, sums: I32s<Self>, a: i32, b: I32s<Self>) -> I32s<Self> {
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe { cast(_mm512_dpbusd_epi32(cast(sums), _mm512_set1_epi32(a), cast(b))) }
        }

        #[inline(always)]
        fn scale(
            self,
            sums: I32s<Self>,
            zero: i32,
            column_sums: I32s<Self>,
            scales: F32s<Self>,
        ) -> F32s<Self> {
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe {
                let correction = _mm512_mullo_epi32(_mm512_set1_epi32(zero), cast(column_sums));
                let sums = _mm512_cvtepi32_ps(_mm512_sub_epi32(cast(sums), correction));
                cast(_mm512_mul_ps(sums, cast(scales)))
            }
        }
    }

    /// Proof that the processor has VNNI on 256 bits, without AVX-512's encoding.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct AvxVnni(Avx2);

    impl AvxVnni {
        pub(super) fn try_new() -> Option<Self> {
            is_x86_feature_detected!("avxvnni").then(Avx2::try_new).flatten().map(Self)
        }

        pub(super) fn run<O: WithDot>(self, operation: O) -> O::Output {
            #[target_feature(enable = "sse3,ssse3,sse4.1,sse4.2,popcnt,avx,avx2,bmi1,bmi2,fma,lzcnt,avxvnni")]
            fn run<O: WithDot>(d: AvxVnni, operation: O) -> O::Output {
                operation.with_dot(d)
            }
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe { run(self, operation) }
        }
    }

    impl Dot for AvxVnni {
        type Simd = V3;

        #[inline(always)]
        fn simd(self) -> V3 {
            self.0.simd()
        }

        #[inline(always)]
        fn dot(self, sums: I32s<Self>, a: i32, b: I32s<Self>) -> I32s<Self> {
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe { cast(_mm256_dpbusd_avx_epi32(cast(sums), _mm256_set1_epi32(a), cast(b))) }
        }

        #[inline(always)]
        fn scale(
            self,
            sums: I32s<Self>,
            zero: i32,
            column_sums: I32s<Self>,
            scales: F32s<Self>,
        ) -> F32s<Self> {
            self.0.scale(sums, zero, column_sums, scales)
        }
    }

    /// Proof that the processor has AVX2.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Avx2(V3);

    impl Avx2 {
        pub(super) fn try_new() -> Option<Self> {
            V3::try_new().map(Self)
        }

        pub(super) fn run<O: WithDot>(self, operation: O) -> O::Output {
            self.0.vectorize(
                #[inline(always)]
                || operation.with_dot(self),
            )
        }
    }

    impl Dot for Avx2 {
        type Simd = V3;

        #[inline(always)]
        fn simd(self) -> V3 {
            self.0
        }

        /// The first and third products of 16 bits are summed at once, and the others: the instruction
        /// that takes 8 bits would saturate.
        #[inline(always)]
        fn dot(self, sums: I32s<Self>, a: i32, b: I32s<Self>) -> I32s<Self> {
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe {
                let (a, b, low) = (_mm256_set1_epi32(a), cast(b), _mm256_set1_epi16(0xff));
                let even = (_mm256_and_si256(a, low), _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)));
                let odd = (_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
                let sums = _mm256_add_epi32(cast(sums), _mm256_madd_epi16(even.0, even.1));
                cast(_mm256_add_epi32(sums, _mm256_madd_epi16(odd.0, odd.1)))
            }
        }

        #[inline(always)]
        fn scale(
            self,
            sums: I32s<Self>,
            zero: i32,
            column_sums: I32s<Self>,
            scales: F32s<Self>,
        ) -> F32s<Self> {
            // SAFETY: a value of this type exists only where these instructions were found.
            unsafe {
                let correction = _mm256_mullo_epi32(_mm256_set1_epi32(zero), cast(column_sums));
                let sums = _mm256_cvtepi32_ps(_mm256_sub_epi32(cast(sums), correction));
                cast(_mm256_mul_ps(sums, cast(scales)))
            }
        }
    }
}
