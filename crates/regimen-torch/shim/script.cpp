#include "script.h"

#include "guard.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/serialization/import.h>

#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

namespace {

namespace jit = torch::jit;

// The slot of a parameter or a buffer in a module.
struct Slot {
  std::string name;
  jit::ModulePtr owner;
  size_t index;
  bool is_parameter;

  at::Tensor get() const { return owner->getSlot(index).toTensor(); }
  void set(at::Tensor tensor) const { owner->setSlot(index, std::move(tensor)); }
};

std::vector<Slot> slots(const jit::Module &root) {
  std::vector<Slot> all;
  for (const auto &part : root.named_modules()) {
    auto type = part.value.type();
    for (size_t i = 0; i < type->numAttributes(); i++) {
      // A layer without a bias has an undefined one.
      if ((type->is_parameter(i) || type->is_buffer(i)) && part.value._ivalue()->getSlot(i).isTensor()) {
        auto prefix = part.name.empty() ? "" : part.name + ".";
        all.push_back({prefix + type->getAttributeName(i), part.value._ivalue(), i, type->is_parameter(i)});
      }
    }
  }
  return all;
}

// Calls `f` with every function of the module and of its parts.
template <typename F> void each_function(const jit::Module &module, F f) {
  for (auto *function : module._ivalue()->compilation_unit()->get_functions()) {
    // Freezing leaves null in place of a method.
    auto *of_graph = function ? jit::tryToGraphFunction(*function) : nullptr;
    if (of_graph)
      f(*of_graph);
  }
}

// Runs graphs as written. libtorch's default executor profiles the first run of a graph and rewrites it for
// later ones. The same step would then have other bits in a new process than in one that has run for a while.
void run_as_written(const jit::Module &module) {
  each_function(module, [](jit::GraphFunction &function) {
    function._set_initial_executor_execution_mode(jit::ExecutorExecutionMode::SIMPLE);
  });
}

// An attribute of a class, by the names of both.
using Attribute = std::pair<std::string, std::string>;

void find_assigned(const jit::Block *block, std::set<Attribute> &found) {
  for (const auto *node : block->nodes()) {
    if (node->kind() == c10::prim::SetAttr)
      if (auto type = node->input(0)->type()->cast<c10::ClassType>())
        found.insert({type->name()->qualifiedName(), node->s(c10::attr::name)});
    for (const auto *inner : node->blocks())
      find_assigned(inner, found);
  }
}

// The parameters and buffers that the code assigns a new tensor, instead of new values.
std::vector<Slot> assigned(const jit::Module &module) {
  std::set<Attribute> found;
  each_function(module, [&](jit::GraphFunction &function) {
    function.ensure_defined();
    find_assigned(function.graph()->block(), found);
  });
  std::vector<Slot> some;
  for (auto &slot : slots(module)) {
    auto type = slot.owner->type();
    if (found.count({type->name()->qualifiedName(), type->getAttributeName(slot.index)}))
      some.push_back(std::move(slot));
  }
  return some;
}

// While it lives, the code works on copies of those tensors: it may assign others, and the tensors saved for
// the backward pass are not overwritten. Afterwards the module has its original tensors again, which
// optimizers and checkpoints refer to.
class Lent {
  const std::vector<Slot> &slots;
  std::vector<at::Tensor> own;

public:
  explicit Lent(const std::vector<Slot> &slots) : slots(slots) {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> copies;
    for (const auto &slot : slots) {
      own.push_back(slot.get());
      copies.push_back(own.back().clone());
    }
    // After everything that can fail: then nothing is restored.
    for (size_t i = 0; i < slots.size(); i++)
      slots[i].set(copies[i]);
  }
  Lent(const Lent &) = delete;
  Lent &operator=(const Lent &) = delete;
  ~Lent() {
    for (size_t i = 0; i < slots.size(); i++)
      slots[i].set(own[i]);
  }

  // Copies the values into the module's own tensors.
  void keep() const {
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < slots.size(); i++) {
      auto now = slots[i].get();
      TORCH_CHECK(now.sizes() == own[i].sizes() && now.scalar_type() == own[i].scalar_type(),
                  "the script makes `", slots[i].name, "` ", now.scalar_type(), now.sizes(), ", and it is ",
                  own[i].scalar_type(), own[i].sizes(), ": a buffer keeps its type and shape");
    }
    for (size_t i = 0; i < slots.size(); i++)
      own[i].copy_(slots[i].get());
  }
};

// The tensors of a result in their order, from tuples and lists.
void flatten(const c10::IValue &value, std::vector<at::Tensor> &all) {
  if (value.isTensor()) {
    all.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const auto &element : value.toTupleRef().elements())
      flatten(element, all);
  } else {
    TORCH_CHECK(value.isList(), "it returns a value of type ", value.type()->repr_str(),
                ": a tensor is wanted, or a tuple or list of tensors");
    for (const c10::IValue &element : value.toListRef())
      flatten(element, all);
  }
}

} // namespace

struct rt_script {
  jit::Module module;
  std::vector<Slot> assigned;
  std::optional<bool> training;

  explicit rt_script(jit::Module of) : module(std::move(of)), assigned(::assigned(module)) {
    run_as_written(module);
  }

  // Visits all parts only if the mode changes.
  void set_mode(bool train) {
    if (training != train) {
      training.reset();
      module.train(train);
      training = train;
    }
  }
};

rt_error rt_script_load(const char *path, const char *device, rt_script **script) {
  return guarded([&] { *script = new rt_script(jit::load(path, c10::Device(device))); });
}

void rt_script_free(rt_script *script) { delete script; }

rt_error rt_script_variables(const rt_script *script, void *to, rt_give_variable give) {
  return guarded([&] {
    for (const auto &slot : script->assigned)
      TORCH_CHECK(!slot.is_parameter, "the script assigns to `", slot.name,
                  "`: only an optimizer changes a parameter");
    for (const auto &slot : slots(script->module))
      give(to, slot.name.c_str(), new at::Tensor(slot.get()), slot.is_parameter);
  });
}

rt_error rt_script_methods(const rt_script *script, void *to, rt_give_name give) {
  return guarded([&] {
    for (const auto &method : script->module.get_methods())
      give(to, method.name().c_str());
  });
}

// Gradients are recorded if the caller records them.
rt_error rt_script_call(rt_script *script, const char *method, bool train, at::Tensor *const *inputs,
                        size_t n, void *to, rt_give_tensor give) {
  return caught([&] {
    script->set_mode(train);
    auto function = script->module.get_method(method);
    std::vector<c10::IValue> values;
    for (size_t i = 0; i < n; i++)
      values.emplace_back(*inputs[i]);
    std::vector<at::Tensor> outputs;
    {
      Lent lent(script->assigned);
      auto result = function(std::move(values));
      flatten(result, outputs);
      lent.keep();
    }
    for (const auto &output : outputs)
      give(to, new at::Tensor(output));
  });
}

rt_error rt_script_save(rt_script *script, const char *path) {
  return guarded([&] {
    script->set_mode(false);
    script->module.save(path);
  });
}

// By way of a file in memory. A mere copy would share the code with the module. A frozen graph, with the
// weights in it, would then live as long as the module.
rt_error rt_script_freeze(rt_script *script, const char *device, rt_script **frozen) {
  return guarded([&] {
    script->set_mode(false);
    std::stringstream file;
    script->module.save(file);
    auto copy = jit::freeze(jit::load(file, c10::Device(device)));
    *frozen = new rt_script(jit::optimize_for_inference(copy));
  });
}
