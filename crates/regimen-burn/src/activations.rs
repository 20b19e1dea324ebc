//! Activation checkpointing: activations are recomputed in the backward pass.

use std::panic::resume_unwind;
use std::{fmt, mem, vec};

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients as NodeGradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchKindConversion, DispatchTensor,
    DispatchTensorKind,
};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Distribution, GradientCheckpointingStrategy, Gradients, Int, Tensor};
use regimen_core::BoxError;

/// Computes `f(module, x)`. Keeps `x` for the backward pass, not the activations inside `f`.
///
/// The backward pass calls `f` once more and takes the gradients of `x` and of the parameters of `module`
/// from there: less memory for one more forward pass. It pays for a block of several layers, and calls may be
/// nested. It can be combined with Burn's own [`gradient_checkpointing`](Device::gradient_checkpointing),
/// which recomputes cheap operations.
///
/// ```
/// use regimen_burn::burn::nn::{Linear, LinearConfig};
/// use regimen_burn::burn::tensor::{Tensor, activation::tanh};
/// use regimen_burn::{checkpoint_activations, device};
///
/// let device = device("cpu")?.autodiff();
/// let blocks: Vec<[Linear; 2]> =
///     (0..4).map(|_| [0, 1].map(|_| LinearConfig::new(8, 8).init(&device))).collect();
/// let mut x = Tensor::<2>::ones([3, 8], &device);
/// for block in &blocks {
///     x = checkpoint_activations(block, x, |[first, second], x| {
///         tanh(second.forward(tanh(first.forward(x))))
///     })?;
/// }
/// let gradients = x.mean().backward();
/// assert!(blocks[0][0].weight.grad(&gradients).is_some());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// The gradients equal those of `f(module, x)` to the bit, with one exception: a tensor used three times or
/// more, some of them in `f`, may have its terms added in another order. A parameter that was itself
/// computed, such as the cast of a master weight, passes its gradient on. That gradient is zeros if `f` does
/// not use it. Running statistics, as of batch norm, are updated once.
///
/// **Random numbers.** `f` draws the same in both calls, so dropout has one mask. Before each call the
/// generator of `x`'s device is seeded with a number drawn from it. The draws are still a function of the
/// step's seed, but differ from those without this call. Drawing the number waits for the device.
///
/// Without autodiff on `x`, as in evaluation, this is `f(module, x)`. Supported are the backends that this
/// crate has a feature for; another one is an error.
///
/// A tensor with a gradient must come to `f` as a parameter of `module` (a tuple of clones for several
/// modules) or as `x`. A constant, such as a mask, may be captured. A result that depends on another tensor
/// with a gradient is an error. If `f` only computes with such a tensor and detaches the result, the backward
/// pass never ends. During the backward pass no other thread may compute with autodiff on the same
/// parameters.
pub fn checkpoint_activations<M: Module + 'static, const I: usize, const O: usize>(
    module: &M,
    x: Tensor<I>,
    f: impl Fn(&M, Tensor<I>) -> Tensor<O> + Send + 'static,
) -> Result<Tensor<O>, BoxError> {
    let device = x.device();
    if !device.is_autodiff() {
        return Ok(f(module, x));
    }
    let mut cut = Cut::default();
    let cut_module = module.clone().map(&mut cut);
    let cut_x = cut.cut(x.clone());
    let seed = draw(&device)?;
    device.seed(seed);
    if cut.parents.is_empty() {
        return Ok(f(module, x));
    }
    drop(x);
    let y = f(&cut_module, cut_x.clone());
    if y.is_tracked() {
        return Err("the result depends on a tensor with a gradient beside `x` and the parameters".into());
    }
    let Cut { roles, parents } = cut;
    let again = move |gradient| {
        let statistics = Statistics::of(&cut_module);
        let after = After { statistics, module: &cut_module, device: &device, seed: !seed };
        device.seed(seed);
        let mut leaves = Leaves(roles.clone().into_iter());
        let module = cut_module.clone().map(&mut leaves);
        let x = leaves.leaf(cut_x);
        let y = f(&module, x.clone());
        drop(after);
        let all = y.is_tracked().then(|| (y * Tensor::from_dispatch(gradient)).backward());
        let mut taken = Taken { roles: roles.into_iter(), all, taken: Vec::new() };
        module.visit(&mut taken);
        taken.take(&x);
        taken.taken
    };
    Ok(Tensor::from_dispatch(record(y.into_dispatch(), parents, Box::new(again))?))
}

