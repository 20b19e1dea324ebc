#include "activations.h"

#include "guard.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

using torch::autograd::Engine;
using torch::autograd::SavedVariable;
using Hooks = torch::autograd::SavedVariableHooks;

// The sources of saved-tensor hooks for nodes made by this thread: the last one counts.
struct Layer {
  virtual std::unique_ptr<Hooks> hooks() = 0;
};
thread_local std::vector<Layer *> layers;

// libtorch's engine, with hooks for saved tensors. libtorch requests hooks only here. Backward passes run on
// the previous engine.
struct HookedEngine : Engine {
  Engine &inner;

  explicit HookedEngine(Engine &inner) : inner(inner) {}

  std::unique_ptr<Hooks> get_default_saved_variable_hooks() override {
    return layers.empty() ? inner.get_default_saved_variable_hooks() : layers.back()->hooks();
  }

  torch::autograd::variable_list execute(const torch::autograd::edge_list &roots,
                                         const torch::autograd::variable_list &inputs, bool keep_graph,
                                         bool create_graph, bool accumulate_grad,
                                         const torch::autograd::edge_list &outputs) override {
    return inner.execute(roots, inputs, keep_graph, create_graph, accumulate_grad, outputs);
  }

  c10::intrusive_ptr<at::ivalue::Future>
  execute_with_graph_task(const std::shared_ptr<torch::autograd::GraphTask> &task,
                          std::shared_ptr<torch::autograd::Node> root,
                          torch::autograd::InputBuffer &&input) override {
    return inner.execute_with_graph_task(task, std::move(root), std::move(input));
  }

  std::unique_ptr<torch::autograd::AnomalyMetadata> make_anomaly_metadata() override {
    return inner.make_anomaly_metadata();
  }

  static void install() {
    // Never freed: the graph may outlive objects that are freed at the end of the process.
    static Engine *const engine = new HookedEngine(Engine::get_default_engine());
    static const bool is_installed = [] {
      torch::autograd::set_default_engine_stub([]() -> Engine & { return *engine; });
      return true;
    }();
    (void)is_installed;
  }
};

// The state that a computation depends on in addition to its input: the generators and autocast.
class Surroundings {
  struct Autocast {
    at::DeviceType device;
    bool is_enabled;
    at::ScalarType type;
  };
  std::vector<std::pair<at::Generator, at::Tensor>> generators;
  std::vector<Autocast> autocasts;
  bool is_cached = at::autocast::is_autocast_cache_enabled();

  void take(at::Device device) {
    if (at::autocast::is_autocast_available(device.type()))
      autocasts.push_back({device.type(), at::autocast::is_autocast_enabled(device.type()),
                           at::autocast::get_autocast_dtype(device.type())});
    if (device.is_cpu() || device.is_cuda() || device.is_mps()) {
      auto generator = at::globalContext().defaultGenerator(device);
      std::lock_guard<std::mutex> lock(generator.mutex());
      auto state = generator.get_state();
      generators.emplace_back(std::move(generator), std::move(state));
    }
  }

public:
  // The present state of the CPU and of `device`.
  explicit Surroundings(at::Device device) {
    take(at::kCPU);
    if (!device.is_cpu())
      take(device);
  }

  void put() const {
    for (auto [generator, state] : generators) {
      std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
    for (auto &autocast : autocasts) {
      at::autocast::set_autocast_enabled(autocast.device, autocast.is_enabled);
      at::autocast::set_autocast_dtype(autocast.device, autocast.type);
    }
    at::autocast::set_autocast_cache_enabled(is_cached);
  }
};

// Restores at its end the state at its beginning.
struct KeptSurroundings {
  Surroundings before;

  explicit KeptSurroundings(at::Device device) : before(device) { at::autocast::increment_nesting(); }

  ~KeptSurroundings() {
    caught([&] {
      if (at::autocast::decrement_nesting() == 0)
        at::autocast::clear_cache();
      before.put();
    });
  }
};

// Statistics that a forward pass changes while its nodes save them, as batch norm does. Restores at its end
// the values at its beginning. Alive while this thread recomputes.
struct Statistics {
  std::vector<std::pair<at::Tensor, at::Tensor>> before;
  Statistics *outer;
  static thread_local Statistics *current;

  Statistics() : outer(current) { current = this; }

  ~Statistics() {
    current = outer;
    guarded([&] {
      // If a tensor was seen twice, the first had the value at the beginning.
      for (auto seen = before.rbegin(); seen != before.rend(); ++seen)
        seen->first.copy_(seen->second);
    });
  }

  // A node requests them before its kernel runs.
  static void see(const at::Tensor &tensor) {
    if (current && !tensor.requires_grad() && tensor.dim() == 1 && tensor.is_floating_point()) {
      // With a separate version: to the graph, restoring is no change.
      auto alias = tensor.variable_data();
      current->before.emplace_back(alias, alias.clone());
    }
  }
};
thread_local Statistics *Statistics::current = nullptr;

// Makes its layer the last while it lives.
struct Pushed {
  explicit Pushed(Layer *layer) { layers.push_back(layer); }
  ~Pushed() { layers.pop_back(); }
};

struct Closure {
  rt_closure with;
  explicit Closure(rt_closure with) : with(with) {}
  Closure(const Closure &) = delete;
  ~Closure() { with.drop(with.data); }
};

constexpr const char *IS_OPEN = "a backward pass in the middle of a region whose activations are not kept";

struct Region : Layer, std::enable_shared_from_this<Region> {
  // The saved tensors of a node, and the recomputed ones not yet used.
  struct Slot {
    at::DimVector sizes;
    at::ScalarType type;
    at::Device device;
    bool is_wanted = true;
    at::Tensor again;

