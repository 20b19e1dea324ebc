// Regions of a forward pass whose activations are recomputed in the backward pass.

#pragma once

#include "shim.h"

extern "C" {

// The computation of a region, as a closure of Rust's.
typedef struct {
  void *data;
  // Calls it with a tensor that it owns from then on, while gradients are recorded. Returns null, or an
  // error: text that is whole until the next call.
  rt_error (*call)(void *data, at::Tensor *x);
  void (*drop)(void *data);
} rt_closure;

// Whether operations of this thread are recorded for a backward pass.
bool rt_is_recording(void);

// Tensors that nodes made by this thread save from now on are not kept, but recomputed by calling the closure
// with `x`. The closure belongs to the region in any case: it lives until the region has ended and no node
// refers to it, and is never called by two threads at once. The thread that began a region ends it, after
// those begun later. One that is not `whole` returns no tensors.
rt_error rt_begin_region(at::Tensor *x, rt_closure closure, void **region);
void rt_end_region(void *region, bool whole);
}
