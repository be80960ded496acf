// Memory of this machine that a device reads, its upload in one piece, and views of that piece.
//
// Page-locked memory is asked of ATen's own allocator, which keeps it for the next tensor, and hands
// it out again only when the copies that were made of it are done.

#include <cstdint>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "guarded.h"

using at::Tensor;

namespace {

// A tensor over bytes of another's memory, made without the dispatcher.
Tensor view(const Tensor &bytes, at::ScalarType kind, int64_t offset, at::IntArrayRef sizes) {
    auto type = c10::scalarTypeToTypeMeta(kind);
    auto view = c10::make_intrusive<c10::TensorImpl>(c10::Storage(bytes.storage()), bytes.key_set(), type);
    view->set_storage_offset((bytes.storage_offset() + offset) / static_cast<int64_t>(type.itemsize()));
    view->set_sizes_contiguous(sizes);
    return Tensor(std::move(view));
}

} // namespace

extern "C" {

// So many bytes on the host, page-locked where a GPU is to read them, of which -1 is none.
char *host_staging(Tensor **out, int64_t bytes, int8_t gpu) {
    return guarded([&] {
        // Page-locking belongs to the GPU that a thread is at, which is the first one unless told.
        c10::OptionalDeviceGuard guard;
        if (gpu >= 0) guard.reset_device(c10::Device(c10::kCUDA, gpu));
        auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(gpu >= 0);
        *out = new Tensor(at::empty({bytes}, options));
    });
}

// Values of a kind within bytes, from an offset that its size divides.
char *host_view(Tensor **out, const Tensor *bytes, int8_t kind, int64_t offset, const int64_t *sizes,
                size_t dims) {
    return guarded([&] {
        auto shape = at::IntArrayRef(sizes, dims);
        *out = new Tensor(view(*bytes, static_cast<at::ScalarType>(kind), offset, shape));
    });
}

// Page-locked pieces, each from its offset on, in one tensor of `bytes` on a GPU: copied by a stream of
// its own while the GPU computes. What is asked of the GPU afterwards waits for it, the host does not.
// `stream` keeps that stream's number, -1 at first.
char *host_upload(Tensor **out, Tensor *const *pieces, const int64_t *offsets, size_t count,
                  int64_t bytes, int8_t index, int64_t *stream) {
    return guarded([&] {
        c10::Device device(c10::kCUDA, index);
        c10::impl::VirtualGuardImpl gpu(device.type());
        c10::Stream computing = gpu.getStream(device);
        c10::Stream copying = *stream < 0 ? gpu.getStreamFromGlobalPool(device)
                                          : c10::Stream(c10::Stream::UNSAFE, device, *stream);
        *stream = copying.id();
        c10::Event done(device.type());
        Tensor whole;
        {
            c10::StreamGuard guard(copying);
            whole = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).device(device));
            for (size_t i = 0; i < count; i++) {
                view(whole, at::kByte, offsets[i], pieces[i]->sizes())
                    .copy_(*pieces[i], /*non_blocking=*/true);
            }
            done.record(copying);
        }
        done.block(computing);
        // Its memory belongs to the copying stream, which must not hand it out again too early.
        gpu.recordDataPtrOnStream(whole.storage().data_ptr(), computing);
        *out = new Tensor(whole);
    });
}
}