    explicit Slot(const at::Tensor &tensor)
        : sizes(tensor.sizes()), type(tensor.scalar_type()), device(tensor.device()) {}
  };

  std::unique_ptr<Closure> closure;
  at::Device device;
  // Saved as by a node: a region around this one may decide otherwise.
  SavedVariable x;
  Surroundings surroundings;
  std::vector<Slot> slots;
  std::atomic<bool> is_whole{false};
  std::recursive_mutex mutex;
  bool is_busy = false;

  Region(const at::Tensor &x, std::unique_ptr<Closure> closure)
      : closure(std::move(closure)), device(x.device()), x(x, false), surroundings(device) {}

  std::unique_ptr<Hooks> hooks() override;

  at::Tensor take(size_t index) {
    TORCH_CHECK(is_whole, IS_OPEN);
    std::lock_guard<std::recursive_mutex> lock(mutex);
    if (!slots[index].again.defined())
      compute_again();
    return std::move(slots[index].again);
  }

  void forget(size_t index) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    slots[index].is_wanted = false;
    slots[index].again.reset();
  }

  void compute_again();
};

// Placeholder for a saved tensor of a node.
struct Promise : Hooks {
  std::shared_ptr<Region> region;
  size_t index = SIZE_MAX;
  // Parameters exist anyway. Saving them lets changes be found, as in a graph that saves everything.
  at::Tensor leaf;
  int64_t version = 0;

  explicit Promise(std::shared_ptr<Region> region) : region(std::move(region)) {}

  ~Promise() override {
    if (index != SIZE_MAX)
      region->forget(index);
  }

  void call_pack_hook(const at::Tensor &tensor) override {
    Statistics::see(tensor);
    region->slots.emplace_back(tensor);
    index = region->slots.size() - 1;
    if (tensor.is_leaf() && tensor.requires_grad()) {
      leaf = tensor;
      version = tensor._version();
    }
  }

  at::Tensor call_unpack_hook() override {
    if (!leaf.defined())
      return region->take(index);
    TORCH_CHECK(leaf._version() == version, "a parameter of shape ", leaf.sizes(),
                " was changed between the forward and the backward pass");
    return leaf.detach();
  }
};

std::unique_ptr<Hooks> Region::hooks() { return std::make_unique<Promise>(shared_from_this()); }

// The tensors that nodes save while a region is recomputed.
struct Again : Layer {
  struct Found {
    at::Tensor tensor;
    int64_t version;
  };
  const std::vector<Region::Slot> &slots;
  std::vector<Found> found;

  explicit Again(const std::vector<Region::Slot> &slots) : slots(slots) {}

  struct Finder : Hooks {
    Again &again;
    explicit Finder(Again &again) : again(again) {}

    void call_pack_hook(const at::Tensor &tensor) override {
      Statistics::see(tensor);
      auto index = again.found.size();
      bool is_wanted = index < again.slots.size() && again.slots[index].is_wanted;
      // Without its graph.
      again.found.push_back({is_wanted ? tensor.tensor_data() : at::Tensor(), tensor._version()});
    }

    at::Tensor call_unpack_hook() override { TORCH_CHECK(false, IS_OPEN); }
  };

  std::unique_ptr<Hooks> hooks() override { return std::make_unique<Finder>(*this); }
};

void Region::compute_again() {
  TORCH_CHECK(!is_busy, IS_OPEN);
  auto input = x.unpack();
  Again again(slots);
  {
    struct Busy {
      bool &flag;
      explicit Busy(bool &flag) : flag(flag) { flag = true; }
      ~Busy() { flag = false; }
    } busy(is_busy);
    KeptSurroundings kept(device);
    surroundings.put();
    Statistics statistics;
    Pushed pushed(&again);
    if (auto text = closure->with.call(closure->with.data, new at::Tensor(std::move(input))))
      throw std::runtime_error(text);
  }
  constexpr const char *REMEDY = ": what is computed again must be the same each time";
  TORCH_CHECK(again.found.size() == slots.size(), "the forward pass kept ", slots.size(),
              " tensors, computed again it kept ", again.found.size(), REMEDY);
  for (size_t i = 0; i < slots.size(); i++) {
    auto &[tensor, version] = again.found[i];
    if (!tensor.defined())
      continue;
    auto &slot = slots[i];
    TORCH_CHECK(tensor.sizes() == slot.sizes && tensor.scalar_type() == slot.type &&
                    tensor.device() == slot.device,
                "the forward pass kept ", slot.type, at::IntArrayRef(slot.sizes), ", computed again it kept ",
                tensor.scalar_type(), tensor.sizes(), REMEDY);
    TORCH_CHECK(tensor._version() == version,
                "a tensor that the backward pass needs is changed in place later on");
  }
  for (size_t i = 0; i < slots.size(); i++)
    slots[i].again = std::move(again.found[i].tensor);
}

} // namespace

bool rt_is_recording(void) { return at::GradMode::is_enabled(); }

rt_error rt_begin_region(at::Tensor *x, rt_closure with, void **region) {
  return caught([&] {
    auto closure = std::make_unique<Closure>(with);
    HookedEngine::install();
    auto own = std::make_unique<std::shared_ptr<Region>>(std::make_shared<Region>(*x, std::move(closure)));
    layers.push_back(own->get());
    *region = own.release();
  });
}

void rt_end_region(void *region, bool whole) {
  std::unique_ptr<std::shared_ptr<Region>> own(static_cast<std::shared_ptr<Region> *>(region));
  layers.pop_back();
  (*own)->is_whole = whole;
}
