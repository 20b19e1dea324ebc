#include "record.h"

#include "guard.h"

#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Operation {
  int64_t variable = -1, node = -1;
  uint64_t first = 0, end = 0;
  bool is_node = false, reads_others = false;
  uint64_t flops = 0, nanoseconds = 0;
  std::optional<std::vector<int64_t>> shape;
};

// libtorch takes it to the threads of the backward pass.
struct Recorder : c10::DebugInfoBase {
  // The first and the last byte of each variable, and its number.
  std::map<uintptr_t, std::pair<uintptr_t, int64_t>> memory;
  std::optional<at::Device> device;
  std::mutex mutex;
  std::vector<Operation> operations;

  Recorder(at::Tensor *const *variables, size_t n) {
    for (size_t i = 0; i < n; i++) {
      auto &variable = *variables[i];
      auto begin = address(variable);
      if (begin && variable.numel() > 0)
        memory[begin] = {begin + variable.nbytes() - 1, i};
      if (!variable.is_cpu())
        device = variable.device();
    }
  }

  static uintptr_t address(const at::Tensor &tensor) {
    bool has_memory = tensor.defined() && tensor.has_storage();
    return has_memory ? reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) : 0;
  }

  int64_t variable(const at::Tensor &tensor) const {
    auto at = address(tensor);
    auto next = memory.upper_bound(at);
    if (next == memory.begin())
      return -1;
    auto &[last, i] = std::prev(next)->second;
    return at <= last ? i : -1;
  }

  void read(const at::Tensor &tensor, Operation &by) const {
    auto i = variable(tensor);
    if (by.variable < 0)
      by.variable = i;
    by.reads_others |= i < 0 && tensor.defined();
  }

  void read(c10::ArrayRef<const c10::IValue> inputs, Operation &by) const {
    for (auto &input : inputs) {
      if (input.isTensor())
        read(input.toTensor(), by);
      else if (input.isTensorList())
        for (const at::Tensor &tensor : input.toTensorVector())
          read(tensor, by);
    }
  }

  void wait() const {
    if (device)
      c10::impl::VirtualGuardImpl(device->type()).synchronizeDevice(device->index());
  }

  static Recorder &here() { return *static_cast<Recorder *>(c10::ThreadLocalDebugInfo::get(SLOT)); }

  // libtorch itself uses this slot in tests alone.
  static constexpr auto SLOT = c10::DebugInfoKind::TEST_INFO_2;
};

uint64_t product(at::IntArrayRef sizes) { return c10::multiply_integers(sizes); }

at::IntArrayRef last(at::IntArrayRef sizes, size_t n) { return sizes.slice(sizes.size() - n); }

// The multiply-accumulates of an operation. Those of a forward convolution are per position of its output, of
// which this many dimensions count.
struct Count {
  uint64_t flops;
  size_t dimensions = 0;

  uint64_t of_output(const at::Tensor *output) const {
    if (dimensions == 0)
      return flops;
    return output ? flops * product(last(output->sizes(), dimensions)) : 0;
  }

  static std::optional<Count> of(const at::RecordFunction &function) {
    std::string_view name = function.name();
    auto in = function.inputs();
    if (name == "aten::mm" || name == "aten::bmm" || name == "aten::mv" || name == "aten::dot")
      return Count{of_matrices(in[0].toTensor(), in[1].toTensor())};
    if (name == "aten::addmm" || name == "aten::addmm_" || name == "aten::addmv" || name == "aten::addmv_" ||
        name == "aten::baddbmm" || name == "aten::baddbmm_" || name == "aten::_addmm_activation")
      return Count{of_matrices(in[1].toTensor(), in[2].toTensor())};
    if (name == "aten::convolution" || name == "aten::_convolution") {
      auto &x = in[0].toTensor(), &weight = in[1].toTensor();
      size_t dimensions = weight.dim() - 2;
      if (in[6].toBool())
        return Count{of_convolution(x, x, weight)};
      return Count{of_convolution(x, weight), dimensions};
    }
    if (name == "aten::convolution_backward") {
      auto &gradient = in[0].toTensor(), &x = in[1].toTensor(), &weight = in[2].toTensor();
      auto wanted = in[10].toBoolList();
      return Count{of_convolution(x, in[7].toBool() ? x : gradient, weight) * (wanted[0] + wanted[1])};
    }
    return attention(name, in);
  }

  static uint64_t of_matrices(const at::Tensor &a, const at::Tensor &b) {
    return a.numel() * (b.dim() > 1 ? b.size(-1) : 1);
  }

  // Per position of the output, or, if it is transposed, of the input.
  static uint64_t of_convolution(const at::Tensor &x, const at::Tensor &weight) {
    return weight.numel() * (x.dim() == weight.dim() ? x.size(0) : 1);
  }

  static uint64_t of_convolution(const at::Tensor &x, const at::Tensor &inner, const at::Tensor &weight) {
    return of_convolution(x, weight) * product(last(inner.sizes(), weight.dim() - 2));
  }

