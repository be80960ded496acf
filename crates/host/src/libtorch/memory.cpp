// The memory of a GPU, by the part of libtorch's interface that knows no vendor: it compiles and links
// without CUDA, and fails there.

#include <cstdint>

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceType.h>

#include "guarded.h"

namespace {

using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatArray;
using c10::CachingAllocator::StatType;

const Stat &all(const StatArray &stats) { return stats[static_cast<size_t>(StatType::AGGREGATE)]; }

} // namespace

// Bytes: free, total, allocated, the most of it so far, reserved, the most of it so far.
extern "C" char *host_gpu_memory(uint64_t *out, int8_t index) {
    return guarded([&] {
        c10::DeviceAllocator *allocator = c10::getDeviceAllocator(c10::kCUDA);
        auto [free, total] = allocator->getMemoryInfo(index);
        auto stats = allocator->getDeviceStats(index);
        out[0] = free;
        out[1] = total;
        out[2] = all(stats.allocated_bytes).current;
        out[3] = all(stats.allocated_bytes).peak;
        out[4] = all(stats.reserved_bytes).current;
        out[5] = all(stats.reserved_bytes).peak;
    });
}
