//! A small module and a second process for the tests of this crate.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use distributed::{Bucket, Communicator, DistributedError, Pending};
use host::Lists;

#[derive(Module, Debug)]
pub(crate) struct Layer {
    w: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
pub(crate) struct Toy {
    a: Vec<Layer>,
    b: Param<Tensor<1>>,
}

/// All kinds of lists that this build has, and a device for each.
pub(crate) fn all_lists() -> Vec<(Lists, Device)> {
    let devices = host::processors();
    let aten = devices.get(1).cloned().map(|device| (Lists::Aten, device));
    devices.into_iter().map(|device| (Lists::Slices, device)).chain(aten).collect()
}

/// Official names of the toy are its paths behind a prefix.
pub(crate) fn name(path: &str) -> String {
    format!("toy.{path}")
}

impl Toy {
    pub(crate) fn new(offset: f32, device: &Device) -> Self {
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37 + offset).sin()).collect::<Vec<_>>();
        let layer = || Layer { w: Param::from_data(TensorData::new(values(9), [3, 3]), device) };
        Self { a: vec![layer(), layer()], b: Param::from_data(TensorData::new(values(3), [3]), device) }
    }

    pub(crate) fn weights(&self) -> [Tensor<2>; 2] {
        [0, 1].map(|layer: usize| self.a[layer].w.val().inner())
    }

    /// The same with a frozen bias.
    pub(crate) fn without_gradient_of_b(self) -> Self {
        Self { b: self.b.set_require_grad(false), ..self }
    }

    pub(crate) fn b_requires_grad(&self) -> bool {
        self.b.is_require_grad()
    }

    /// A loss that every parameter has a part in.
    pub(crate) fn loss(&self, input: f32) -> Tensor<1> {
        let device = self.b.device();
        let mut x = Tensor::<2>::full([2, 3], input, &device) + self.b.val().unsqueeze();
        for layer in &self.a {
            x = x.matmul(layer.w.val()).tanh();
        }
        (x + self.b.val().unsqueeze()).square().mean()
    }
}

/// One of two processes. It runs first and keeps what it says; [`Other::answer`] and
/// [`Other::follow`] give what the second one, which runs afterwards, works with.
#[derive(Default)]
pub(crate) struct Other {
    rank: usize,
    said: Mutex<VecDeque<Vec<u8>>>,
    /// What the first one said, for the second one.
    heard: Option<Mutex<VecDeque<Vec<u8>>>>,
}

impl Other {
    /// The first one, as this rank.
    pub(crate) fn of_rank(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }

    /// Rank 0, when the first one was rank 1.
    pub(crate) fn answer(self) -> Self {
        Self { rank: 0, said: Mutex::default(), heard: Some(self.said) }
    }

    /// Rank 1, when the first one was rank 0.
    pub(crate) fn follow(self) -> Self {
        Self { rank: 1, said: Mutex::default(), heard: Some(self.said) }
    }

    /// Says something and hears the other's, which is silence for the first one.
    fn exchange(&self, bytes: Vec<u8>) -> Result<Option<Vec<u8>>, DistributedError> {
        self.said.lock().unwrap().push_back(bytes);
        let Some(heard) = &self.heard else { return Ok(None) };
        heard.lock().unwrap().pop_front().map(Some).ok_or(DistributedError::Disagreement)
    }
}

struct Sum(Bucket);

impl Pending for Sum {
    fn wait(self: Box<Self>) -> Result<Bucket, DistributedError> {
        Ok(self.0)
    }
}

fn to_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

impl Communicator for Other {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        2
    }

    fn all_reduce_sum(&self, bucket: Bucket) -> Result<Box<dyn Pending>, DistributedError> {
        #[allow(irrefutable_let_patterns, reason = "without libtorch there is no other")]
        let Bucket::Host(mut numbers) = bucket else { return Err(DistributedError::Disagreement) };
        if let Some(others) = self.exchange(to_bytes(&numbers))? {
            let others = others.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number));
            numbers.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
        Ok(Box::new(Sum(Bucket::Host(numbers))))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), DistributedError> {
        match self.exchange(bytes.to_vec())? {
            Some(said) if self.rank == 1 => bytes.copy_from_slice(&said),
            _ => {}
        }
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let own = bytes.to_vec();
        Ok(match self.exchange(own.clone())? {
            Some(other) => vec![own, other],
            None => vec![own.clone(), own],
        })
    }

    fn fail(&self, _reason: &str) {}
}

/// Processes as threads: what all have said is given to all.
pub(crate) struct Threads {
    rank: usize,
    table: Arc<(Mutex<Table>, Condvar)>,
}

#[derive(Default)]
struct Table {
    /// What has been said in the present round, by rank.
    said: [Option<Vec<u8>>; 2],
    /// What was said in the round before, and how many have yet to hear it.
    heard: Vec<Vec<u8>>,
    to_hear: usize,
}

impl Threads {
    pub(crate) fn two() -> [Self; 2] {
        let table: Arc<(Mutex<Table>, Condvar)> = Arc::default();
        [0, 1].map(|rank| Self { rank, table: Arc::clone(&table) })
    }

    fn exchange(&self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let (table, changed) = &*self.table;
        let mut table = changed.wait_while(table.lock().unwrap(), |table| table.to_hear > 0).unwrap();
        table.said[self.rank] = Some(bytes);
        if table.said.iter().all(Option::is_some) {
            table.heard = table.said.iter_mut().filter_map(Option::take).collect();
            table.to_hear = 2;
            changed.notify_all();
        }
        let mut table = changed.wait_while(table, |table| table.to_hear == 0).unwrap();
        table.to_hear -= 1;
        let heard = table.heard.clone();
        changed.notify_all();
        heard
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        2
    }

    fn all_reduce_sum(&self, bucket: Bucket) -> Result<Box<dyn Pending>, DistributedError> {
        let numbers = match &bucket {
            Bucket::Host(numbers) => numbers.clone(),
            #[cfg(feature = "tch")]
            Bucket::Tensor(tensor) => Vec::try_from(tensor.to_kind(tch::Kind::Float)).unwrap(),
        };
        let mut sum = vec![0.0; numbers.len()];
        for said in self.exchange(to_bytes(&numbers)) {
            let said = said.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number));
            sum.iter_mut().zip(said).for_each(|(sum, number)| *sum += number);
        }
        Ok(Box::new(Sum(match bucket {
            Bucket::Host(_) => Bucket::Host(sum),
            #[cfg(feature = "tch")]
            Bucket::Tensor(own) => Bucket::Tensor(tch::Tensor::from_slice(&sum).to_kind(own.kind())),
        })))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), DistributedError> {
        let leader = &self.exchange(bytes.to_vec())[0];
        bytes.copy_from_slice(leader);
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        Ok(self.exchange(bytes.to_vec()))
    }

    fn fail(&self, _reason: &str) {}
}