/// A number from the device's generator.
fn draw(device: &Device) -> Result<u64, BoxError> {
    let range = Distribution::Uniform(0.0, 65536.0);
    let drawn = Tensor::<1, Int>::random([4], range, (device, DType::I32)).try_into_data_as::<i64>()?;
    Ok(drawn.as_slice::<i64>()?.iter().fold(0, |seed, part| seed << 16 ^ *part as u64))
}

/// The role of a float parameter, or `x`, in the backward pass.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Constant,
    /// Its gradient is kept for the caller.
    Leaf,
    /// Its gradient is passed on to its origin in the graph.
    Computed,
}

/// Detaches tensors from the graph, and lists their roles.
#[derive(Default)]
struct Cut {
    /// All of them, in the order of the visits.
    roles: Vec<Role>,
    /// All except the constants.
    parents: Vec<DispatchTensor>,
}

impl Cut {
    fn cut<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        let role = match (tensor.is_tracked(), tensor.is_require_grad()) {
            (false, _) => Role::Constant,
            (true, true) => Role::Leaf,
            (true, false) => Role::Computed,
        };
        self.roles.push(role);
        if role == Role::Constant {
            return tensor;
        }
        self.parents.push(tensor.clone().into_dispatch());
        tensor.set_require_grad(false)
    }
}

impl ModuleMapper for Cut {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| self.cut(tensor))
    }
}

/// Makes the detached tensors leaves of a separate graph.
struct Leaves(vec::IntoIter<Role>);

impl Leaves {
    fn leaf<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        match self.0.next() {
            None | Some(Role::Constant) => tensor,
            Some(Role::Leaf | Role::Computed) => tensor.require_grad(),
        }
    }
}

impl ModuleMapper for Leaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| self.leaf(tensor))
    }
}

/// Takes the gradients of the leaves, in their order.
struct Taken {
    roles: vec::IntoIter<Role>,
    all: Option<Gradients>,
    taken: Vec<Option<DispatchTensor>>,
}

impl Taken {
    fn take<const D: usize>(&mut self, leaf: &Tensor<D>) {
        let role = self.roles.next();
        if matches!(role, None | Some(Role::Constant)) {
            return;
        }
        let taken = self.all.as_mut().and_then(|all| leaf.grad_remove(all));
        // A step of the graph that waits for this gradient would panic without one.
        let missing = || (role == Some(Role::Computed)).then(|| leaf.clone().inner().zeros_like());
        self.taken.push(taken.or_else(missing).map(Tensor::into_dispatch));
    }
}

impl ModuleVisitor for Taken {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.take(&param.base());
    }
}

/// The float tensors of a module as they were. All copies of a module share its running statistics.
struct Statistics(Vec<DispatchTensor>);

impl Statistics {
    fn of<M: Module>(module: &M) -> Self {
        // The evaluation view takes in the newest update, which is pending until then.
        drop(module.valid());
        let mut statistics = Statistics(Vec::new());
        module.visit(&mut statistics);
        statistics
    }
}

/// On drop, restores the running statistics and the generator after a second call of `f`. Otherwise draws
/// would repeat those after the first call.
struct After<'a, M: Module> {
    statistics: Statistics,
    module: &'a M,
    device: &'a Device,
    seed: u64,
}

impl<M: Module> Drop for After<'_, M> {
    fn drop(&mut self) {
        drop(self.module.valid());
        let statistics = mem::take(&mut self.statistics.0);
        self.module.clone().map(&mut PutBack(statistics.into_iter()));
        self.device.seed(self.seed);
    }
}

impl ModuleVisitor for Statistics {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.base().into_dispatch());
    }
}

struct PutBack(vec::IntoIter<DispatchTensor>);

impl ModuleMapper for PutBack {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.next() {
            Some(tensor) => param.map(|_| Tensor::from_dispatch(tensor)),
            None => param,
        }
    }
}

/// From the gradient of a result to the gradients of its parents; `None` for a leaf without one.
type Again = Box<dyn FnOnce(DispatchTensor) -> Vec<Option<DispatchTensor>> + Send>;

