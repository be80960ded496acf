//! Processes connected by libtorch's c10d: a TCP store at rank 0, Gloo for the memory of the host,
//! NCCL for CUDA devices.

mod ffi;
mod liveness;

use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::communicator::{Bucket, Communicator, Pending};
use crate::environment::Environment;
use crate::error::DistributedError;
use ffi::{Group, Store, Work};
use liveness::Liveness;

/// One of several processes.
pub(crate) struct ProcessGroup(Arc<Inner>);

struct Inner {
    rank: usize,
    world_size: usize,
    /// None once this rank has failed.
    groups: Mutex<Option<Groups>>,
    liveness: Liveness,
}

struct Groups {
    gloo: Group,
    nccl: Option<Group>,
}

/// Whether this build has NCCL.
pub(crate) fn has_nccl() -> bool {
    Group::has_nccl()
}

impl ProcessGroup {
    /// Meets the other ranks at the master's address. `nccl`: sums buckets on CUDA devices as well.
    pub(crate) fn open(environment: &Environment, nccl: bool) -> Result<Self, DistributedError> {
        let Environment { rank, world_size, timeout, .. } = *environment;
        let deadline = Instant::now() + timeout;
        let store = loop {
            match meet(environment, deadline) {
                Ok(store) => break store,
                // The ranks of the attempt before may still be there.
                Err(_) if environment.restarts > 0 && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(error),
            }
        };
        let interface = std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default();
        let address = reachable_address(environment, &store)?;
        let place = [rank, world_size];
        let gloo =
            Group::gloo(&store, place, &address, &interface, timeout).map_err(DistributedError::Connect)?;
        let nccl = nccl.then(|| Group::nccl(&store, place, timeout));
        let nccl = nccl.transpose().map_err(DistributedError::Connect)?;
        let heartbeat = open_store(environment, false, deadline)?;
        let liveness = Liveness::start(store, heartbeat, environment);
        let groups = Mutex::new(Some(Groups { gloo, nccl }));
        Ok(Self(Arc::new(Inner { rank, world_size, groups, liveness })))
    }

    /// One collective from beginning to end.
    fn collective<T>(
        &self,
        start: impl FnOnce(&Groups) -> Result<Work<T>, String>,
    ) -> Result<T, DistributedError> {
        let work = self.0.start(start)?;
        self.0.outcome(work.wait())
    }
}

/// Opens the store and waits there for all ranks.
fn meet(environment: &Environment, deadline: Instant) -> Result<Store, DistributedError> {
    let serve = environment.rank == 0 && !environment.agent_listens;
    let store = open_store(environment, serve, deadline)?;
    let arrived = |rank| format!("arrived/{rank}");
    let lost = |reason| unreachable(environment, reason);
    store.set(&arrived(environment.rank), "yes").map_err(lost)?;
    for rank in 0..environment.world_size {
        let left = deadline.saturating_duration_since(Instant::now());
        if store.wait(&arrived(rank), left).is_err() {
            let mut missing = Vec::new();
            for rank in rank..environment.world_size {
                if store.get(&arrived(rank)).map_err(lost)?.is_none() {
                    missing.push(rank);
                }
            }
            if !missing.is_empty() {
                return Err(DistributedError::Missing {
                    missing,
                    address: address(environment),
                    seconds: environment.timeout.as_secs_f64(),
                    world_size: environment.world_size,
                });
            }
        }
    }
    Ok(store)
}

fn open_store(environment: &Environment, serve: bool, deadline: Instant) -> Result<Store, DistributedError> {
    let (host, port) = &environment.master;
    let left = deadline.saturating_duration_since(Instant::now());
    // Each attempt has keys of its own, in case one store serves them all.
    let prefix = format!("train-cli/{}", environment.restarts);
    Store::open(host, *port, serve, left, &prefix).map_err(|reason| match serve {
        true => DistributedError::Listen { address: address(environment), reason },
        false => unreachable(environment, reason),
    })
}

fn unreachable(environment: &Environment, reason: String) -> DistributedError {
    let seconds = environment.timeout.as_secs_f64();
    DistributedError::Unreachable { address: address(environment), seconds, reason }
}

fn address(environment: &Environment) -> String {
    let (host, port) = &environment.master;
    format!("{host}:{port}")
}

/// The address of this machine that the others can reach. That is the one it has towards the master, unless
/// the name of the master is that of this machine and leads back to it, as `/etc/hosts` often has it: then
/// the one towards a rank of another machine.
fn reachable_address(environment: &Environment, store: &Store) -> Result<String, DistributedError> {
    let (host, port) = &environment.master;
    let towards = |host: &str| source_address(host, *port);
    let own = towards(host).map_err(|error| {
        DistributedError::Connect(format!("no route to {}: {error}", address(environment)))
    })?;
    let lost = |reason| unreachable(environment, reason);
    let place = Place { machine: machine(), address: own };
    store.set(&format!("place/{}", environment.rank), &place.to_text()).map_err(lost)?;
    let mut others = Vec::new();
    for rank in (0..environment.world_size).filter(|rank| *rank != environment.rank) {
        let key = format!("place/{rank}");
        store.wait(&key, environment.timeout).map_err(lost)?;
        others.extend(store.get(&key).map_err(lost)?.as_deref().and_then(Place::parse));
    }
    place.reachable(&others, |address| towards(address).ok()).map(|address| address.to_string()).ok_or_else(|| {
        DistributedError::Connect(format!(
            "{host} leads rank {} back to its own machine ({}), and ranks of other machines cannot reach it there; \
             set MASTER_ADDR to an address, or correct /etc/hosts",
            environment.rank, place.address
        ))
    })
}

