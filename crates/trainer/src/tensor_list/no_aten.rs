//! Stands in for libtorch's lists in builds without it, where there is none.

use burn::tensor::DispatchTensor;
use host::{Lists, Precision};

use super::TensorList;
use super::clock::Clock;
use crate::adamw::AdamWUpdate;
use crate::deferred::Deferred;

/// A list of libtorch, of which there is none.
#[derive(Debug, Clone)]
pub(crate) enum List {}

pub(super) fn list(_tensors: Vec<DispatchTensor>) -> TensorList {
    unreachable!("this build has no device of libtorch")
}

pub(super) fn address(_tensor: &DispatchTensor) -> usize {
    unreachable!("this build has no device of libtorch")
}

impl List {
    pub(super) fn into_tensors(self) -> Vec<DispatchTensor> {
        match self {}
    }

    pub(super) fn zeros_like(&self) -> TensorList {
        match *self {}
    }

    pub(super) fn squares(&self) -> Vec<Deferred> {
        match *self {}
    }

    pub(super) fn norm(&self) -> Deferred {
        match *self {}
    }

    pub(super) fn clip(&mut self, _norm: &Deferred, _max_norm: f64) {
        match *self {}
    }

    pub(super) fn add(&mut self, _others: &Self) {
        match *self {}
    }

    pub(super) fn follow(&mut self, _others: &Self, _keep: f64) {
        match *self {}
    }

    pub(super) fn adamw(&mut self, _: &AdamWUpdate, _: &Self, _: [&mut Self; 2], _: &Clock) {
        match *self {}
    }
}

/// A number on a device of libtorch, of which there is none.
#[derive(Debug)]
pub(super) enum Number {}

impl Number {
    pub(super) fn beside(_tensors: &List, _value: i64) -> Option<Self> {
        None
    }

    pub(super) fn add_one(&mut self) {
        match *self {}
    }
}

/// Copies of weights on devices of libtorch.
#[derive(Debug)]
pub(crate) struct Copies;

impl Copies {
    pub(crate) fn new(_precision: Precision) -> Self {
        Self
    }

    pub(crate) fn refresh(&self, _lists: Lists, _weights: &[DispatchTensor]) {}
}
