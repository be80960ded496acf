//! Gradients averaged over the processes of a job.
//!
//! They travel in buckets. Fused operations tell of a weight's gradient when it is written, so a bucket is under
//! way as soon as its last gradient is there, while the backward pass goes on to earlier layers. Which
//! gradients are heard of, and when, is the same in every update and on every process: the first update finds
//! it out.

mod early;
#[cfg_attr(not(feature = "tch"), path = "no_tensors.rs")]
mod tensors;
mod vectors;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::autodiff::NodeId;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use distributed::{Communicator, DistributedError};
use host::{Lists, Precision, gradient};

use crate::deferred::Deferred;
use crate::gradients::Gradients;
use early::{Early, in_buckets};
use tensors::Later;

/// Numbers of the first bucket and of the others, unless a single gradient has more: 1 MB and 25 MB, as in
/// PyTorch. The first is to leave early.
const BUCKETS: Sizes = Sizes { first: (1 << 20) / size_of::<f32>(), others: (25 << 20) / size_of::<f32>() };

/// Numbers that buckets hold.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    first: usize,
    others: usize,
}

/// What a process tells the others with an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// It was asked to stop.
    pub(crate) stop: bool,
    /// It wants a checkpoint.
    pub(crate) save: bool,
}

/// Averages gradients over processes, from update to update.
pub(crate) struct Reducer {
    world: Arc<dyn Communicator>,
    /// Numbers in which gradients travel, where they travel from devices of libtorch.
    precision: Precision,
    sizes: Sizes,
    /// The trained parameters, by their places in the network, of which fused operations tell, in buckets; not
    /// known before the first update.
    buckets: Option<Vec<Vec<usize>>>,
    /// What the processes wished with the update before, on its way from the device.
    wished: Option<Later>,
    /// How many gradients had been heard of when the first bucket of the last update left, and how many were by
    /// the end of its backward pass.
    #[cfg(test)]
    overlap: Option<(usize, usize)>,
}

/// What travels behind the last gradients.
pub(crate) struct Tail {
    loss: Deferred,
    own: Wishes,
}

/// What came of it: the mean loss, and what any process wished.
#[allow(clippy::large_enum_variant, reason = "one an update")]
enum Told {
    /// Known at once.
    Now { loss: f64, wishes: Wishes },
    /// On its way from the device.
    #[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "there is none without libtorch"))]
    Later { loss: Deferred, wishes: Later },
}

/// The means over all processes of what each had; what any of them wished.
pub(crate) struct Agreed {
    pub(crate) gradients: Gradients,
    pub(crate) loss: Deferred,
    /// With this update, or with the one before where the answer comes from a device that computes.
    pub(crate) wishes: Wishes,
}

/// Gradients of which some are under way.
pub(crate) struct UnderWay {
    gradients: Gradients,
    places: HashMap<ParamId, usize>,
    early: Option<Arc<Mutex<Early>>>,
}

impl Reducer {
    pub(crate) fn new(world: Arc<dyn Communicator>, precision: Precision) -> Self {
        Self {
            world,
            precision,
            sizes: BUCKETS,
            buckets: None,
            wished: None,
            #[cfg(test)]
            overlap: None,
        }
    }

    /// The gradients of the last loss of an update, on their way as they are written. `earlier` are those of
    /// the losses before it.
    pub(crate) fn backward<M: Module>(
        &mut self,
        loss: Tensor<1>,
        model: &M,
        lists: Lists,
        earlier: Option<Gradients>,
    ) -> Result<UnderWay, DistributedError> {
        if self.world.is_alone() {
            let mut gradients = Gradients::of(loss, model, lists);
            if let Some(earlier) = earlier {
                gradients.add(&earlier);
            }
            return Ok(UnderWay { gradients, places: HashMap::new(), early: None });
        }
        let mut trained = Trained::default();
        model.visit(&mut trained);
        let Trained { nodes, places } = trained;
        let early = Arc::new(Mutex::new(Early::new(self, lists, nodes, &places, earlier)));
        let hears = Arc::clone(&early);
        let listener = Box::new(move |node, gradient| lock(&hears).hear(node, gradient));
        let gradients = gradient::listen(listener, || Gradients::of(loss, model, lists));
        Ok(UnderWay { gradients, places, early: Some(early) })
    }

