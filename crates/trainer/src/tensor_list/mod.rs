//! Many tensors at once: all gradients, weights, moments or averages of a network.
//!
//! On the host our loops go over their memory; elsewhere ATen's operations on lists take one call for all of
//! them, where a call for each would keep a GPU waiting for the processor.

#[cfg_attr(not(feature = "tch"), path = "no_aten.rs")]
mod aten;
mod clock;
mod slices;
mod taken;

use burn::tensor::DispatchTensor;
use host::{HostTensor, Lists};

use crate::adamw::AdamWUpdate;
use crate::deferred::Deferred;
pub(crate) use aten::{Copies, List};
pub(crate) use clock::Clock;
pub(crate) use taken::{Taken, give, take};

/// Tensors of one device, without autodiff, contiguous, without their numbers of dimensions in the type.
#[derive(Debug, Clone)]
pub(crate) enum TensorList {
    /// For our loops.
    Slices(Vec<HostTensor>),
    /// For ATen's operations.
    #[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "there is none without libtorch"))]
    Aten(aten::List),
}

/// What cannot be: all lists of an update are made for the same operations.
fn mixed() -> ! {
    unreachable!("lists for different operations")
}

/// Where the values of a tensor lie.
///
/// # Panics
/// As [`TensorList::new`].
pub(crate) fn address(lists: Lists, tensor: &DispatchTensor) -> usize {
    match lists {
        Lists::Slices => {
            let tensor = HostTensor::from_dispatch(tensor.clone()).expect("a tensor on the host");
            tensor.values().as_ptr() as usize
        }
        Lists::Aten => aten::address(tensor),
    }
}

impl TensorList {
    /// A list of tensors, in f32; what is not contiguous is copied.
    ///
    /// # Panics
    /// Tensors of a device that `lists` does not compute on.
    pub(crate) fn new(lists: Lists, tensors: Vec<DispatchTensor>) -> Self {
        match lists {
            Lists::Slices => {
                let on_host = |tensor| HostTensor::from_dispatch(tensor).expect("a tensor on the host");
                Self::Slices(tensors.into_iter().map(on_host).collect())
            }
            Lists::Aten => aten::list(tensors),
        }
    }

    /// What computes on it.
    pub(crate) fn lists(&self) -> Lists {
        match self {
            Self::Slices(_) => Lists::Slices,
            Self::Aten(_) => Lists::Aten,
        }
    }

    /// The tensors themselves.
    pub(crate) fn into_tensors(self) -> Vec<DispatchTensor> {
        match self {
            Self::Slices(tensors) => tensors.into_iter().map(HostTensor::into_dispatch).collect(),
            Self::Aten(tensors) => tensors.into_tensors(),
        }
    }

    /// Tensors of the same shapes, of zeros.
    pub(crate) fn zeros_like(&self) -> Self {
        match self {
            Self::Slices(tensors) => Self::Slices(tensors.iter().map(HostTensor::zeros_like).collect()),
            Self::Aten(tensors) => tensors.zeros_like(),
        }
    }

    /// Σ x² of each tensor.
    pub(crate) fn squares(&self) -> Vec<Deferred> {
        match self {
            Self::Slices(tensors) => {
                tensors.iter().map(slices::sum_of_squares).map(Deferred::Known).collect()
            }
            Self::Aten(tensors) => tensors.squares(),
        }
    }

    /// The L2 norm over all tensors.
    pub(crate) fn norm(&self) -> Deferred {
        match self {
            Self::Slices(tensors) => {
                Deferred::Known(tensors.iter().map(slices::sum_of_squares).sum::<f64>().sqrt())
            }
            Self::Aten(tensors) => tensors.norm(),
        }
    }

    /// Scales all tensors so that their norm, which is given, is at most `max_norm`, as PyTorch's
    /// `clip_grad_norm_`.
    pub(crate) fn clip(&mut self, norm: &Deferred, max_norm: f64) {
        match (self, norm) {
            (_, Deferred::Known(norm)) if max_norm >= norm + 1e-6 => {}
            (Self::Slices(tensors), norm) => slices::scale(tensors, (max_norm / (norm.read() + 1e-6)) as f32),
            (Self::Aten(tensors), norm) => tensors.clip(norm, max_norm),
        }
    }

