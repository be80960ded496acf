// What tch does not bind of ATen: backward passes, and memory of ours as a tensor.
//
// Tensors are passed as tch passes them, as pointers to at::Tensor. Every function returns null, or a
// message that the caller frees.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "guarded.h"

using at::Tensor;

namespace {

void give(Tensor **out, std::tuple<Tensor, Tensor, Tensor> result) {
    out[0] = new Tensor(std::get<0>(result));
    out[1] = new Tensor(std::get<1>(result));
    out[2] = new Tensor(std::get<2>(result));
}

} // namespace

extern "C" {

// Gradients of input, weight and bias of a LayerNorm over the last dimension.
char *host_layer_norm_backward(Tensor **out, const Tensor *dy, const Tensor *x, const Tensor *mean,
                               const Tensor *rstd, const Tensor *weight, const Tensor *bias) {
    return guarded([&] {
        std::array<int64_t, 1> shape{x->size(-1)};
        give(out, at::native_layer_norm_backward(*dy, *x, shape, *mean, *rstd, *weight, *bias,
                                                 {true, true, true}));
    });
}

// Gradients of input (if wanted), weight and bias of a square convolution.
char *host_convolution_backward(Tensor **out, const Tensor *dy, const Tensor *x, const Tensor *weight,
                                int64_t stride, int64_t padding, int64_t groups, bool wants_dx) {
    return guarded([&] {
        std::array<int64_t, 1> bias{weight->size(0)};
        std::array<int64_t, 2> strides{stride, stride}, paddings{padding, padding}, ones{1, 1}, none{0, 0};
        give(out, at::convolution_backward(*dy, *x, *weight, at::OptionalIntArrayRef(bias), strides,
                                           paddings, ones, false, none, groups, {wants_dx, true, true}));
    });
}

// f32 values that stay where they are; `free(owner)` is called with the last tensor that shares them.
char *host_from_values(Tensor **out, float *values, const int64_t *sizes, size_t dims, void *owner,
                       void (*free)(void *)) {
    return guarded([&] {
        auto release = [owner, free](void *) { free(owner); };
        *out = new Tensor(at::from_blob(values, at::IntArrayRef(sizes, dims), release, at::kFloat));
    });
}

void host_free_message(char *message) { std::free(message); }
}
