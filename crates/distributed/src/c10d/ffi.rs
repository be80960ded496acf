//! The shim (`shim/shim.cpp`) behind safe types.
#![allow(unsafe_code, reason = "calls of C functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

/// What the shim allocates; only pointers to it exist here.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

type Message = *mut c_char;
type Receive = extern "C" fn(*mut c_void, *const u8, usize);

unsafe extern "C" {
    fn c10d_free(text: Message);
    fn c10d_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        timeout_ms: i64,
        prefix: *const c_char,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_store_close(store: *mut Opaque);
    fn c10d_store_set(store: *mut Opaque, key: *const c_char, value: *const u8, length: usize) -> Message;
    fn c10d_store_set_once(
        store: *mut Opaque,
        key: *const c_char,
        value: *const u8,
        length: usize,
        receive: Receive,
        receiver: *mut c_void,
    ) -> Message;
    fn c10d_store_get(
        store: *mut Opaque,
        key: *const c_char,
        receive: Receive,
        receiver: *mut c_void,
    ) -> Message;
    fn c10d_store_wait(store: *mut Opaque, key: *const c_char, timeout_ms: i64) -> Message;
    fn c10d_gloo_open(
        store: *mut Opaque,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        interface: *const c_char,
        timeout_ms: i64,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_has_nccl() -> bool;
    fn c10d_nccl_open(
        store: *mut Opaque,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_group_close(group: *mut Opaque);
    fn c10d_group_check(group: *mut Opaque) -> Message;
    fn c10d_all_reduce_f32(
        group: *mut Opaque,
        data: *mut f32,
        length: usize,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_all_reduce_tensor(group: *mut Opaque, tensor: *mut c_void, out: *mut *mut Opaque) -> Message;
    fn c10d_broadcast(
        group: *mut Opaque,
        data: *mut u8,
        length: usize,
        root: c_int,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_all_gather(
        group: *mut Opaque,
        data: *const u8,
        length: usize,
        received: *mut u8,
        out: *mut *mut Opaque,
    ) -> Message;
    fn c10d_wait(work: *mut Opaque) -> Message;
    fn c10d_work_free(work: *mut Opaque);
}

/// The message of a failed call, in one line.
fn check(message: Message) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns null or a string that ends with 0 and that is ours to give back.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        c10d_free(message);
        text
    };
    Err(text.lines().next().unwrap_or_default().to_owned())
}

fn handle(call: impl FnOnce(*mut *mut Opaque) -> Message) -> Result<NonNull<Opaque>, String> {
    let mut out = null_mut();
    check(call(&mut out))?;
    NonNull::new(out).ok_or_else(|| "the shim returned no object".to_owned())
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a zero byte"))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

extern "C" fn receive(receiver: *mut c_void, data: *const u8, length: usize) {
    if length > 0 {
        // SAFETY: `receiver` is the vector that `Store::get` or `Store::set_once` passes, alive during
        // the call; `data` has `length` bytes.
        unsafe {
            (*receiver.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(data, length));
        }
    }
}

/// A key-value store that all ranks see.
pub(super) struct Store(NonNull<Opaque>);

// SAFETY: TCPStore locks itself in every call.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects; `serve`: listens first.
    pub(super) fn open(
        host: &str,
        port: u16,
        serve: bool,
        timeout: Duration,
        prefix: &str,
    ) -> Result<Self, String> {
        let (host, prefix) = (c_string(host)?, c_string(prefix)?);
        // SAFETY: the strings live through the call.
        handle(|out| unsafe {
            c10d_store_open(host.as_ptr(), port, serve, milliseconds(timeout), prefix.as_ptr(), out)
        })
        .map(Self)
    }

    pub(super) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let key = c_string(key)?;
        // SAFETY: the store is open; key and value live through the call, which copies them.
        check(unsafe { c10d_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    /// Sets a key that nobody has set; returns what stands there afterwards.
    pub(super) fn set_once(&self, key: &str, value: &str) -> Result<String, String> {
        let key = c_string(key)?;
        let mut found = Vec::new();
        // SAFETY: as in `set`; `receive` gets the vector that it expects.
        check(unsafe {
            let receiver = (&raw mut found).cast();
            let value = value.as_bytes();
            c10d_store_set_once(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len(), receive, receiver)
        })?;
        Ok(String::from_utf8_lossy(&found).into_owned())
    }

    /// The value of a key that somebody has set.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, String> {
        let key = c_string(key)?;
        let mut found = Vec::new();
        // SAFETY: as in `set_once`.
        check(unsafe { c10d_store_get(self.0.as_ptr(), key.as_ptr(), receive, (&raw mut found).cast()) })?;
        Ok((!found.is_empty()).then(|| String::from_utf8_lossy(&found).into_owned()))
    }

    /// Waits until a key is set.
    pub(super) fn wait(&self, key: &str, timeout: Duration) -> Result<(), String> {
        let key = c_string(key)?;
        // SAFETY: the store is open, the key lives through the call.
        check(unsafe { c10d_store_wait(self.0.as_ptr(), key.as_ptr(), milliseconds(timeout)) })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by the shim, and not used again.
        unsafe { c10d_store_close(self.0.as_ptr()) }
    }
}

/// A process group.
pub(super) struct Group {
    group: NonNull<Opaque>,
    world_size: usize,
}

// SAFETY: any thread may call a process group, one at a time.
unsafe impl Send for Group {}

impl Group {
    /// `interface` is that of `address` if it is empty.
    pub(super) fn gloo(
        store: &Store,
        [rank, world_size]: [usize; 2],
        address: &str,
        interface: &str,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (address, interface) = (c_string(address)?, c_string(interface)?);
        // SAFETY: the store is open, the strings live through the call.
        let group = handle(|out| unsafe {
            c10d_gloo_open(
                store.0.as_ptr(),
                rank as c_int,
                world_size as c_int,
                address.as_ptr(),
                interface.as_ptr(),
                milliseconds(timeout),
                out,
            )
        })?;
        Ok(Self { group, world_size })
    }

    pub(super) fn has_nccl() -> bool {
        // SAFETY: returns a constant.
        unsafe { c10d_has_nccl() }
    }

    pub(super) fn nccl(
        store: &Store,
        [rank, world_size]: [usize; 2],
        timeout: Duration,
    ) -> Result<Self, String> {
        // SAFETY: the store is open.
        let group = handle(|out| unsafe {
            c10d_nccl_open(store.0.as_ptr(), rank as c_int, world_size as c_int, milliseconds(timeout), out)
        })?;
        Ok(Self { group, world_size })
    }

    /// Whether a collective that nobody waited for has failed; only NCCL's group has such.
    pub(super) fn check(&self) -> Result<(), String> {
        // SAFETY: the group is open.
        check(unsafe { c10d_group_check(self.group.as_ptr()) })
    }

    fn work<T>(&self, buffer: T, call: impl FnOnce(&mut T, *mut *mut Opaque) -> Message) -> Started<T> {
        let mut buffer = buffer;
        let work = handle(|out| call(&mut buffer, out))?;
        Ok(Work { work, buffer: Some(buffer) })
    }

    pub(super) fn all_reduce(&self, numbers: Vec<f32>) -> Started<Vec<f32>> {
        self.work(numbers, |numbers, out| {
            // SAFETY: the group is open. The work holds the vector, whose elements do not move, until
            // it is done.
            unsafe { c10d_all_reduce_f32(self.group.as_ptr(), numbers.as_mut_ptr(), numbers.len(), out) }
        })
    }

    pub(super) fn all_reduce_tensor(&self, tensor: tch::Tensor) -> Started<tch::Tensor> {
        self.work(tensor, |tensor, out| {
            // SAFETY: the group is open. A tch::Tensor's pointer is one to an at::Tensor, which the
            // shim copies, so that its memory stays.
            unsafe { c10d_all_reduce_tensor(self.group.as_ptr(), tensor.as_mut_ptr().cast(), out) }
        })
    }

    /// Gives all ranks the bytes of rank 0.
    pub(super) fn broadcast(&self, bytes: Vec<u8>) -> Started<Vec<u8>> {
        self.work(bytes, |bytes, out| {
            // SAFETY: as in `all_reduce`.
            unsafe { c10d_broadcast(self.group.as_ptr(), bytes.as_mut_ptr(), bytes.len(), 0, out) }
        })
    }

    /// The same number of bytes of every rank; they come second, one rank after another.
    pub(super) fn all_gather(&self, bytes: Vec<u8>) -> Started<(Vec<u8>, Vec<u8>)> {
        let received = vec![0; bytes.len() * self.world_size];
        self.work((bytes, received), |(bytes, received), out| {
            // SAFETY: as in `all_reduce`, for both vectors; the second is long enough.
            unsafe {
                c10d_all_gather(self.group.as_ptr(), bytes.as_ptr(), bytes.len(), received.as_mut_ptr(), out)
            }
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by the shim, and not used again.
        unsafe { c10d_group_close(self.group.as_ptr()) }
    }
}

type Started<T> = Result<Work<T>, String>;

/// A collective under way, and the memory it works on.
pub(super) struct Work<T> {
    work: NonNull<Opaque>,
    /// None once it was given back.
    buffer: Option<T>,
}

// SAFETY: c10d's work may be waited for from any thread.
unsafe impl<T: Send> Send for Work<T> {}

impl<T> Work<T> {
    /// Waits for the end, and gives the memory back. A GPU is only told to wait, which it does before anything
    /// that it is asked for next.
    pub(super) fn wait(mut self) -> Result<T, String> {
        self.finish()?;
        self.buffer.take().ok_or_else(|| "the memory was given back already".to_owned())
    }

    fn finish(&mut self) -> Result<(), String> {
        // SAFETY: made by the shim and not freed yet.
        check(unsafe { c10d_wait(self.work.as_ptr()) })
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        if self.buffer.is_some() {
            // Nobody wants the result, but the memory must outlive the work.
            let _ = self.finish();
        }
        // SAFETY: made by the shim, and not used again.
        unsafe { c10d_work_free(self.work.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A store that listens at a free port, and the port.
    fn serve() -> (Store, u16) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        (Store::open("127.0.0.1", port, true, TIMEOUT, "test").unwrap(), port)
    }

    #[test]
    fn a_store_keeps_values_and_exceptions_become_messages() {
        let (store, port) = serve();
        let client = Store::open("127.0.0.1", port, false, TIMEOUT, "test").unwrap();
        assert_eq!(client.get("a").unwrap(), None);
        store.set("a", "1").unwrap();
        client.wait("a", TIMEOUT).unwrap();
        assert_eq!(client.get("a").unwrap().as_deref(), Some("1"));
        assert_eq!(client.set_once("b", "first").unwrap(), "first");
        assert_eq!(store.set_once("b", "second").unwrap(), "first");
        assert!(!client.wait("c", Duration::from_millis(1)).unwrap_err().is_empty());
        let taken = Store::open("127.0.0.1", port, true, TIMEOUT, "test").err().unwrap();
        assert!(taken.contains("listen"), "{taken}");
        assert!(client.get("a\0").unwrap_err().contains("zero byte"));
    }

    /// One group of two ranks, each in its thread.
    fn pair<T: Send>(rank: impl Fn(usize, Group) -> T + Sync) -> [T; 2] {
        let (_server, port) = serve();
        let one = |number: usize| {
            let store = Store::open("127.0.0.1", port, false, TIMEOUT, "test").unwrap();
            rank(number, Group::gloo(&store, [number, 2], "127.0.0.1", "", TIMEOUT).unwrap())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| one(1));
            [one(0), other.join().unwrap()]
        })
    }

    #[test]
    fn two_ranks_add_broadcast_and_gather() {
        let found = pair(|rank, group| {
            // Two at a time; the second is dropped without being waited for.
            let sum = group.all_reduce(vec![rank as f32, 2.0, -0.5]).unwrap();
            drop(group.all_reduce(vec![1.0; 1000]).unwrap());
            let sum = sum.wait().unwrap();
            let said = group.broadcast(vec![7 + rank as u8; 3]).unwrap().wait().unwrap();
            let (_, all) = group.all_gather(vec![rank as u8, 9]).unwrap().wait().unwrap();
            let tensor = tch::Tensor::from_slice(&[0.25f32, rank as f32]);
            let tensor = group.all_reduce_tensor(tensor).unwrap().wait().unwrap();
            (sum, said, all, Vec::<f32>::try_from(tensor).unwrap())
        });
        for (sum, said, all, tensor) in found {
            assert_eq!(sum, [1.0, 4.0, -1.0]);
            assert_eq!(said, [7; 3]);
            assert_eq!(all, [0, 9, 1, 9]);
            assert_eq!(tensor, [0.5, 1.0]);
        }
    }

    #[test]
    fn a_rank_that_leaves_is_an_error_for_the_other() {
        let found = pair(|rank, group| (rank == 0).then(|| group.all_reduce(vec![1.0]).unwrap().wait()));
        assert!(found[0].as_ref().unwrap().is_err());
    }
}
