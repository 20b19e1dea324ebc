#include "shim.h"

#include "guard.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/autocast_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

using Tensors = std::vector<at::Tensor>;

Tensors list(at::Tensor *const *tensors, size_t n) {
  Tensors all;
  all.reserve(n);
  for (size_t i = 0; i < n; i++)
    all.push_back(*tensors[i]);
  return all;
}

Tensors gradients(at::Tensor *const *parameters, size_t n) {
  Tensors all;
  all.reserve(n);
  for (size_t i = 0; i < n; i++)
    if (parameters[i]->grad().defined())
      all.push_back(parameters[i]->grad());
  return all;
}

// The operands of an optimizer: parameters, their gradients, and its lists of state.
struct Work {
  at::Tensor *const *slots;
  size_t n;
  Tensors parameters, gradients;

  Work(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n)
      : slots(slots), n(n), parameters(list(parameters, n)), gradients(::gradients(parameters, n)) {
    TORCH_CHECK(gradients.size() == n, "a parameter without a gradient");
    for (size_t i = 0; i < n; i++)
      check(this->gradients[i], this->parameters[i], "the gradient");
  }

  // State with the parameters' shapes.
  Tensors slot(size_t k) const {
    auto all = list(slots + k * n, n);
    for (size_t i = 0; i < n; i++)
      check(all[i], parameters[i], "the optimizer's state");
    return all;
  }

  // The numbers of steps made.
  Tensors counts(size_t k) const {
    auto all = list(slots + k * n, n);
    for (auto &count : all)
      TORCH_CHECK(count.numel() == 1, "a count of steps is not one number");
    return all;
  }

  // The kernels walk over the memory of all of them in parallel, without checks.
  static void check(const at::Tensor &other, const at::Tensor &parameter, const char *what) {
    TORCH_CHECK(other.layout() == at::kStrided, what, " is sparse; use a layer with a dense gradient");
    TORCH_CHECK(parameter.is_contiguous() && other.is_contiguous() && other.sizes() == parameter.sizes() &&
                    other.scalar_type() == parameter.scalar_type() && other.device() == parameter.device(),
                what, " is not like its parameter in shape, type, device or layout");
  }
};

std::optional<at::Tensor> skip(const at::Tensor *or_null) {
  return or_null ? std::optional(*or_null) : std::nullopt;
}

// Copies of the operands of a step without a fused kernel, for a step that may be left out.
struct Kept {
  const at::Tensor *skip;
  Tensors all, before;

  Kept(const at::Tensor *skip, std::initializer_list<Tensors> lists) : skip(skip) {
    for (auto &list : lists)
      add(list);
  }

  void add(const Tensors &list) {
    if (!skip)
      return;
    for (auto &tensor : list) {
      all.push_back(tensor);
      before.push_back(tensor.clone());
    }
  }

  void put_back() {
    for (size_t i = 0; i < all.size(); i++)
      all[i].copy_(at::where(*skip > 0, before[i], all[i]));
  }
};

std::atomic<uint64_t> scalar_reads;

// On the CPU the fused Adam reads its counts of steps, which are in host memory.
thread_local bool reads_steps = false;

} // namespace

rt_error rt_set_gradient(at::Tensor *parameter, at::Tensor *gradient_or_null) {
  return guarded([&] { parameter->mutable_grad() = gradient_or_null ? *gradient_or_null : at::Tensor(); });
}

rt_error rt_clear_gradients(at::Tensor *const *parameters, size_t n) {
  return guarded([&] {
    for (size_t i = 0; i < n; i++)
      parameters[i]->mutable_grad() = at::Tensor();
  });
}

rt_error rt_scale_gradients(at::Tensor *const *parameters, size_t n, double factor) {
  return guarded([&] {
    auto held = gradients(parameters, n);
    if (!held.empty())
      at::_foreach_mul_(held, factor);
  });
}

rt_error rt_clamp_gradients(at::Tensor *const *parameters, size_t n, double limit) {
  return guarded([&] {
    // Tensor by tensor: the foreach kernels of some devices drop NaN.
    for (auto &gradient : gradients(parameters, n))
      gradient.clamp_(-limit, limit);
  });
}

rt_error rt_clip_gradient_units(at::Tensor *const *parameters, size_t n, double factor, double floor) {
  return guarded([&] {
    auto norms = [](const at::Tensor &tensor) {
      std::vector<int64_t> over;
      for (int64_t i = tensor.dim() < 2 ? 0 : 1; i < tensor.dim(); i++)
        over.push_back(i);
      return at::linalg_vector_norm(tensor, 2, over, /*keepdim=*/true);
    };
    for (size_t i = 0; i < n; i++) {
      auto gradient = parameters[i]->grad();
      if (!gradient.defined())
        continue;
      auto limit = norms(*parameters[i]).clamp_min_(floor).mul_(factor);
      auto found = norms(gradient);
      auto clips = at::isfinite(found).logical_and(found.gt(limit));
      gradient.mul_(at::where(clips, limit / found, at::ones_like(found)));
    }
  });
}