/// Where packets to an address come from. Nothing is sent: connecting a datagram socket only looks the route
/// up.
fn source_address(host: &str, port: u16) -> std::io::Result<IpAddr> {
    let route =
        |any: &str| UdpSocket::bind(any).and_then(|socket| socket.connect((host, port)).map(|()| socket));
    Ok(route("0.0.0.0:0").or_else(|_| route("[::]:0"))?.local_addr()?.ip())
}

/// What tells a machine, or a container with a network of its own, from others.
fn machine() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    format!("{} {}", read("hostname").trim(), read("random/boot_id").trim())
}

/// Where a rank is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    machine: String,
    address: IpAddr,
}

impl Place {
    fn to_text(&self) -> String {
        format!("{} {}", self.address, self.machine)
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, machine) = text.split_once(' ')?;
        Some(Self { machine: machine.to_owned(), address: address.parse().ok()? })
    }

    /// The address under which the others reach this place; none where there is none. `towards` gives the
    /// one that this machine has towards another.
    fn reachable(&self, others: &[Self], towards: impl Fn(&str) -> Option<IpAddr>) -> Option<IpAddr> {
        let elsewhere = || others.iter().filter(|other| other.machine != self.machine);
        if !self.address.is_loopback() || elsewhere().next().is_none() {
            return Some(self.address);
        }
        elsewhere()
            .filter(|other| !other.address.is_loopback())
            .filter_map(|other| towards(&other.address.to_string()))
            .find(|address| !address.is_loopback())
    }
}

impl Inner {
    fn start<T>(
        &self,
        start: impl FnOnce(&Groups) -> Result<Work<T>, String>,
    ) -> Result<Work<T>, DistributedError> {
        self.liveness.count();
        let started = {
            let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.as_ref().ok_or_else(|| "this rank has failed already".to_owned()).and_then(start)
        };
        self.outcome(started)
    }

    /// By NCCL, or through the memory of the host in a build without it.
    fn all_reduce_on_gpu(
        self: &Arc<Self>,
        tensor: tch::Tensor,
    ) -> Result<Box<dyn Pending>, DistributedError> {
        if !Group::has_nccl() {
            let host = tensor.to_device(tch::Device::Cpu);
            let work = self.start(|groups| groups.gloo.all_reduce_tensor(host))?;
            return Ok(Box::new(ByHost(Sum(work, Arc::clone(self), Bucket::Tensor), tensor)));
        }
        let work = self.start(|groups| {
            let nccl = groups.nccl.as_ref().ok_or("the tensor of a GPU in a job of processors")?;
            nccl.all_reduce_tensor(tensor)
        })?;
        Ok(Box::new(Sum(work, Arc::clone(self), Bucket::Tensor)))
    }

    /// Finds out whose fault a failure is.
    fn outcome<T>(&self, result: Result<T, String>) -> Result<T, DistributedError> {
        result.map_err(|reason| DistributedError::Lost(self.liveness.explain(&reason)))
    }
}

struct Sum<T>(Work<T>, Arc<Inner>, fn(T) -> Bucket);

impl<T: Send> Pending for Sum<T> {
    fn wait(self: Box<Self>) -> Result<Bucket, DistributedError> {
        let Self(work, inner, bucket) = *self;
        inner.outcome(work.wait()).map(bucket)
    }
}

/// The sums of a tensor on a GPU that are made on the host.
struct ByHost(Sum<tch::Tensor>, tch::Tensor);

impl Pending for ByHost {
    fn wait(self: Box<Self>) -> Result<Bucket, DistributedError> {
        let Self(sum, mut on_gpu) = *self;
        if let Bucket::Tensor(sum) = Box::new(sum).wait()? {
            on_gpu.copy_(&sum);
        }
        Ok(Bucket::Tensor(on_gpu))
    }
}

impl Communicator for ProcessGroup {
    fn rank(&self) -> usize {
        self.0.rank
    }

