// Regions of a forward pass whose activations are not kept, but computed again in the backward pass.

#pragma once

#include "shim.h"

extern "C" {

// What a region computes, as a closure of Rust's.
typedef struct {
  void *data;
  // Calls it with a tensor that is its own from then on, while gradients are recorded. Returns null, or
  // what went wrong: text that is whole until the next call.
  rt_error (*call)(void *data, at::Tensor *x);
  void (*drop)(void *data);
} rt_closure;

// Whether operations of this thread are recorded for a backward pass.
bool rt_is_recording(void);

// What nodes made by this thread ask to keep from now on is not kept, but comes from calling the closure
// with `x` again. The closure belongs to the region in any case: it lives until the region has ended and
// no node refers to it, and is never called by two threads at once. A region is ended by the thread that
// began it, after those begun later. One that is not `whole` gives nothing back.
rt_error rt_begin_region(at::Tensor *x, rt_closure closure, void **region);
void rt_end_region(void *region, bool whole);
}
