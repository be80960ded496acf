// Numbers that are read from a device some time after they were computed there.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "guarded.h"

using at::Tensor;

namespace {

struct Later {
    Tensor numbers;
    c10::Event done;
};

} // namespace

extern "C" {

// Begins a copy of a tensor on a GPU to page-locked memory, behind what that GPU has been asked for so far.
char *host_later_begin(void **out, const Tensor *tensor) {
    return guarded([&] {
        auto options = at::TensorOptions().dtype(tensor->scalar_type()).pinned_memory(true);
        Tensor numbers = at::empty(tensor->sizes(), options);
        numbers.copy_(*tensor, /*non_blocking=*/true);
        c10::impl::VirtualGuardImpl gpu(tensor->device().type());
        c10::Event done(tensor->device().type());
        done.record(gpu.getStream(tensor->device()));
        *out = new Later{std::move(numbers), std::move(done)};
    });
}

// Waits for the copy and gives it away.
char *host_later_end(Tensor **out, void *later) {
    return guarded([&] {
        auto *held = static_cast<Later *>(later);
        held->done.synchronize();
        *out = new Tensor(held->numbers);
    });
}

void host_later_free(void *later) { delete static_cast<Later *>(later); }
}
