// What every function that Rust calls does with an exception.

#pragma once

#include <cstring>
#include <exception>

#include <c10/util/Exception.h>

// Null, or a message that the caller frees. Of libtorch's errors without the stack of C++.
template <typename F> char *guarded(F body) {
    try {
        body();
        return nullptr;
    } catch (const c10::Error &error) {
        return strdup(error.what_without_backtrace());
    } catch (const std::exception &error) {
        return strdup(error.what());
    } catch (...) {
        return strdup("an unknown C++ exception");
    }
}
