// Modules of TorchScript. As in shim.h, each function returns null or an error. Arguments of a function
// `give` belong to it: it deletes tensors, and names last for the call.

#pragma once

#include "shim.h"

extern "C" {

typedef struct rt_script rt_script;

typedef void (*rt_give_name)(void *to, const char *name);
typedef void (*rt_give_tensor)(void *to, at::Tensor *tensor);
typedef void (*rt_give_variable)(void *to, const char *name, at::Tensor *variable, bool is_parameter);

// The device by its name: `cpu`, `cuda:1`.
rt_error rt_script_load(const char *path, const char *device, rt_script **script);
void rt_script_free(rt_script *script);

// Parameters and buffers in Python's order: a module's before those of its parts.
rt_error rt_script_variables(const rt_script *script, void *to, rt_give_variable give);
rt_error rt_script_methods(const rt_script *script, void *to, rt_give_name give);

// Sets the mode of the module, and gives the tensors that the method returns.
rt_error rt_script_call(rt_script *script, const char *method, bool train, at::Tensor *const *inputs,
                        size_t n, void *to, rt_give_tensor give);
// In evaluation mode.
rt_error rt_script_save(rt_script *script, const char *path);
// A copy for `forward` in evaluation mode, with the present weights as constants.
rt_error rt_script_freeze(rt_script *script, const char *device, rt_script **frozen);
}
