//! Operations that libtorch dispatches, counted: what a step asks of a GPU, on any device.

#![allow(unsafe_code, reason = "functions of C++")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::aten::check;
use crate::operations::Operations;

type Receive = extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize);

unsafe extern "C" {
    fn host_counter_start(to: Receive, whom: *mut c_void, handle: *mut u64) -> *mut c_char;
    fn host_counter_stop(handle: u64) -> *mut c_char;
}

thread_local! {
    /// Copies between this machine's memory and a device that this thread has asked for.
    static COPIES: Cell<u64> = const { Cell::new(0) };
}

/// Takes note of a copy to or from a device that nothing waits for. On a processor there is nothing to
/// copy; it counts all the same, so that what a GPU would do can be counted there.
pub(crate) fn copied() {
    COPIES.set(COPIES.get() + 1);
}

extern "C" fn receive(
    whom: *mut c_void,
    name: *const u8,
    name_length: usize,
    overload: *const u8,
    overload_length: usize,
) {
    // SAFETY: the map that `count` passes, which outlives the callback; names of these lengths.
    let (found, name, overload) = unsafe {
        let text = |start, length| String::from_utf8_lossy(std::slice::from_raw_parts(start, length));
        (&mut *whom.cast::<BTreeMap<String, u64>>(), text(name, name_length), text(overload, overload_length))
    };
    let dot = if overload.is_empty() { "" } else { "." };
    *found.entry(format!("{name}{dot}{overload}")).or_default() += 1;
}

/// Runs something on this thread and counts the operations that it asks of libtorch.
pub fn count<T>(run: impl FnOnce() -> T) -> (T, Operations) {
    let (mut found, mut handle, before) = (BTreeMap::<String, u64>::new(), 0, COPIES.get());
    // SAFETY: `found` lives until the callback is removed, below, however `run` ends.
    check(unsafe { host_counter_start(receive, (&raw mut found).cast(), &mut handle) });
    let result = catch_unwind(AssertUnwindSafe(run));
    // SAFETY: the handle of the callback above, removed once.
    check(unsafe { host_counter_stop(handle) });
    match result {
        Ok(result) => (result, Operations { by_name: found, copies: COPIES.get() - before }),
        Err(panic) => resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn outermost_operations_of_this_thread_are_counted_while_something_runs() {
        let x = Tensor::ones([2, 3], tch::kind::FLOAT_CPU);
        let other = || drop(Tensor::ones([2], tch::kind::FLOAT_CPU));
        let (sum, found) = count(|| {
            std::thread::spawn(other).join().unwrap();
            // One operation, which asks for others.
            (x.linear(&x, None::<&Tensor>) + 1.0).sum(Kind::Float)
        });
        assert_eq!(
            found.by_name.keys().map(String::as_str).collect::<Vec<_>>(),
            ["aten::add.Scalar", "aten::linear", "aten::sum"]
        );
        assert_eq!((found.dispatched(), found.synchronising(), found.copies), (3, 0, 0));
        let (value, found) = count(|| sum.double_value(&[]));
        assert_eq!((value, found.synchronising()), (16.0, 1));
        let (_, found) =
            count(|| (sum.to_dtype(Kind::BFloat16, false, false), sum.to_device(tch::Device::Cpu)));
        assert_eq!((found.dispatched(), found.synchronising()), (2, 1));
        let (_, found) = count(|| ());
        assert_eq!(found, Operations::default());
    }

    #[test]
    fn a_panic_ends_the_counting() {
        let failed = catch_unwind(|| count(|| panic!("on purpose")).0);
        assert!(failed.is_err());
        drop(Tensor::ones([2], tch::kind::FLOAT_CPU));
        let ((), found) = count(|| drop(Tensor::ones([2], tch::kind::FLOAT_CPU)));
        assert_eq!(found.dispatched(), 1);
    }
}