rt_error rt_gradient_norm(at::Tensor *const *parameters, size_t n, double *norm) {
  return guarded([&] {
    auto held = gradients(parameters, n);
    *norm = 0.0;
    if (!held.empty()) {
      auto norms = at::_foreach_norm(held, 2);
      *norm = at::linalg_vector_norm(at::stack(norms), 2).item<double>();
    }
  });
}

rt_error rt_clip_gradient_norm(at::Tensor *const *parameters, size_t n, double limit, at::Tensor **norm) {
  return guarded([&] {
    auto held = gradients(parameters, n);
    if (held.empty()) {
      *norm = new at::Tensor(at::zeros({}));
      return;
    }
    auto found = at::linalg_vector_norm(at::stack(at::_foreach_norm(held, 2)), 2);
    // As the host divides, if the device can.
    auto wide = found.is_mps() ? found : found.to(at::kDouble);
    auto clips = at::isfinite(wide).logical_and(at::gt(wide, limit));
    auto factor = at::where(clips, limit / wide, at::ones_like(wide));
    for (auto &gradient : held)
      gradient.mul_(factor);
    *norm = new at::Tensor(found);
  });
}

rt_error rt_blend(at::Tensor *const *averages, at::Tensor *const *values, size_t n, double share) {
  return guarded([&] {
    auto all = list(averages, n);
    if (n == 0)
      return;
    // A value that is not finite would stay so.
    if (share == 1)
      at::_foreach_copy_(all, list(values, n));
    else
      at::_foreach_lerp_(all, list(values, n), share);
  });
}

rt_error rt_detecting_backward(at::Tensor *loss) {
  // Its warnings go to stderr otherwise: one for the mode, and one text per operation.
  struct : c10::WarningHandler {
    void process(const c10::Warning &) override {}
  } silent;
  return caught([&] {
    c10::WarningUtils::WarningHandlerGuard quiet(&silent);
    try {
      torch::autograd::DetectAnomalyGuard detect;
      loss->backward({}, /*retain_graph=*/true);
    } catch (...) {
      // Again, so that values that are not finite reach the parameters, including their old values.
      try {
        loss->backward();
      } catch (...) {
      }
      throw;
    }
  });
}

rt_error rt_telling_backward(at::Tensor *loss, at::Tensor *const *parameters, size_t n, void (*tell)(void *, size_t),
                             void *context) {
  struct Hook : torch::autograd::PostAccumulateGradHook {
    void (*tell)(void *, size_t);
    void *context;
    size_t i;
    Hook(void (*tell)(void *, size_t), void *context, size_t i) : tell(tell), context(context), i(i) {}
    void operator()(const torch::autograd::Variable &) override { tell(context, i); }
  };
  // Removes them after an error too.
  struct Hooks {
    at::Tensor *const *parameters;
    size_t n = 0;
    ~Hooks() {
      for (size_t i = 0; i < n; i++) {
        torch::autograd::impl::set_post_acc_grad_hooks(*parameters[i], nullptr);
      }
    }
  };
  return caught([&] {
    Hooks hooks{parameters};
    for (; hooks.n < n; hooks.n++) {
      auto hook = std::make_unique<Hook>(tell, context, hooks.n);
      torch::autograd::impl::set_post_acc_grad_hooks(*parameters[hooks.n], std::move(hook));
    }
    loss->backward();
  });
}

rt_error rt_step_adam(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n, const rt_adam *with,
                      const at::Tensor *skip_or_null) {
  return guarded([&] {
    Work work(parameters, slots, n);
    auto first = work.slot(0), second = work.slot(1), steps = work.counts(2);
    auto largest = with->amsgrad ? work.slot(3) : Tensors();
    at::_foreach_add_(steps, 1);
    // Through their operators, which are not overloaded.
    auto step = with->decoupled ? at::_ops::_fused_adamw_::call : at::_ops::_fused_adam_::call;
    struct ReadsSteps {
      ReadsSteps() { reads_steps = true; }
      ~ReadsSteps() { reads_steps = false; }
    } reads;
    step(work.parameters, work.gradients, first, second, largest, steps, with->rate, with->beta1, with->beta2,
         with->weight_decay, with->epsilon, with->amsgrad, with->maximize, {}, skip(skip_or_null));
    // As in PyTorch: a step left out is not counted.
    if (skip_or_null)
      at::_foreach_sub_(steps, Tensors(n, *skip_or_null));
  });
}

