//! Buckets on a device of libtorch.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{DispatchTensor, Tensor};
use distributed::Bucket;
use host::Precision;
use host::libtorch::{dispatch, later, primitive};
use tch::{Kind, Tensor as Raw};

use super::{Tail, Told, Wishes};
use crate::deferred::Deferred;
use crate::tensor_list::List;

/// Numbers of a tail: loss, stop, save.
const TAIL: i64 = 3;

pub(super) fn pack(gradients: &List, precision: Precision, tail: Option<&Tail>) -> Bucket {
    let gradients = gradients.raw();
    let tail = tail.map(|tail| tail_of(tail, gradients.first().copied()));
    let flat = gradients.iter().map(|gradient| gradient.view([-1]));
    let bucket = Raw::cat(&flat.chain(tail).collect::<Vec<_>>(), 0);
    // What has no gradients has the tail, which keeps its precision.
    match (precision, gradients.is_empty()) {
        (Precision::Bf16, false) => Bucket::Tensor(bucket.to_kind(Kind::BFloat16)),
        _ => Bucket::Tensor(bucket),
    }
}

/// Loss and wishes `[3]`, on the device of the loss.
fn tail_of(Tail { loss, own }: &Tail, beside: Option<&Raw>) -> Raw {
    let number = |wish| f64::from(u8::from(wish));
    let (loss, device) = match loss {
        Deferred::Known(loss) => (*loss, beside.map_or(tch::Device::Cpu, Raw::device)),
        Deferred::Pending(loss) => {
            let loss = loss.clone().try_into_primitive::<LibTorch>().expect("a loss of libtorch's").tensor;
            let wishes = [own.stop, own.save].map(|wish| loss.full_like(number(wish)));
            return Raw::cat(&[&loss, &wishes[0], &wishes[1]], 0);
        }
    };
    let numbers = [loss, number(own.stop), number(own.save)];
    let numbers = numbers.map(|number| Raw::full([1], number, (Kind::Float, device)));
    Raw::cat(&numbers, 0)
}

/// The means in place of the gradients of this process, and the tail, if there is one.
pub(super) fn unpack(
    sums: &Raw,
    own: Vec<DispatchTensor>,
    share: f64,
    has_tail: bool,
) -> (Vec<DispatchTensor>, Option<Told>) {
    let own: Vec<TchTensor> =
        own.into_iter().map(|own| primitive(own).expect("a gradient of libtorch")).collect();
    let means = sums.to_kind(Kind::Float) * share;
    let tail = has_tail.then_some(TAIL);
    let lengths: Vec<_> = own.iter().map(|own| own.tensor.numel() as i64).chain(tail).collect();
    let mut parts = means.split_with_sizes(lengths, 0).into_iter();
    let means = own.iter().zip(&mut parts).map(|(own, mean)| mean.view(own.tensor.size().as_slice()));
    let means = means.map(|mean| dispatch(TchTensor::new(mean))).collect();
    let told = parts.next().map(|tail| {
        let loss = Tensor::from_primitive::<LibTorch>(TchTensor::new(tail.narrow(0, 0, 1)));
        Told::Later { loss: Deferred::Pending(loss), wishes: Later(later::Later::of(&tail)) }
    });
    (means, told)
}

/// Wishes on their way from the device.
pub(super) struct Later(later::Later);

impl Later {
    /// What any process wished. It waits for the update that they came with, not for what follows it.
    pub(super) fn read(self) -> Wishes {
        let numbers = self.0.read();
        Wishes { stop: numbers[1] > 0.0, save: numbers[2] > 0.0 }
    }
}