/// Puts `output` in the graph of `parents`, with `again` as its backward step.
fn record(
    output: DispatchTensor,
    parents: Vec<DispatchTensor>,
    again: Again,
) -> Result<DispatchTensor, BoxError> {
    use GradientCheckpointingStrategy::{Balanced, Disabled};

    let strategy = Tensor::<1>::from_dispatch(output.clone()).gradient_checkpointing_strategy();
    match (&output.kind, strategy) {
        (DispatchTensorKind::Autodiff(kind), Some(strategy)) => match (&**kind, strategy) {
            #[cfg(feature = "flex")]
            (DispatchTensorKind::Flex(_), Disabled) => {
                record_on::<burn::backend::Flex, NoCheckpointing>(output, parents, again)
            }
            #[cfg(feature = "flex")]
            (DispatchTensorKind::Flex(_), Balanced) => {
                record_on::<burn::backend::Flex, BalancedCheckpointing>(output, parents, again)
            }
            #[cfg(any(feature = "cpu", feature = "cuda", feature = "rocm", feature = "wgpu"))]
            (DispatchTensorKind::Cube(_), Disabled) => {
                record_on::<burn::backend::Cube, NoCheckpointing>(output, parents, again)
            }
            #[cfg(any(feature = "cpu", feature = "cuda", feature = "rocm", feature = "wgpu"))]
            (DispatchTensorKind::Cube(_), Balanced) => {
                record_on::<burn::backend::Cube, BalancedCheckpointing>(output, parents, again)
            }
            _ => Err("activations are not checkpointed on this backend".into()),
        },
        _ => Err("the result is not on autodiff".into()),
    }
}

fn record_on<B: Backend, C: CheckpointStrategy>(
    output: DispatchTensor,
    parents: Vec<DispatchTensor>,
    again: Again,
) -> Result<DispatchTensor, BoxError>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, C>>,
{
    let primitive = |tensor| -> Result<FloatTensor<Autodiff<B, C>>, BoxError> {
        Ok(<DispatchTensor as DispatchKindConversion<Autodiff<B, C>>>::try_into_backend(tensor)?.float())
    };
    let output = primitive(output)?.into_primitive();
    // Burn's operations have a fixed number of parents. A chain of joints combines any number.
    let mut chain = Autodiff::<B, C>::from_inner(output.clone());
    let mut ids = Vec::with_capacity(parents.len());
    for parent in parents {
        let parent = primitive(parent)?;
        ids.push(parent.id());
        let (value, node) = chain.into_parts();
        let joint = Backward::<B, 2>::prepare::<C>(Joint, [node, parent.node()]);
        chain = joint.compute_bound().stateless(value);
    }
    let block = Backward::<B, 1>::prepare::<C>(Block { parents: ids, again }, [chain.node()]);
    let output = block.compute_bound().stateless(output);
    Ok(<DispatchTensor as DispatchKindConversion<Autodiff<B, C>>>::from_backend(BackendTensor::Float(output)))
}

/// Makes two nodes ancestors of the joint's descendants. It passes no gradients: [`Block`] passes them to its
/// ancestors itself.
#[derive(Debug)]
struct Joint;

impl<B: Backend> Backward<B, 2> for Joint {
    type State = ();

    fn backward(self, _: Ops<(), 2>, _: &mut NodeGradients, _: &mut Checkpointer) {}
}

struct Block {
    /// Ids, not nodes: a step that holds nodes keeps an abandoned graph from being freed.
    parents: Vec<NodeId>,
    again: Again,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("parents", &self.parents).finish_non_exhaustive()
    }
}

impl<B: Backend> Backward<B, 1> for Block
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = ();

    fn backward(self, ops: Ops<(), 1>, gradients: &mut NodeGradients, _: &mut Checkpointer) {
        let gradient = BackendTensor::<B>::Float(gradients.consume::<B>(&ops.node));
        let all = (self.again)(DispatchTensor::from_backend(gradient));
        for (id, gradient) in self.parents.into_iter().zip(all) {
            let Some(gradient) = gradient else { continue };
            match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(gradient) {
                Ok(gradient) => gradients.register::<B>(id, gradient.float()),
                // A gradient is on the backend of its tensor. Burn's backward returns no error, and leaving
                // one out would be a wrong sum.
                Err(cause) => resume_unwind(Box::new(format!("activations: {cause}"))),
            }
        }
    }
}
