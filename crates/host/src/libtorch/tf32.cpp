// Whether a GPU may shorten the factors of f32 products to the ten bits of TF32.

#include <ATen/Context.h>

#include "guarded.h"

extern "C" {

// Of matrix products and of convolutions.
char *host_set_tf32(bool products, bool convolutions) {
    return guarded([&] {
        at::globalContext().setAllowTF32CuBLAS(products);
        at::globalContext().setAllowTF32CuDNN(convolutions);
    });
}

char *host_tf32(bool *products, bool *convolutions) {
    return guarded([&] {
        *products = at::globalContext().allowTF32CuBLAS();
        *convolutions = at::globalContext().allowTF32CuDNN();
    });
}

} // extern "C"
