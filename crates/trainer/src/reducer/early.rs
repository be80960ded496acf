//! Gradients that are heard of while the backward pass goes on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn::backend::TensorMetadata;
use burn::backend::autodiff::NodeId;
use burn::module::ParamId;
use burn::tensor::DispatchTensor;
use distributed::{Bucket, Communicator, DistributedError, Pending};
use host::{Lists, Precision};

use super::{Reducer, Sizes, Tail, Told, tensors, vectors};
use crate::gradients::Gradients;
use crate::tensor_list::{TensorList, address};

/// Buckets of an update: some left during its backward pass, the others leave behind it.
pub(super) struct Early {
    world: Arc<dyn Communicator>,
    lists: Lists,
    precision: Precision,
    sizes: Sizes,
    /// Places of parameters, by the nodes of their tensors.
    nodes: HashMap<NodeId, usize>,
    /// Places of the gradients of the losses before this one, and those gradients.
    earlier: HashMap<usize, DispatchTensor>,
    /// Buckets that are to leave as soon as they are full, one after the other.
    buckets: Vec<Vec<usize>>,
    /// Gradients that were heard of, by place. While they are held, nothing is added where they lie.
    held: HashMap<usize, DispatchTensor>,
    /// What was heard of, in its order.
    heard: Vec<Heard>,
    sent: Vec<Sent>,
    failed: Option<DistributedError>,
}

/// A gradient that was heard of.
#[derive(Debug, Clone, Copy)]
struct Heard {
    place: usize,
    numbers: usize,
    /// Where it lies. Of a parameter that is used again, the sum of its gradients lies elsewhere.
    address: usize,
}

/// A bucket under way.
struct Sent {
    places: Vec<usize>,
    sums: Box<dyn Pending>,
    /// Gradients that had been heard of when it left.
    #[cfg(test)]
    after: usize,
    /// Whether loss and wishes are behind its gradients.
    has_tail: bool,
}

impl Early {
    pub(super) fn new(
        reducer: &Reducer,
        lists: Lists,
        nodes: HashMap<NodeId, usize>,
        places: &HashMap<ParamId, usize>,
        earlier: Option<Gradients>,
    ) -> Self {
        let earlier = earlier.map(Gradients::into_parts).map_or_else(HashMap::new, |(ids, list)| {
            ids.iter().map(|id| places[id]).zip(list.into_tensors()).collect()
        });
        Self {
            world: Arc::clone(&reducer.world),
            lists,
            precision: reducer.precision,
            sizes: reducer.sizes,
            nodes,
            earlier,
            buckets: reducer.buckets.clone().unwrap_or_default(),
            held: HashMap::new(),
            heard: Vec::new(),
            sent: Vec::new(),
            failed: None,
        }
    }

    /// Place and size of what is complete when it is heard of, in the order of hearing. `addresses` are those of
    /// the gradients, by place, when the backward pass has ended.
    pub(super) fn complete(&self, addresses: &HashMap<usize, usize>) -> Vec<(usize, usize)> {
        let times = |place| self.heard.iter().filter(|heard| heard.place == place).count();
        let complete =
            |heard: &&Heard| addresses.get(&heard.place) == Some(&heard.address) && times(heard.place) == 1;
        self.heard.iter().filter(complete).map(|heard| (heard.place, heard.numbers)).collect()
    }

    /// Checks that what left early was complete.
    fn require_complete(&self, addresses: &HashMap<usize, usize>) -> Result<(), DistributedError> {
        let gone: HashSet<usize> = self.gone().collect();
        let complete = |heard: &Heard| addresses.get(&heard.place) == Some(&heard.address);
        match self.heard.iter().filter(|heard| gone.contains(&heard.place)).all(complete) {
            true => Ok(()),
            false => Err(DistributedError::Incomplete),
        }
    }

    /// Places of the gradients that have left.
    fn gone(&self) -> impl Iterator<Item = usize> {
        self.sent.iter().flat_map(|sent| sent.places.iter().copied())
    }

    #[cfg(test)]
    pub(super) fn overlap(&self) -> Option<(usize, usize)> {
        self.sent.first().map(|sent| (sent.after, self.heard.len()))
    }

    /// Takes note of a gradient that was just written, and sends the buckets that it makes full.
    pub(super) fn hear(&mut self, node: NodeId, gradient: DispatchTensor) {
        let Some(place) = self.nodes.get(&node).copied() else { return };
        let address = address(self.lists, &gradient);
        self.heard.push(Heard { place, numbers: numbers(&gradient), address });
        self.held.insert(place, gradient);
        while let Some(places) = self.buckets.get(self.sent.len()).cloned() {
            if self.failed.is_some() || !places.iter().all(|place| self.held.contains_key(place)) {
                return;
            }
            let gradients = places.iter().map(|place| self.held[place].clone()).collect();
            if let Err(error) = self.send(places, gradients, None) {
                self.failed = Some(error);
            }
        }
    }

