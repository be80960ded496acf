//! Buckets in this machine's memory.

use burn::tensor::DispatchTensor;
use distributed::Bucket;
use host::HostTensor;

use super::{Tail, Told, Wishes};

/// Numbers of a tail.
const TAIL: usize = 3;

pub(super) fn pack(gradients: &[HostTensor], tail: Option<&Tail>) -> Bucket {
    let numbers: usize = gradients.iter().map(|gradient| gradient.values().len()).sum();
    let mut bucket = Vec::with_capacity(numbers + TAIL);
    gradients.iter().for_each(|gradient| bucket.extend_from_slice(gradient.values()));
    if let Some(Tail { loss, own }) = tail {
        let number = |wish| f32::from(u8::from(wish));
        bucket.extend([loss.read() as f32, number(own.stop), number(own.save)]);
    }
    Bucket::Host(bucket)
}

/// The means in place of the gradients of this process, and the tail, if there is one.
pub(super) fn unpack(
    sums: &[f32],
    own: Vec<DispatchTensor>,
    share: f64,
    has_tail: bool,
) -> (Vec<DispatchTensor>, Option<Told>) {
    let mut left = sums;
    let mut means = Vec::with_capacity(own.len());
    for gradient in own {
        let mut gradient = HostTensor::from_dispatch(gradient).expect("a gradient on the host");
        let values = gradient.values_mut();
        let (sums, others) = left.split_at(values.len());
        values.iter_mut().zip(sums).for_each(|(mean, sum)| *mean = sum * share as f32);
        left = others;
        means.push(gradient.into_dispatch());
    }
    let told = has_tail.then(|| Told::Now {
        loss: f64::from(left[0]) * share,
        wishes: Wishes { stop: left[1] > 0.0, save: left[2] > 0.0 },
    });
    (means, told)
}
