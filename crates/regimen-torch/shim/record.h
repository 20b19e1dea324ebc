// A record of the operations of a forward or a backward pass.

#pragma once

#include "shim.h"

extern "C" {

// An operation that no other one has called. The work of a node of a backward pass is one, and so is, without
// its time, a product in it that reads a variable.
typedef struct {
  // Number of the first variable that the operation reads, or -1.
  int64_t variable;
  // Numbers of the nodes that the operation has made for a backward pass, from `first` up to and without
  // `end`.
  uint64_t first, end;
  // Number of the node whose work this is; -1 for a node that adds to a gradient, and has none.
  bool is_node;
  int64_t node;
  // Multiply-accumulates of matrix products, convolutions and fused attention.
  uint64_t flops;
  uint64_t nanoseconds;
  // The lengths of the first tensor that it returns. Null if it returns none, for an operation on variables
  // alone, and for one that changes a variable. Whole for the call.
  const int64_t *shape;
  size_t rank;
} rt_operation;

typedef struct rt_recording rt_recording;

typedef void (*rt_give_operation)(void *to, const rt_operation *operation);

// Records the operations of this thread, and those of a backward pass that it runs, which may be in other
// threads. Operations read a variable if one of their arguments lies in its memory: a view too. The same
// thread ends it. On a device that is not the CPU it waits for each operation, so that the times are those of
// the device.
rt_error rt_begin_recording(at::Tensor *const *variables, size_t n, rt_recording **recording);
// Gives the operations in the order in which they ended.
void rt_end_recording(rt_recording *recording, void *to, rt_give_operation give);
}