    /// Adds other tensors of the same shapes.
    pub(crate) fn add(&mut self, others: &Self) {
        match (self, others) {
            (Self::Slices(tensors), Self::Slices(others)) => slices::add(tensors, others),
            (Self::Aten(tensors), Self::Aten(others)) => tensors.add(others),
            _ => mixed(),
        }
    }

    /// Keeps a share of each tensor, and takes the rest from another of the same shape.
    pub(crate) fn follow(&mut self, others: &Self, keep: f64) {
        match (self, others) {
            (Self::Slices(tensors), Self::Slices(others)) => slices::follow(tensors, others, keep),
            (Self::Aten(tensors), Self::Aten(others)) => tensors.follow(others, keep),
            _ => mixed(),
        }
    }

    /// One update of these weights by AdamW. `clock` counts it already.
    pub(crate) fn adamw(
        &mut self,
        update: &AdamWUpdate,
        gradients: &Self,
        moments: [&mut Self; 2],
        clock: &Clock,
    ) {
        match (self, gradients, moments) {
            (Self::Slices(weights), Self::Slices(gradients), [Self::Slices(first), Self::Slices(second)]) => {
                slices::adamw(&update.factors(clock.steps()), weights, gradients, [first, second]);
            }
            (Self::Aten(weights), Self::Aten(gradients), [Self::Aten(first), Self::Aten(second)]) => {
                weights.adamw(update, gradients, [first, second], clock);
            }
            _ => mixed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::all_lists;
    use burn::tensor::{Device, Tensor, TensorData};

    fn of(lists: Lists, device: &Device, tensors: &[&[f32]]) -> TensorList {
        let tensor = |values: &&[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len()]);
            // Transposed: such gradients come from linear layers.
            Tensor::<2>::from_data(data, device).transpose().into_dispatch()
        };
        TensorList::new(lists, tensors.iter().map(tensor).collect())
    }

    fn values(list: &TensorList) -> Vec<Vec<f32>> {
        let values = |tensor| Tensor::<2>::from_dispatch(tensor).into_data().try_into_vec().unwrap();
        list.clone().into_tensors().into_iter().map(values).collect()
    }

    #[test]
    fn every_kind_of_list_computes_the_same() {
        for (lists, device) in all_lists() {
            let of = |tensors: &[&[f32]]| of(lists, &device, tensors);
            let mut list = of(&[&[3.0, 4.0], &[12.0]]);
            assert_eq!(list.lists(), lists);
            assert_eq!(list.norm().read(), 13.0);
            assert_eq!(list.squares().iter().map(Deferred::read).collect::<Vec<_>>(), [25.0, 144.0]);
            let norm = list.norm();
            list.clip(&norm, 100.0);
            assert_eq!(values(&list), [vec![3.0, 4.0], vec![12.0]]);
            list.clip(&norm, 6.5);
            for (found, expected) in values(&list).concat().iter().zip([1.5, 2.0, 6.0]) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            let mut list = of(&[&[1.0, 2.0], &[4.0]]);
            list.add(&of(&[&[1.0, 0.0], &[-2.0]]));
            assert_eq!(values(&list), [vec![2.0, 2.0], vec![2.0]]);
            list.follow(&of(&[&[3.0, 2.0], &[0.0]]), 0.75);
            assert_eq!(values(&list), [vec![2.25, 2.0], vec![1.5]]);
            assert_eq!(values(&list.zeros_like()), [vec![0.0, 0.0], vec![0.0]]);
        }
    }

    #[test]
    fn a_list_does_not_write_what_others_hold() {
        for (lists, device) in all_lists() {
            let held = Tensor::<1>::ones([3], &device);
            let mut list = TensorList::new(lists, vec![held.clone().into_dispatch()]);
            list.add(&list.clone());
            assert_eq!(held.into_data().try_into_vec::<f32>().unwrap(), [1.0; 3]);
        }
    }
}
