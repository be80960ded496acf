//! ATen's operations on lists of tensors, through `lists.cpp`: one call for all parameters of a network,
//! and on a GPU a few launches.

#![allow(unsafe_code, reason = "functions of C++")]

use std::ffi::c_char;
use std::ptr;

use tch::Tensor;

use super::aten::{Raw, check, owned, raw};

unsafe extern "C" {
    fn host_list_adamw(
        weights: *const Raw,
        gradients: *const Raw,
        first: *const Raw,
        second: *const Raw,
        count: usize,
        step: Raw,
        lr: f64,
        beta_1: f64,
        beta_2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *mut c_char;
    fn host_list_norms(out: *mut Raw, tensors: *const Raw, count: usize) -> *mut c_char;
    fn host_list_scale(tensors: *const Raw, count: usize, factor: Raw) -> *mut c_char;
    fn host_list_add(tensors: *const Raw, others: *const Raw, count: usize) -> *mut c_char;
    fn host_list_lerp(tensors: *const Raw, others: *const Raw, count: usize, share: f64) -> *mut c_char;
    fn host_list_in_f32(out: *mut Raw, tensors: *const Raw, count: usize) -> *mut c_char;
    fn host_list_copy(tensors: *const Raw, others: *const Raw, count: usize) -> *mut c_char;
}

/// What an update by AdamW multiplies with.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: [f64; 2],
    /// Decoupled.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

fn raws(tensors: &[&Tensor]) -> Vec<Raw> {
    tensors.iter().map(|tensor| raw(tensor)).collect()
}

/// ATen's kernels walk through the memory of the tensors of a place side by side: the CPU's looks at no
/// stride, and updates the wrong elements where they differ; the GPU's refuses.
fn require_alike(lists: &[&[&Tensor]]) {
    let [first, others @ ..] = lists else { return };
    assert!(
        first.iter().all(|tensor| tensor.is_contiguous()),
        "a tensor of a list has gaps or is transposed"
    );
    for other in others {
        assert_eq!(first.len(), other.len(), "lists of different lengths");
        for (a, b) in first.iter().zip(*other) {
            assert!(
                b.is_contiguous() && a.size() == b.size() && a.device() == b.device(),
                "a tensor of {:?} beside one of {:?}, strides {:?}",
                b.size(),
                a.size(),
                b.stride(),
            );
        }
    }
}

/// ATen's fused AdamW, in place: `moments` are the first ones and the second ones; `step` `[]`, on the same
/// device, counts this update too.
///
/// # Panics
/// Tensors that are not contiguous, or of different shapes.
pub fn adamw(
    update: AdamWStep,
    weights: &[&Tensor],
    gradients: &[&Tensor],
    moments: [&[&Tensor]; 2],
    step: &Tensor,
) {
    let lists = [weights, gradients, moments[0], moments[1]];
    require_alike(&lists);
    let AdamWStep { lr, betas: [beta_1, beta_2], weight_decay, eps } = update;
    let [w, g, m, v] = lists.map(raws);
    // SAFETY: live tensors, as many in each list, of the same shapes and without gaps.
    check(unsafe {
        host_list_adamw(
            w.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            w.len(),
            raw(step),
            lr,
            beta_1,
            beta_2,
            weight_decay,
            eps,
        )
    });
}

/// The L2 norm of each tensor, `[count]`; there is at least one.
pub fn norms(tensors: &[&Tensor]) -> Tensor {
    let (tensors, mut out) = (raws(tensors), ptr::null_mut());
    // SAFETY: live tensors, and room for one.
    check(unsafe { host_list_norms(&mut out, tensors.as_ptr(), tensors.len()) });
    owned(out)
}

/// Multiplies all tensors by a factor `[]`, in place.
pub fn scale(tensors: &[&Tensor], factor: &Tensor) {
    let tensors = raws(tensors);
    // SAFETY: live tensors.
    check(unsafe { host_list_scale(tensors.as_ptr(), tensors.len(), raw(factor)) });
}

/// Adds others, in place.
pub fn add(tensors: &[&Tensor], others: &[&Tensor]) {
    require_alike(&[tensors, others]);
    let (tensors, others) = (raws(tensors), raws(others));
    // SAFETY: live tensors, as many in each list.
    check(unsafe { host_list_add(tensors.as_ptr(), others.as_ptr(), tensors.len()) });
}

/// Moves tensors towards others by a share of the way, in place.
pub fn lerp(tensors: &[&Tensor], others: &[&Tensor], share: f64) {
    require_alike(&[tensors, others]);
    let (tensors, others) = (raws(tensors), raws(others));
    // SAFETY: live tensors, as many in each list.
    check(unsafe { host_list_lerp(tensors.as_ptr(), others.as_ptr(), tensors.len(), share) });
}

/// The same values in f32, contiguous, in one memory.
pub fn in_f32(tensors: &[&Tensor]) -> Vec<Tensor> {
    if tensors.is_empty() {
        return Vec::new();
    }
    let (tensors, mut out) = (raws(tensors), vec![ptr::null_mut(); tensors.len()]);
    // SAFETY: live tensors, and room for as many.
    check(unsafe { host_list_in_f32(out.as_mut_ptr(), tensors.as_ptr(), tensors.len()) });
    out.into_iter().map(owned).collect()
}

/// Gives tensors the values of others, each in its own kind.
pub fn copy(tensors: &[&Tensor], others: &[&Tensor]) {
    require_alike(&[tensors, others]);
    let (tensors, others) = (raws(tensors), raws(others));
    // SAFETY: live tensors, as many in each list.
    check(unsafe { host_list_copy(tensors.as_ptr(), others.as_ptr(), tensors.len()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    fn tensor(values: &[f32], shape: &[i64]) -> Tensor {
        Tensor::from_slice(values).view(shape)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.contiguous().view([-1])).unwrap()
    }

    #[test]
    fn lists_are_computed_tensor_by_tensor() {
        let (a, b) = (tensor(&[3.0, 4.0], &[2]), tensor(&[1.0, 2.0, 2.0, 4.0], &[2, 2]));
        let (c, d) = (tensor(&[1.0, 0.0], &[2]), tensor(&[5.0; 4], &[2, 2]));
        assert_eq!(values(&norms(&[&a, &b])), [5.0, 5.0]);
        add(&[&a, &b], &[&c, &d]);
        assert_eq!((values(&a), values(&b)), (vec![4.0, 4.0], vec![6.0, 7.0, 7.0, 9.0]));
        scale(&[&a, &b], &Tensor::from(0.5f32));
        assert_eq!((values(&a), values(&b)), (vec![2.0, 2.0], vec![3.0, 3.5, 3.5, 4.5]));
        lerp(&[&a, &b], &[&c, &d], 0.25);
        assert_eq!((values(&a), values(&b)), (vec![1.75, 1.5], vec![3.5, 3.875, 3.875, 4.625]));
        let (low, high) = (b.to_kind(Kind::BFloat16), a.to_kind(Kind::Double));
        let cast = in_f32(&[&low, &high]);
        assert_eq!((cast[0].size(), cast[1].kind()), (vec![2, 2], Kind::Float));
        assert_eq!((values(&cast[0]), values(&cast[1])), (vec![3.5, 3.875, 3.875, 4.625], vec![1.75, 1.5]));
        assert!(
            cast.iter()
                .all(|tensor| tensor.is_contiguous() && (tensor.data_ptr() as usize).is_multiple_of(64))
        );
        let low = a.to_kind(Kind::BFloat16);
        copy(&[&low], &[&c]);
        assert_eq!((low.kind(), values(&low.to_kind(Kind::Float))), (Kind::BFloat16, vec![1.0, 0.0]));
    }

    #[test]
    fn adamw_makes_one_update() {
        let [weight, gradient] = [[1.0f32, -2.0], [0.5, 0.25]].map(|values| tensor(&values, &[2]));
        let moments = [0.0f32, 0.0].map(|value| tensor(&[value; 2], &[2]));
        let update = AdamWStep { lr: 0.1, betas: [0.9, 0.99], weight_decay: 0.5, eps: 0.0 };
        let [first, second] = moments.each_ref();
        adamw(update, &[&weight], &[&gradient], [&[first], &[second]], &Tensor::from(1f32));
        // w · (1 − 0.1 · 0.5) − 0.1 · g / |g|.
        for (found, expected) in values(&weight).iter().zip([0.85, -2.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (found, expected) in values(first).iter().zip([0.05, 0.025]) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
    }

    #[test]
    #[should_panic(expected = "strides [1, 2]")]
    fn a_transposed_gradient_is_never_read_as_if_it_were_not() {
        let [weight, first, second] = [0.0f32; 3].map(|value| tensor(&[value; 4], &[2, 2]));
        let gradient = tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).tr();
        let update = AdamWStep { lr: 0.1, betas: [0.9, 0.99], weight_decay: 0.0, eps: 1e-8 };
        adamw(update, &[&weight], &[&gradient], [&[&first], &[&second]], &Tensor::from(1f32));
    }
}