    fn world_size(&self) -> usize {
        self.0.world_size
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn all_reduce_sum(&self, bucket: Bucket) -> Result<Box<dyn Pending>, DistributedError> {
        let inner = &self.0;
        Ok(match bucket {
            Bucket::Host(numbers) => {
                let work = inner.start(|groups| groups.gloo.all_reduce(numbers))?;
                Box::new(Sum(work, Arc::clone(inner), Bucket::Host))
            }
            Bucket::Tensor(tensor) if tensor.device() == tch::Device::Cpu => {
                let work = inner.start(|groups| groups.gloo.all_reduce_tensor(tensor))?;
                Box::new(Sum(work, Arc::clone(inner), Bucket::Tensor))
            }
            Bucket::Tensor(tensor) => inner.all_reduce_on_gpu(tensor)?,
        })
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), DistributedError> {
        if !bytes.is_empty() {
            let said = self.collective(|groups| groups.gloo.broadcast(bytes.to_vec()))?;
            bytes.copy_from_slice(&said);
        }
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let gather = |bytes| self.collective(|groups| groups.gloo.all_gather(bytes)).map(|(_, all)| all);
        let lengths = gather((bytes.len() as u64).to_le_bytes().to_vec())?;
        let lengths: Vec<_> =
            lengths.as_chunks().0.iter().map(|length| u64::from_le_bytes(*length) as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest == 0 {
            return Ok(vec![Vec::new(); self.0.world_size]);
        }
        let mut padded = bytes.to_vec();
        padded.resize(longest, 0);
        let all = gather(padded)?;
        Ok(all.chunks(longest).zip(lengths).map(|(bytes, length)| bytes[..length].to_vec()).collect())
    }

    fn check(&self) -> Result<(), DistributedError> {
        let found = {
            let groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let nccl = groups.as_ref().and_then(|groups| groups.nccl.as_ref());
            nccl.map_or(Ok(()), Group::check)
        };
        self.0.outcome(found)
    }

    fn fail(&self, reason: &str) {
        self.0.liveness.confess(reason, || {
            // Its connections break, which the others notice.
            drop(self.0.groups.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_leads_back_is_not_told_to_other_machines() {
        let place = |machine: &str, address: &str| Place {
            machine: machine.to_owned(),
            address: address.parse().unwrap(),
        };
        let master = place("a 1", "127.0.0.1");
        assert_eq!(Place::parse(&master.to_text()), Some(master.clone()));
        let never = |_: &str| panic!("asked for a route");
        // Alone on its machine with all others: 127.0.1.1 is as good as any.
        assert_eq!(master.reachable(&[place("a 1", "127.0.0.1")], never), Some(master.address));
        let others = [place("a 1", "127.0.0.1"), place("b 2", "10.0.0.2")];
        let towards = |address: &str| (address == "10.0.0.2").then(|| "10.0.0.1".parse().unwrap());
        assert_eq!(master.reachable(&others, towards), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(others[1].reachable(std::slice::from_ref(&master), never), Some(others[1].address));
        // Every machine takes the name for itself.
        assert_eq!(master.reachable(&[place("b 2", "127.0.0.1")], never), None);
    }
    use std::net::TcpListener;

    /// A job of two ranks, each in its thread.
    fn pair<T: Send>(rank: impl Fn(&dyn Communicator) -> T + Sync) -> [T; 2] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let one = |number| {
            let environment = Environment {
                rank: number,
                world_size: 2,
                master: ("localhost".to_owned(), port),
                ..Environment::single()
            };
            rank(&ProcessGroup::open(&environment, false).unwrap())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| one(1));
            [one(0), other.join().unwrap()]
        })
    }

    #[test]
    fn ranks_exchange_what_differs_in_length() {
        let found = pair(|world| {
            let rank = world.rank();
            let text = world.broadcast_text(["the leader's", "another"][rank]).unwrap();
            let lists = world.all_gather(&vec![rank as u8; 3 * rank]).unwrap();
            let means = world.mean(&[rank as f64, 0.1]).unwrap();
            let sum = world.all_reduce_sum(Bucket::Host(vec![1.0; 2])).unwrap();
            let tensor = tch::Tensor::from_slice(&[0.25f32, rank as f32]);
            let tensor = world.all_reduce_sum(Bucket::Tensor(tensor.to_kind(tch::Kind::BFloat16))).unwrap();
            let Bucket::Tensor(tensor) = tensor.wait().unwrap() else { panic!("another bucket") };
            assert_eq!(tensor.kind(), tch::Kind::BFloat16);
            assert_eq!(Vec::<f32>::try_from(tensor.to_kind(tch::Kind::Float)).unwrap(), [0.5, 1.0]);
            world.check().unwrap();
            let sum = match sum.wait().unwrap() {
                Bucket::Host(sum) => sum,
                Bucket::Tensor(_) => Vec::new(),
            };
            world.barrier().unwrap();
            (text, lists, means, sum)
        });
        for (text, lists, means, sum) in found {
            assert_eq!(text, "the leader's");
            assert_eq!(lists, [vec![], vec![1; 3]]);
            assert_eq!(means, [0.5, 0.1]);
            assert_eq!(sum, [2.0, 2.0]);
        }
    }

    #[test]
    fn a_rank_that_fails_says_why() {
        for fails in [0, 1] {
            let found = pair(|world| {
                if world.rank() == fails {
                    world.fail("the disk is full");
                    return String::new();
                }
                world.barrier().unwrap_err().to_string()
            });
            assert_eq!(found[1 - fails], format!("rank {fails} ended: the disk is full"));
        }
    }
}
