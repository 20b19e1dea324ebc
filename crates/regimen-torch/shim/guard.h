// Conversion of C++ exceptions to text in the functions of the shim.

#pragma once

#include "shim.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <new>
#include <string>

// Text of the thread. If there is no memory for it, a text that needs none.
inline rt_error told(const char *what) noexcept {
  thread_local std::string text;
  try {
    text = what;
    return text.c_str();
  } catch (...) {
    return "out of memory";
  }
}

// Runs `f`; an exception becomes text. Only its first part: libtorch puts a backtrace behind it.
template <typename F> rt_error caught(F f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const c10::Error &error) {
    return told(error.what_without_backtrace());
  } catch (const std::bad_alloc &) {
    return "out of memory";
  } catch (const std::exception &error) {
    return told(error.what());
  } catch (...) {
    return "an exception that is not text";
  }
}

// The same without recording gradients.
template <typename F> rt_error guarded(F f) noexcept {
  return caught([&] {
    at::NoGradGuard no_grad;
    f();
  });
}