    /// Waits for the means of gradients, losses and wishes.
    ///
    /// # Errors
    /// Another process that has ended.
    pub(crate) fn finish(
        &mut self,
        under_way: UnderWay,
        loss: Deferred,
        own: Wishes,
    ) -> Result<Agreed, DistributedError> {
        let UnderWay { gradients, places, early } = under_way;
        let Some(early) = early else { return Ok(Agreed { gradients, loss, wishes: own }) };
        let places: Vec<usize> = gradients.ids().iter().map(|id| places[id]).collect();
        let addresses = places.iter().copied().zip(gradients.addresses().iter().copied()).collect();
        let (ids, list) = gradients.into_parts();
        let mut early = lock(&early);
        if self.buckets.is_none() {
            self.buckets = Some(self.learn(&early.complete(&addresses))?);
        }
        #[cfg(test)]
        {
            self.overlap = early.overlap();
        }
        let (list, tail) = early.finish(list, &places, &addresses, &Tail { loss, own })?;
        let (loss, wishes) = match tail {
            Told::Now { loss, wishes } => (Deferred::Known(loss), wishes),
            Told::Later { loss, wishes } => {
                let before = self.wished.replace(wishes);
                (loss, before.map(Later::read).unwrap_or_default())
            }
        };
        Ok(Agreed { gradients: Gradients::replaced(ids, list), loss, wishes })
    }

    /// Divides what was heard of in the first update, and complete by then, into buckets.
    fn learn(&self, heard: &[(usize, usize)]) -> Result<Vec<Vec<usize>>, DistributedError> {
        let own: Vec<u8> = heard.iter().flat_map(|(place, _)| (*place as u64).to_le_bytes()).collect();
        match self.world.all_gather(&own)?.iter().all(|other| *other == own) {
            true => Ok(in_buckets(heard.iter().copied(), self.sizes)),
            false => Err(DistributedError::Disagreement),
        }
    }
}

/// Only the thread of the backward pass asks; a step may go from one thread to another in between.
fn lock(early: &Mutex<Early>) -> MutexGuard<'_, Early> {
    early.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parameters that are trained: their nodes and their places in the order of the network.