rt_error rt_step_sgd(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n, const rt_sgd *with,
                     const at::Tensor *skip_or_null) {
  return guarded([&] {
    Work work(parameters, slots, n);
    auto momentum = with->momentum != 0.0 ? work.slot(0) : Tensors();
    at::_fused_sgd_(work.parameters, work.gradients, momentum, with->weight_decay, with->momentum, with->rate,
                    with->dampening, with->nesterov, with->maximize, with->is_first, {}, skip(skip_or_null));
  });
}

// There is no fused kernel. The order of operations is that of PyTorch's own implementation.
rt_error rt_step_rms_prop(at::Tensor *const *parameters, at::Tensor *const *slots, size_t n,
                          const rt_rms_prop *with, const at::Tensor *skip_or_null) {
  return guarded([&] {
    Work work(parameters, slots, n);
    auto square = work.slot(0);
    Kept kept(skip_or_null, {work.parameters, square});
    size_t next = 1;
    auto momentum = with->momentum > 0.0 ? work.slot(next++) : Tensors();
    auto mean = with->centered ? work.slot(next) : Tensors();
    kept.add(momentum);
    kept.add(mean);
    auto gradients = with->maximize ? at::_foreach_neg(work.gradients) : work.gradients;
    if (with->weight_decay != 0.0)
      gradients = at::_foreach_add(gradients, work.parameters, with->weight_decay);
    at::_foreach_mul_(square, with->alpha);
    at::_foreach_addcmul_(square, gradients, gradients, 1 - with->alpha);
    Tensors average;
    if (with->centered) {
      at::_foreach_lerp_(mean, gradients, 1 - with->alpha);
      average = at::_foreach_addcmul(square, mean, mean, -1);
      at::_foreach_sqrt_(average);
    } else {
      average = at::_foreach_sqrt(square);
    }
    at::_foreach_add_(average, with->epsilon);
    if (with->momentum > 0.0) {
      at::_foreach_mul_(momentum, with->momentum);
      at::_foreach_addcdiv_(momentum, gradients, average);
      at::_foreach_add_(work.parameters, momentum, -with->rate);
    } else {
      at::_foreach_addcdiv_(work.parameters, gradients, average, -with->rate);
    }
    kept.put_back();
  });
}

rt_error rt_enter_autocast(int32_t device, int32_t dtype, rt_autocast *before) {
  return guarded([&] {
    auto type = static_cast<at::DeviceType>(device);
    *before = {device, static_cast<int32_t>(at::autocast::get_autocast_dtype(type)),
               at::autocast::is_autocast_enabled(type)};
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_enabled(type, true);
    at::autocast::increment_nesting();
  });
}

void rt_leave_autocast(const rt_autocast *before) {
  // Neither fails for a device that was entered.
  guarded([&] {
    // Casts are cached by the address of their parameter, whose values change in a step.
    if (at::autocast::decrement_nesting() == 0)
      at::autocast::clear_cache();
    auto type = static_cast<at::DeviceType>(before->device);
    at::autocast::set_autocast_enabled(type, before->enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(before->dtype));
  });
}

rt_error rt_cuda_stream(int32_t device, void **stream) {
  return caught([&] {
    *stream = at::accelerator::getCurrentStream(static_cast<c10::DeviceIndex>(device)).native_handle();
  });
}

rt_error rt_allow_tf32(bool allow) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(allow);
    at::globalContext().setAllowTF32CuDNN(allow);
  });
}

rt_error rt_use_deterministic_algorithms(bool only) {
  return guarded([&] { at::globalContext().setDeterministicAlgorithms(only, false); });
}

uint64_t rt_scalar_reads(bool count) {
  static std::once_flag once;
  if (count)
    std::call_once(once, [] {
      at::addGlobalCallback(
          at::RecordFunctionCallback([](const at::RecordFunction &function) -> std::unique_ptr<at::ObserverContext> {
            if (!reads_steps && std::strcmp(function.name(), "aten::_local_scalar_dense") == 0)
              scalar_reads++;
            return nullptr;
          }).scopes({at::RecordScope::FUNCTION}));
    });
  return scalar_reads;
}

rt_error rt_release_memory(bool device) {
  return caught([&] {
    if (device) {
      at::accelerator::emptyCache();
    }
#ifdef __GLIBC__
    malloc_trim(0);
#endif
  });
}

bool rt_keep_memory(void) {
#ifdef __GLIBC__
  // glibc's largest value of the first; setting either also ends its automatic adjustment of both.
  return mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 1 << 30);
#else
  return false;
#endif
}