  // The attention without a fused kernel consists of products, which are counted by themselves.
  static std::optional<Count> attention(std::string_view name, c10::ArrayRef<const c10::IValue> in) {
    constexpr std::string_view prefix = "aten::_scaled_dot_product_", suffix = "_backward";
    if (name.substr(0, prefix.size()) != prefix || name.find("_attention_math") != name.npos)
      return std::nullopt;
    bool is_backward = name.size() > suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
    auto &q = in[is_backward].toTensor(), &k = in[is_backward + 1].toTensor();
    auto &v = in[is_backward + 2].toTensor();
    // The backward pass computes the scores again: two products with the values, and three with the rest.
    uint64_t scores = product(q.sizes().slice(0, q.dim() - 1)) * k.size(-2);
    return Count{scores * (is_backward ? 3 * q.size(-1) + 2 * v.size(-1) : q.size(-1) + v.size(-1))};
  }
};

const at::Tensor *first_tensor(const at::RecordFunction &function) {
  // The interpreter of TorchScript gives its whole stack.
  auto &outputs = function.outputs();
  auto n = function.num_outputs();
  if (n == 0 || outputs.size() < n)
    return nullptr;
  auto &output = outputs[outputs.size() - n];
  return output.isTensor() && output.toTensor().defined() ? &output.toTensor() : nullptr;
}

struct Context : at::ObserverContext {
  bool is_outermost = false;
  Clock::time_point start;
  Operation operation;
  std::optional<Count> count;
};

// The operations and nodes in progress on this thread: their number, the outermost, and whether one of them
// has been counted with all that it calls.
thread_local size_t depth = 0;
thread_local Context *outermost = nullptr;
thread_local bool is_counted = false;

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction &function) {
  bool is_outermost = depth++ == 0;
  bool is_node = function.scope() == at::RecordScope::BACKWARD_FUNCTION;
  auto count = is_node || is_counted ? std::nullopt : Count::of(function);
  std::unique_ptr<Context> context;
  if (is_outermost || count) {
    context = std::make_unique<Context>();
    context->is_outermost = is_outermost;
    context->count = count;
    is_counted |= count.has_value();
    if (!is_node)
      Recorder::here().read(function.inputs(), context->operation);
  }
  if (is_outermost) {
    outermost = context.get();
    outermost->operation.first = at::sequence_number::peek();
    outermost->start = Clock::now();
  }
  // libtorch's engine runs a node inside of an operation of its own.
  if (is_node && outermost && !outermost->operation.is_node) {
    outermost->operation.is_node = true;
    outermost->operation.node = function.seqNr();
  }
  return context;
}

void end(const at::RecordFunction &function, at::ObserverContext *observer) {
  depth--;
  auto *context = static_cast<Context *>(observer);
  if (!context)
    return;
  auto *output = function.needsOutputs() ? first_tensor(function) : nullptr;
  auto &recorder = Recorder::here();
  auto &operation = context->operation;
  if (context->count) {
    operation.flops += context->count->of_output(output);
    is_counted = false;
  }
  if (context->is_outermost) {
    recorder.wait();
    operation.nanoseconds = std::chrono::nanoseconds(Clock::now() - context->start).count();
    operation.end = at::sequence_number::peek();
    if (output && operation.reads_others && recorder.variable(*output) < 0)
      operation.shape = output->sizes().vec();
    outermost = nullptr;
  } else if (!outermost->operation.is_node || operation.variable < 0) {
    outermost->operation.flops += operation.flops;
    return;
  }
  // In a node too, products with a variable are of its layer: a node may compute a forward pass again.
  std::lock_guard lock(recorder.mutex);
  recorder.operations.push_back(std::move(operation));
}

} // namespace

struct rt_recording {
  std::shared_ptr<Recorder> recorder;
  c10::DebugInfoGuard slot;
  at::CallbackHandle operations, nodes;

  explicit rt_recording(std::shared_ptr<Recorder> to)
      : recorder(to), slot(Recorder::SLOT, to),
        operations(at::addThreadLocalCallback(at::RecordFunctionCallback(start, end)
                                                  .scopes({at::RecordScope::FUNCTION})
                                                  .needsInputs(true)
                                                  .needsOutputs(true))),
        // Without the inputs: a gradient that is held twice is copied.
        nodes(at::addThreadLocalCallback(
            at::RecordFunctionCallback(start, end).scopes({at::RecordScope::BACKWARD_FUNCTION}))) {
    recorder->wait();
  }

  ~rt_recording() {
    at::removeCallback(nodes);
    at::removeCallback(operations);
  }
};

rt_error rt_begin_recording(at::Tensor *const *variables, size_t n, rt_recording **recording) {
  return caught([&] { *recording = new rt_recording(std::make_shared<Recorder>(variables, n)); });
}

void rt_end_recording(rt_recording *recording, void *to, rt_give_operation give) {
  auto recorder = recording->recorder;
  delete recording;
  std::lock_guard lock(recorder->mutex);
  for (auto &it : recorder->operations) {
    auto *shape = it.shape ? it.shape->data() : nullptr;
    // An empty vector may have no data, and is the shape of a single number.
    static const int64_t none = 0;
    rt_operation operation{it.variable, it.first, it.end, it.is_node, it.node, it.flops, it.nanoseconds,
                           it.shape && !shape ? &none : shape, it.shape ? it.shape->size() : 0};
    give(to, &operation);
  }
}