#[derive(Default)]
struct Trained {
    nodes: HashMap<NodeId, usize>,
    places: HashMap<ParamId, usize>,
}

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let place = self.places.len();
            self.places.insert(param.id, place);
            self.nodes.extend(gradient::node_of(&param.val()).map(|node| (node, place)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Threads, all_lists};
    use burn::tensor::{Device, TensorData};
    use checkpoint::StateDict;
    use model::{Compute, ConvNextV2Config, ConvNextV2ForImageClassification, Kernels};

    type Network = ConvNextV2ForImageClassification;
    /// Gradients, loss, wishes, and how early the first bucket left.
    type Update = (StateDict, f64, Wishes, Option<(usize, usize)>);

    fn network(lists: Lists, device: &Device) -> Network {
        let config = ConvNextV2Config {
            depths: vec![1, 1, 2, 1],
            hidden_sizes: vec![8, 8, 16, 16],
            num_labels: 3,
            ..ConvNextV2Config::default()
        };
        let kernels = if lists == Lists::Aten { Kernels::Aten } else { Kernels::Fused };
        Network::new(&config, 1, device).unwrap().with_compute(Compute::from(kernels))
    }

    /// A loss that differs from step to step and from batch to batch; the network may be used several times.
    fn loss(network: &Network, uses: usize, seed: usize, device: &Device) -> Tensor<1> {
        let losses = (0..uses).map(|use_| once(network, seed + 100 * use_, device));
        losses.reduce(|sum, loss| sum + loss).unwrap()
    }

    fn once(network: &Network, seed: usize, device: &Device) -> Tensor<1> {
        let values = (0..2 * 3 * 32 * 32).map(|i| ((i * (2 * seed + 3)) as f32 * 0.37).sin());
        let images = TensorData::new(values.collect::<Vec<_>>(), [2, 3, 32, 32]);
        network.forward(Tensor::from_data(images, device), None).square().mean()
    }

    fn name(path: &str) -> String {
        path.to_owned()
    }

    /// What two ranks come to in three updates of two batches each, and how early the first bucket left.
    fn reduced(
        lists: Lists,
        device: &Device,
        worlds: [Arc<dyn Communicator>; 2],
        precision: Precision,
        uses: usize,
    ) -> [Vec<Update>; 2] {
        let rank = |rank: usize, world: Arc<dyn Communicator>| {
            let device = device.clone().autodiff();
            let network = network(lists, &device);
            let mut reducer = Reducer::new(world, precision);
            reducer.sizes = Sizes { first: 300, others: 2000 };
            let mut update = |step: usize| {
                let earlier = Gradients::of(loss(&network, uses, 10 * step + rank, &device), &network, lists);
                let last = loss(&network, uses, 10 * step + 5 + rank, &device);
                let sum = Deferred::of(last.clone(), lists);
                let under_way = reducer.backward(last, &network, lists, Some(earlier)).unwrap();
                let own = Wishes { stop: step == 1 && rank == 1, save: rank == 0 };
                let Agreed { gradients, loss, wishes } = reducer.finish(under_way, sum, own).unwrap();
                (gradients.to_dict(&network, &name), loss.read(), wishes, reducer.overlap)
            };
            (0..3).map(&mut update).collect::<Vec<_>>()
        };
        let [first, second] = worlds;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| rank(1, second));
            [rank(0, first), other.join().unwrap()]
        })
    }

    /// The same by one process.
    fn expected(lists: Lists, device: &Device, step: usize, uses: usize) -> (StateDict, f64) {
        let device = device.clone().autodiff();
        let network = network(lists, &device);
        let of = |seed| Gradients::of(loss(&network, uses, seed, &device), &network, lists);
        let mut sum = of(10 * step);
        [1, 5, 6].into_iter().for_each(|seed| sum.add(&of(10 * step + seed)));
        let halves = sum.to_dict(&network, &name).into_iter().map(|(name, mut entry)| {
            entry.values.iter_mut().for_each(|value| *value *= 0.5);
            (name, entry)
        });
        let last = [5, 6]
            .map(|seed| f64::from(loss(&network, uses, 10 * step + seed, &device).into_scalar::<f32>()));
        (halves.collect(), (last[0] + last[1]) / 2.0)
    }

    fn assert_reduced(
        lists: Lists,
        device: &Device,
        worlds: [Arc<dyn Communicator>; 2],
        precision: Precision,
        uses: usize,
    ) {
        let tolerance = if precision == Precision::Bf16 { 2e-2 } else { 1e-5 };
        for rank in reduced(lists, device, worlds, precision, uses) {
            for (step, (found, loss, wishes, overlap)) in rank.into_iter().enumerate() {
                let (gradients, mean) = expected(lists, device, step, uses);
                assert_eq!(found.len(), gradients.len());
                for (name, entry) in gradients.iter() {
                    let most = entry.values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                    for (a, b) in found.get(name).unwrap().values.iter().zip(&entry.values) {
                        assert!((a - b).abs() <= tolerance * most, "{lists:?} step {step} {name}: {a} {b}");
                    }
                }
                assert!((loss - mean).abs() < 1e-6 * mean, "{loss} {mean}");
                // From a device that computes, wishes come an update later.
                let asked = if lists == Lists::Aten { step.checked_sub(1) } else { Some(step) };
                let told = asked.map_or(Wishes::default(), |step| Wishes { stop: step == 1, save: true });
                assert_eq!(wishes, told, "{lists:?} step {step}");
                // The first update finds out what there is to hear of.
                assert_eq!(overlap.is_some(), step > 0 && uses == 1, "{lists:?} step {step}");
                assert!(overlap.is_none_or(|(before, all)| before < all), "{step}: {overlap:?}");
            }
        }
    }

    #[test]
    fn buckets_leave_before_the_backward_pass_ends_and_change_no_result() {
        for (lists, device) in all_lists() {
            for uses in [1, 2] {
                let worlds = Threads::two().map(|world| Arc::new(world) as Arc<dyn Communicator>);
                assert_reduced(lists, &device, worlds, Precision::F32, uses);
            }
        }
    }

    /// Two ranks that libtorch's c10d connects.
    #[cfg(feature = "tch")]
    fn by_gloo() -> [Arc<dyn Communicator>; 2] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let connect = |rank| {
            let master = ("localhost".to_owned(), port);
            let single = distributed::Environment::single();
            let environment = distributed::Environment { rank, world_size: 2, master, ..single };
            distributed::connect(&environment, distributed::Gradients::OnHost).unwrap()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| connect(1));
            [connect(0), other.join().unwrap()]
        })
    }

    #[cfg(feature = "tch")]
    #[test]
    fn buckets_travel_by_gloo_and_in_bf16() {
        for (lists, device) in all_lists() {
            for precision in [Precision::F32, Precision::Bf16] {
                if (lists, precision) != (Lists::Slices, Precision::Bf16) {
                    assert_reduced(lists, &device, by_gloo(), precision, 1);
                }
            }
        }
    }

    #[test]
    fn one_process_waits_for_nobody() {
        let device = Device::flex();
        let network = network(Lists::Slices, &device.clone().autodiff());
        let loss = once(&network, 0, &device.autodiff());
        let sum = Deferred::of(loss.clone(), Lists::Slices);
        let mut reducer = Reducer::new(Arc::new(distributed::Single), Precision::F32);
        let under_way = reducer.backward(loss, &network, Lists::Slices, None).unwrap();
        let own = Wishes { stop: true, save: false };
        let agreed = reducer.finish(under_way, sum, own).unwrap();
        assert_eq!((agreed.wishes, reducer.overlap), (own, None));
        assert!(agreed.gradients.norm().read() > 0.0);
    }
}
