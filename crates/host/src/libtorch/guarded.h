// What the functions of this folder have in common.

#pragma once

#include <cstring>
#include <exception>

#include <c10/util/Exception.h>

// Runs `body`; what it throws becomes a message, which `host_free_message` takes back.
template <typename F> char *guarded(F body) {
    try {
        body();
        return nullptr;
    } catch (const c10::Error &error) {
        // Without the stack trace.
        return strdup(error.what_without_backtrace());
    } catch (const std::exception &error) {
        return strdup(error.what());
    } catch (...) {
        return strdup("an unknown C++ exception");
    }
}
