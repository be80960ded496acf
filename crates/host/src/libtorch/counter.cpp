// Counts the operations that ATen dispatches: on a GPU, each costs the processor a few microseconds and
// launches a kernel or more, unless it only makes a view.

#include <cstddef>
#include <memory>
#include <string>

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include "guarded.h"

namespace {

// Called with name and overload of each operation, and with whoever asked.
using Receive = void (*)(void *, const char *, size_t, const char *, size_t);

thread_local Receive receive = nullptr;
thread_local void *receiver = nullptr;
// Operations that others call count for nothing: the outermost is what a caller can do without.
thread_local int depth = 0;

// Whether `aten::to.dtype_layout(self, dtype, layout, device, …)` names a device: tch asks it for other kinds of
// numbers as well.
bool names_device(const at::RecordFunction &function) {
    constexpr size_t DEVICE = 3;
    auto inputs = function.inputs();
    return inputs.size() > DEVICE && !inputs[DEVICE].isNone();
}

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction &function) {
    if (depth++ == 0) {
        auto name = function.operator_name();
        std::string operation = name ? name->name : std::string(function.name());
        std::string overload = name ? name->overload_name : std::string();
        if (overload == "dtype_layout" && names_device(function)) overload = "device";
        receive(receiver, operation.data(), operation.size(), overload.data(), overload.size());
    }
    return nullptr;
}

void end(const at::RecordFunction &, at::ObserverContext *) { depth--; }

} // namespace

extern "C" {

// Tells `receive` of every operation of this thread, until `host_counter_stop` gets the handle.
char *host_counter_start(Receive to, void *whom, uint64_t *handle) {
    return guarded([&] {
        receive = to;
        receiver = whom;
        depth = 0;
        at::RecordFunctionCallback callback(begin, end);
        callback.scopes({at::RecordScope::FUNCTION}).needsInputs(true);
        *handle = at::addThreadLocalCallback(callback);
    });
}

char *host_counter_stop(uint64_t handle) {
    return guarded([&] { at::removeCallback(handle); });
}
}
