// ATen's operations on lists of tensors: one call for all parameters of a network.
//
// As in aten.cpp, tensors are pointers to at::Tensor, and every function returns null, or a message that
// the caller frees.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <c10/core/TensorImpl.h>

#include "guarded.h"

using at::Tensor;

namespace {

std::vector<Tensor> list(Tensor *const *tensors, size_t count) {
    std::vector<Tensor> result;
    result.reserve(count);
    for (size_t i = 0; i < count; i++) result.push_back(*tensors[i]);
    return result;
}

} // namespace

extern "C" {

// One update of `count` tensors in place. `step` counts this update too.
char *host_list_adamw(Tensor *const *weights, Tensor *const *gradients, Tensor *const *first,
                      Tensor *const *second, size_t count, const Tensor *step, double lr, double beta_1,
                      double beta_2, double weight_decay, double eps) {
    return guarded([&] {
        std::vector<Tensor> steps(count, *step);
        at::_fused_adamw_(list(weights, count), list(gradients, count), list(first, count),
                          list(second, count), {}, steps, lr, beta_1, beta_2, weight_decay, eps, false,
                          false);
    });
}

// The L2 norm of each tensor, `[count]`.
char *host_list_norms(Tensor **out, Tensor *const *tensors, size_t count) {
    return guarded([&] { *out = new Tensor(at::stack(at::_foreach_norm(list(tensors, count), 2))); });
}

// Multiplies all tensors by one factor `[]`.
char *host_list_scale(Tensor *const *tensors, size_t count, const Tensor *factor) {
    return guarded([&] { at::_foreach_mul_(list(tensors, count), *factor); });
}

// Adds the tensors of another list.
char *host_list_add(Tensor *const *tensors, Tensor *const *others, size_t count) {
    return guarded([&] { at::_foreach_add_(list(tensors, count), list(others, count)); });
}

// Moves all tensors towards those of another list, by a share of the way.
char *host_list_lerp(Tensor *const *tensors, Tensor *const *others, size_t count, double share) {
    return guarded([&] { at::_foreach_lerp_(list(tensors, count), list(others, count), share); });
}

// The same values in f32, in tensors of the same shapes that share one memory and begin at multiples of 256
// bytes. They are made without the dispatcher: hundreds of views would cost more than the cast.
char *host_list_in_f32(Tensor **out, Tensor *const *tensors, size_t count) {
    return guarded([&] {
        constexpr int64_t ALIGNMENT = 256 / sizeof(float);
        int64_t length = 0;
        std::vector<int64_t> offsets;
        for (size_t i = 0; i < count; i++) {
            offsets.push_back(length);
            length += (tensors[i]->numel() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }
        Tensor memory = at::empty({length}, tensors[0]->options().dtype(at::kFloat));
        std::vector<Tensor> copies;
        for (size_t i = 0; i < count; i++) {
            auto view = c10::make_intrusive<c10::TensorImpl>(c10::Storage(memory.storage()), memory.key_set(),
                                                            memory.dtype());
            view->set_storage_offset(offsets[i]);
            view->set_sizes_contiguous(tensors[i]->sizes());
            copies.emplace_back(std::move(view));
        }
        at::_foreach_copy_(copies, list(tensors, count));
        for (size_t i = 0; i < count; i++) out[i] = new Tensor(copies[i]);
    });
}

// Gives the tensors the values of others, in kinds of their own.
char *host_list_copy(Tensor *const *tensors, Tensor *const *others, size_t count) {
    return guarded([&] { at::_foreach_copy_(list(tensors, count), list(others, count)); });
}
}
