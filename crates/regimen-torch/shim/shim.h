// Functions of libtorch that tch does not expose, for Rust.
//
// Each returns null, or an error: text of the thread, until its next call. No C++ exception leaves a
// function. Lists are `n` pointers to tensors, which the caller owns; a list of state belongs to the list of
// parameters position by position. A function with parameters alone works on the gradients they hold, and
// skips those that hold none.

#pragma once

#include <ATen/ATen.h>

extern "C" {

typedef const char *rt_error;

// Gradients.
rt_error rt_set_gradient(at::Tensor *parameter, at::Tensor *gradient_or_null);
rt_error rt_clear_gradients(at::Tensor *const *parameters, size_t n);
rt_error rt_scale_gradients(at::Tensor *const *parameters, size_t n, double factor);
rt_error rt_clamp_gradients(at::Tensor *const *parameters, size_t n, double limit);
// Scales each gradient, slice by slice of its first dimension, down to a norm of `factor` times that of the
// parameter there, which counts as at least `floor`. One of fewer than two dimensions is a single slice.
rt_error rt_clip_gradient_units(at::Tensor *const *parameters, size_t n, double factor, double floor);
rt_error rt_gradient_norm(at::Tensor *const *parameters, size_t n, double *norm);
// Scales the gradients down to a norm of `limit`, if theirs is larger and finite, without any read. `norm` is
// a new tensor, which the caller owns.
rt_error rt_clip_gradient_norm(at::Tensor *const *parameters, size_t n, double limit, at::Tensor **norm);

// Moves each of `averages` towards the tensor of `values` in its place by `share` of the way.
rt_error rt_blend(at::Tensor *const *averages, at::Tensor *const *values, size_t n, double share);
// Backward that names the operation whose gradient became NaN. After an error gradients show how far NaN
// spread, and have no other use.
rt_error rt_detecting_backward(at::Tensor *loss);
// Backward that calls `tell` with the number of each parameter whose gradient is complete, on the thread that computes it:
// for a CPU the caller's. A parameter has no other such hook.
rt_error rt_telling_backward(at::Tensor *loss, at::Tensor *const *parameters, size_t n, void (*tell)(void *, size_t),
                             void *context);

// One step of an optimizer over parameters that all hold a gradient. `slots` has the lists of state one after
// another: the optimizer's first state for each parameter, then its second. If `skip_or_null` is 1, and not
// 0, all stays as it is; it is not read.
typedef struct {
  double rate, beta1, beta2, epsilon, weight_decay;
  bool amsgrad, maximize, decoupled;
} rt_adam;
// exp_avg, exp_avg_sq, step, and max_exp_avg_sq with amsgrad.
rt_error rt_step_adam(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n, const rt_adam *with,
                      const at::Tensor *skip_or_null);

typedef struct {
  double rate, momentum, dampening, weight_decay;
  bool nesterov, maximize, is_first;
} rt_sgd;
// momentum_buffer with momentum, else no state.
rt_error rt_step_sgd(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n, const rt_sgd *with,
                     const at::Tensor *skip_or_null);

typedef struct {
  double rate, alpha, epsilon, weight_decay, momentum;
  bool centered, maximize;
} rt_rms_prop;
// square_avg, then momentum_buffer with momentum, then grad_avg if centered.
rt_error rt_step_rms_prop(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n,
                          const rt_rms_prop *with, const at::Tensor *skip_or_null);

// Autocast of this thread for a kind of device, numbered as in libtorch. `rt_enter_autocast` begins a scope
// in a type, numbered as in libtorch, and writes the previous setting; `rt_leave_autocast` ends the scope and
// restores it.
typedef struct {
  int32_t device, dtype;
  bool enabled;
} rt_autocast;
rt_error rt_enter_autocast(int32_t device, int32_t dtype, rt_autocast *before);
void rt_leave_autocast(const rt_autocast *before);

// Writes the current stream, a cudaStream_t, of a CUDA device.
rt_error rt_cuda_stream(int32_t device, void **stream);

// The process.
rt_error rt_allow_tf32(bool allow);
rt_error rt_use_deterministic_algorithms(bool only);
// Counts from here on, if `count` is set, the reads of a scalar to the host, in all threads, by the operation
// that libtorch's profiler shows for it. Returns the count so far. The fused Adam of the CPU reads its own
// counts of steps, which are on the host and not included.
uint64_t rt_scalar_reads(bool count);
// Returns whether the allocator of this system has the setting.
bool rt_keep_memory(void);
// Returns free blocks to the system, and those of the accelerator to it if `device` is set.
rt_error rt_release_memory(bool device);
}
