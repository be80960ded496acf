//! Lists of libtorch's tensors.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{DispatchTensor, Tensor};
use host::libtorch::lists::{self, AdamWStep};
use host::libtorch::{dispatch, primitive};
use host::{HostBackend, Lists, Precision};
use tch::{Kind, Tensor as Raw};

use super::TensorList;
use super::clock::Clock;
use crate::adamw::AdamWUpdate;
use crate::deferred::Deferred;

/// Tensors of libtorch.
#[derive(Debug, Clone)]
pub(crate) struct List(Vec<TchTensor>);

pub(super) fn list(tensors: Vec<DispatchTensor>) -> TensorList {
    TensorList::Aten(List::new(tensors))
}

/// Where the values of a tensor lie.
pub(super) fn address(tensor: &DispatchTensor) -> usize {
    primitive(tensor.clone()).expect("a tensor of libtorch").tensor.data_ptr() as usize
}

impl List {
    fn new(tensors: Vec<DispatchTensor>) -> Self {
        let of_libtorch = |tensor| LibTorch::contiguous(primitive(tensor).expect("a tensor of libtorch"));
        let mut tensors: Vec<_> = tensors.into_iter().map(of_libtorch).collect();
        // Gradients come in the numbers that they were computed in.
        let short = |tensor: &TchTensor| tensor.tensor.kind() != Kind::Float;
        let cast = lists::in_f32(&tensors.iter().filter(|t| short(t)).map(|t| &t.tensor).collect::<Vec<_>>());
        for (tensor, cast) in tensors.iter_mut().filter(|tensor| short(tensor)).zip(cast) {
            *tensor = TchTensor::new(cast);
        }
        Self(tensors)
    }

    pub(super) fn into_tensors(self) -> Vec<DispatchTensor> {
        self.0.into_iter().map(dispatch).collect()
    }

    /// The tensors, to be read.
    pub(crate) fn raw(&self) -> Vec<&Raw> {
        self.0.iter().map(|tensor| &tensor.tensor).collect()
    }

    /// The tensors, to be written: what somebody else holds too is copied first.
    fn own(&mut self) -> Vec<&Raw> {
        for tensor in self.0.iter_mut().filter(|tensor| !tensor.can_mut()) {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        self.raw()
    }

    pub(super) fn zeros_like(&self) -> TensorList {
        let zeros = |tensor: &TchTensor| TchTensor::new(tensor.tensor.zeros_like());
        TensorList::Aten(Self(self.0.iter().map(zeros).collect()))
    }

    pub(super) fn squares(&self) -> Vec<Deferred> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let squares = lists::norms(&self.raw()).square().split(1, 0);
        squares.into_iter().map(pending).collect()
    }

    pub(super) fn norm(&self) -> Deferred {
        match self.0.is_empty() {
            true => Deferred::Known(0.0),
            false => pending(lists::norms(&self.raw()).norm_scalaropt_dim_dtype(2, [0], true, Kind::Float)),
        }
    }

    pub(super) fn clip(&mut self, norm: &Deferred, max_norm: f64) {
        let factor = match norm {
            Deferred::Known(norm) => return self.scale(max_norm / (norm + 1e-6)),
            Deferred::Pending(norm) => (norm.clone() + 1e-6).recip() * max_norm,
        };
        let factor = factor.clamp_max(1.0).try_into_primitive::<LibTorch>().expect("a norm of libtorch's");
        lists::scale(&self.own(), &factor.tensor.squeeze());
    }

    fn scale(&mut self, factor: f64) {
        let Some(first) = self.0.first() else { return };
        let factor = Raw::full([] as [i64; 0], factor, (Kind::Float, first.tensor.device()));
        lists::scale(&self.own(), &factor);
    }

    pub(super) fn add(&mut self, others: &Self) {
        lists::add(&self.own(), &others.raw());
    }

    pub(super) fn follow(&mut self, others: &Self, keep: f64) {
        lists::lerp(&self.own(), &others.raw(), 1.0 - keep);
    }

    pub(super) fn adamw(
        &mut self,
        update: &AdamWUpdate,
        gradients: &Self,
        [first, second]: [&mut Self; 2],
        clock: &Clock,
    ) {
        let AdamWUpdate { config, lr, weight_decay } = *update;
        let step = AdamWStep { lr, betas: config.betas, weight_decay, eps: config.eps };
        let moments = [&first.own()[..], &second.own()[..]];
        let Number(steps) = clock.on_device().expect("a clock that has counted these weights' update");
        lists::adamw(step, &self.own(), &gradients.raw(), moments, steps);
    }
}

/// The number of a tensor `[1]`, left on its device.
fn pending(number: Raw) -> Deferred {
    Deferred::Pending(Tensor::from_primitive::<LibTorch>(TchTensor::new(number)))
}

/// A number on the device of some tensors.
#[derive(Debug)]
pub(super) struct Number(Raw);

impl Number {
    /// None where there are no tensors.
    pub(super) fn beside(tensors: &List, value: i64) -> Option<Self> {
        let device = tensors.0.first()?.tensor.device();
        Some(Self(Raw::full([] as [i64; 0], value as f64, (Kind::Float, device))))
    }

    pub(super) fn add_one(&mut self) {
        let _ = self.0.g_add_scalar_(1);
    }
}

/// Weights in the numbers that heavy operations compute in, where those are not f32.
#[derive(Debug)]
pub(crate) struct Copies(Option<host::libtorch::copies::Copies>);

impl Copies {
    pub(crate) fn new(precision: Precision) -> Self {
        Self((precision == Precision::Bf16).then(Default::default))
    }

    /// Casts weights that were just updated.
    pub(crate) fn refresh(&self, lists: Lists, weights: &[DispatchTensor]) {
        if let (Some(copies), Lists::Aten) = (&self.0, lists) {
            let weights = List::new(weights.to_vec());
            copies.refresh(&weights.raw(), Kind::BFloat16);
        }
    }
}
