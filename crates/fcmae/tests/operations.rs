//! How many operations a pretraining step asks of libtorch: on a GPU each is a launch or a view.

#![cfg(feature = "tch")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use burn::tensor::Tensor;
use fcmae::{Fcmae, FcmaeConfig, random_mask};
use host::Precision;
use host::libtorch::counter::count;
use model::{Compute, ConvNextV2Config, Execution, Kernels, Size};

/// Forward, loss and backward pass of Atto in compact execution.
#[test]
fn a_step_asks_for_few_operations() {
    let device = host::processors().remove(1).autodiff();
    let (config, model) = (FcmaeConfig::default(), ConvNextV2Config::from_size(Size::Atto));
    let mask = random_mask(&config.mask_shape(&model, [64, 64]).unwrap(), 0, 0, &[0, 1]).unwrap();
    // In bf16 some hundred more cast weights here, where no optimizer keeps copies of them.
    for (precision, most) in [(Precision::F32, 745), (Precision::Bf16, 1010)] {
        let compute = Compute { precision, ..Compute::from(Kernels::Aten) };
        let network = Fcmae::new(&config, &model, compute, 0, &device).unwrap();
        let images = Tensor::ones([2, 3, 64, 64], &device);
        let step = || network.loss(images.clone(), &mask, Execution::Compact, None).backward();
        drop(step());
        let (_, operations) = count(step);
        let found = operations.dispatched();
        assert!(found <= most, "{precision}: {found} operations, {:#?}", operations.by_name);
        if precision == Precision::F32 {
            // Three lists of patches; a GPU gets them from page-locked memory.
            assert!(operations.synchronising() <= 3, "{:#?}", operations.by_name);
        }
    }
}
