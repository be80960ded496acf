//! Buffers of the kernels as the memory of tensors, in a process where nobody else takes any.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use burn::backend::Flex;
use burn::tensor::Tensor;
use host::HostBackend;
use kernels::buffer::Buffer;

fn buffer(len: usize) -> Buffer {
    let mut buffer = Buffer::take(len);
    buffer.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
    buffer
}

#[test]
fn tensors_compute_with_them_and_give_them_back() {
    const LEN: usize = 7_919;
    let values = buffer(LEN);
    let place = values.as_ptr();
    let tensor = Tensor::<1>::from_primitive::<Flex>(Flex::tensor(values, [LEN]));
    let doubled = (tensor.clone() * 2.0).into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(doubled, (0..LEN).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
    drop(tensor);
    assert_eq!(Buffer::take(LEN).as_ptr(), place, "the buffer comes back with the tensor");

    let mut written = Flex::tensor(buffer(3), [3]);
    let shared = written.clone();
    Flex::values_mut(&mut written)[1] = 9.0;
    assert_eq!(Flex::values(&written), [0.0, 9.0, 2.0]);
    assert_eq!(Flex::values(&shared), [0.0, 1.0, 2.0]);
    assert!(Flex::values(&Flex::tensor(Vec::new(), [0, 4])).is_empty());
    let values = Tensor::<1>::from_primitive::<Flex>(written).into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(values, [0.0, 9.0, 2.0]);
}