    /// Sends gradients, with those of earlier losses, and the tail behind the last ones.
    fn send(
        &mut self,
        places: Vec<usize>,
        gradients: Vec<DispatchTensor>,
        tail: Option<&Tail>,
    ) -> Result<(), DistributedError> {
        let list = self.with_earlier(&places, TensorList::new(self.lists, gradients));
        let bucket = match &list {
            TensorList::Slices(gradients) => vectors::pack(gradients, tail),
            TensorList::Aten(gradients) => tensors::pack(gradients, self.precision, tail),
        };
        let sums = self.world.all_reduce_sum(bucket)?;
        self.sent.push(Sent {
            places,
            sums,
            #[cfg(test)]
            after: self.heard.len(),
            has_tail: tail.is_some(),
        });
        Ok(())
    }

    fn with_earlier(&mut self, places: &[usize], mut list: TensorList) -> TensorList {
        if !self.earlier.is_empty() {
            let earlier = places.iter().filter_map(|place| self.earlier.remove(place)).collect();
            list.add(&TensorList::new(self.lists, earlier));
        }
        list
    }

    /// Sends what has not left, with the tail, and waits for everything. `gradients` are those of all places.
    pub(super) fn finish(
        &mut self,
        gradients: TensorList,
        places: &[usize],
        addresses: &HashMap<usize, usize>,
        tail: &Tail,
    ) -> Result<(TensorList, Told), DistributedError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.require_complete(addresses)?;
        // Gradients that somebody else holds could not be written where they lie.
        self.held.clear();
        let mut gradients: HashMap<usize, DispatchTensor> =
            places.iter().copied().zip(gradients.into_tensors()).collect();
        let mut left = self.left(places, &gradients).into_iter().peekable();
        while let Some(bucket) = left.next() {
            let tensors = bucket.iter().map(|place| gradients[place].clone()).collect();
            self.send(bucket, tensors, left.peek().is_none().then_some(tail))?;
        }
        let (share, mut told) = (1.0 / self.world.world_size() as f64, None);
        for Sent { places, sums, has_tail, .. } in self.sent.drain(..) {
            let own = places.iter().filter_map(|place| gradients.remove(place)).collect();
            let (means, tail) = match sums.wait()? {
                Bucket::Host(sums) => vectors::unpack(&sums, own, share, has_tail),
                #[cfg(feature = "tch")]
                Bucket::Tensor(sums) => tensors::unpack(&sums, own, share, has_tail),
            };
            gradients.extend(places.into_iter().zip(means));
            told = told.or(tail);
        }
        let means = places.iter().filter_map(|place| gradients.remove(place)).collect();
        Ok((TensorList::new(self.lists, means), told.ok_or(DistributedError::Disagreement)?))
    }

    /// Buckets of what has not left, in the order of the network; the last one, with room for the tail, may
    /// hold no gradient.
    fn left(&self, places: &[usize], gradients: &HashMap<usize, DispatchTensor>) -> Vec<Vec<usize>> {
        let gone: HashSet<usize> = self.gone().collect();
        let left = places.iter().filter(|place| !gone.contains(place));
        let mut buckets = in_buckets(left.map(|place| (*place, numbers(&gradients[place]))), self.sizes);
        // Loss and wishes keep their precision.
        if buckets.is_empty() || (self.lists, self.precision) == (Lists::Aten, Precision::Bf16) {
            buckets.push(Vec::new());
        }
        buckets
    }
}

/// Numbers of a gradient.
fn numbers(gradient: &DispatchTensor) -> usize {
    gradient.shape().num_elements()
}

/// Places in buckets that hold so many numbers, unless a single place has more.
pub(super) fn in_buckets(places: impl Iterator<Item = (usize, usize)>, sizes: Sizes) -> Vec<Vec<usize>> {
    let (mut buckets, mut filled): (Vec<Vec<usize>>, _) = (Vec::new(), 0);
    for (place, numbers) in places {
        let most = if buckets.len() == 1 { sizes.first } else { sizes.others };
        match buckets.last_mut() {
            Some(bucket) if filled + numbers <= most => {
                bucket.push(place);
                filled += numbers;
            }
            _ => {
                buckets.push(vec![place]);
                filled = numbers;
            }
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_places_in_order() {
        let of =
            |first, others| in_buckets([3, 2, 9, 1, 1, 4].into_iter().enumerate(), Sizes { first, others });
        assert_eq!(of(5, 5), [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
        assert_eq!(of(3, 12), [vec![0], vec![1, 2, 3], vec![4, 5]]);
        assert_eq!(of(1, 1), [[0], [1], [2], [3], [4], [5]]);
        assert_eq!(of(100, 100), [[0, 1, 2, 3, 4, 5]]);
        assert!(in_buckets(std::iter::empty(), Sizes { first: 5, others: 5 }).is_empty());
    }
}
