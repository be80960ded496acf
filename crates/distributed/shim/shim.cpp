// A C interface before libtorch's process groups. Every function that can fail returns a message,
// which `c10d_free` takes back, or null.

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/types.h>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using std::chrono::milliseconds;

// Handles that Rust holds.
struct Store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct Group {
  c10::intrusive_ptr<c10d::Backend> backend;
};

struct Work {
  c10::intrusive_ptr<c10d::Work> work;
};

char* message(const char* text) {
  // Null would mean success.
  char* copy = strdup(text);
  return copy != nullptr ? copy : strdup("out of memory");
}

// Runs `body`; what it throws becomes a message.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    // Without the stack trace.
    return message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return message(error.what());
  } catch (...) {
    return message("an unknown C++ exception");
  }
}

std::vector<at::Tensor> bytes_at(void* data, size_t length) {
  return {at::from_blob(data, {static_cast<int64_t>(length)}, at::kByte)};
}

Work* handle(c10::intrusive_ptr<c10d::Work> work) {
  return new Work{std::move(work)};
}

} // namespace

extern "C" {

void c10d_free(char* text) {
  free(text);
}

char* c10d_store_open(
    const char* host,
    uint16_t port,
    bool serve,
    int64_t timeout_ms,
    const char* prefix,
    Store** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new Store{c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(store))};
  });
}

void c10d_store_close(Store* store) {
  // Destructors do not throw.
  delete store;
}

char* c10d_store_set(Store* store, const char* key, const uint8_t* value, size_t length) {
  return guarded([&] { store->store->set(key, std::vector<uint8_t>(value, value + length)); });
}

// The value that stands there afterwards: `value` unless there was one before.
char* c10d_store_set_once(
    Store* store,
    const char* key,
    const uint8_t* value,
    size_t length,
    void (*receive)(void*, const uint8_t*, size_t),
    void* receiver) {
  return guarded([&] {
    auto found = store->store->compareSet(key, {}, std::vector<uint8_t>(value, value + length));
    receive(receiver, found.data(), found.size());
  });
}

// Calls `receive` with the value, or not at all where the key is missing.
char* c10d_store_get(
    Store* store,
    const char* key,
    void (*receive)(void*, const uint8_t*, size_t),
    void* receiver) {
  return guarded([&] {
    if (store->store->check({key})) {
      auto found = store->store->get(key);
      receive(receiver, found.data(), found.size());
    }
  });
}

char* c10d_store_wait(Store* store, const char* key, int64_t timeout_ms) {
  return guarded([&] { store->store->wait({key}, milliseconds(timeout_ms)); });
}

char* c10d_gloo_open(
    Store* store,
    int rank,
    int size,
    const char* address,
    const char* interface,
    int64_t timeout_ms,
    Group** out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout_ms));
    options->devices.push_back(
        interface[0] != '\0' ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                             : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>("gloo", store->store);
    *out = new Group{
        c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed, rank, size, std::move(options))};
  });
}

bool c10d_has_nccl() {
#ifdef USE_C10D_NCCL
  return true;
#else
  return false;
#endif
}

char* c10d_nccl_open(Store* store, int rank, int size, int64_t timeout_ms, Group** out) {
#ifdef USE_C10D_NCCL
  return guarded([&] {
    // A collective that fails or takes too long is to become an error that we find, not the end of the
    // process: communicators are aborted, and nothing else.
    setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", /*overwrite=*/0);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = milliseconds(timeout_ms);
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>("nccl", store->store);
    *out = new Group{
        c10::make_intrusive<c10d::ProcessGroupNCCL>(prefixed, rank, size, std::move(options))};
  });
#else
  (void)store, (void)rank, (void)size, (void)timeout_ms, (void)out;
  return message("this build has no NCCL: its headers were not found when it was compiled");
#endif
}

// The first failure of collectives that nobody waited for.
char* c10d_group_check(Group* group) {
  return guarded([&] {
    switch (group->backend->getError()) {
      case c10d::ErrorType::SUCCESS:
        return;
      case c10d::ErrorType::TIMEOUT:
        throw std::runtime_error("a collective timed out");
      case c10d::ErrorType::REMOTE_ERROR:
        throw std::runtime_error("a collective failed on another rank");
      default:
        throw std::runtime_error("a collective failed");
    }
  });
}

void c10d_group_close(Group* group) {
  delete group;
}

char* c10d_all_reduce_f32(Group* group, float* data, size_t length, Work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{
        at::from_blob(data, {static_cast<int64_t>(length)}, at::kFloat)};
    *out = handle(group->backend->allreduce(tensors));
  });
}

char* c10d_all_reduce_tensor(Group* group, at::Tensor* tensor, Work** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    *out = handle(group->backend->allreduce(tensors));
  });
}

char* c10d_broadcast(Group* group, uint8_t* data, size_t length, int root, Work** out) {
  return guarded([&] {
    auto tensors = bytes_at(data, length);
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *out = handle(group->backend->broadcast(tensors, options));
  });
}

// `out` has room for `length` bytes of every rank.
char* c10d_all_gather(
    Group* group,
    const uint8_t* data,
    size_t length,
    uint8_t* received,
    Work** out) {
  return guarded([&] {
    // Only read from.
    auto inputs = bytes_at(const_cast<uint8_t*>(data), length);
    std::vector<std::vector<at::Tensor>> outputs(1);
    for (int rank = 0; rank < group->backend->getSize(); rank++) {
      outputs[0].push_back(bytes_at(received + rank * length, length)[0]);
    }
    *out = handle(group->backend->allgather(outputs, inputs));
  });
}

// On the host, returns when the work is done, well or badly: nobody touches its memory afterwards. On a
// GPU, makes what it is asked for next come after the work, and returns at once. The group's timeout holds.
char* c10d_wait(Work* work) {
  return guarded([&] {
    if (!work->work->wait(kNoTimeout)) {
      throw std::runtime_error("the collective was aborted");
    }
  });
}

void c10d_work_free(Work* work) {
  delete work;
}

} // extern "C"
