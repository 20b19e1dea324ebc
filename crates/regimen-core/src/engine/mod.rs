//! The trait for engines: all that [`AutoUnit`](crate::AutoUnit) requires of a tensor library.

mod cost;
mod exchange;
mod names;
mod precision;
mod to_device;
mod variable;
pub(crate) mod watch;

pub use cost::{Cost, Work};
pub use exchange::exchange_after_backward;
pub use names::{any_of, group_beside};
pub use precision::Precision;
pub use to_device::ToDevice;
pub use variable::{Role, Variable};
pub use watch::note_unless_finite;

use std::any::Any;

use crate::BoxError;
use crate::saved::{StateDict, Stateful};

/// A module with its optimizer on a device of some tensor library.
///
/// This is the smallest set of operations for a whole training step that is the same for every library.
/// Gradients are *held* between backward and the optimizer's step, so that they can be accumulated over
/// micro-batches, scaled, measured, clipped, saved in mid-window and exchanged between ranks. There is no
/// tensor type here: losses are [`Engine::Scalar`], and everything that leaves the device leaves as a
/// [`StateDict`].
///
/// **Errors.** A method that fails leaves parameters, optimizer and held gradients as they were, unless it
/// says otherwise. If the library panics (on a shape error inside the module, say), the panic is caught
/// around the unit's step.
///
/// **Names.** Parameters are named by their path in the module (`blocks.0.linear.weight`), the
/// same in every process. Tied parameters appear once, under their first path.
pub trait Engine {
    /// The user's network.
    type Module;

    /// A loss or another single number on the device, not yet read.
    type Scalar: Send + 'static;

    /// The device of batches; see [`ToDevice`].
    type Device;

    /// A copy of the module's parameters and buffers on the device. Its state is named and laid out as the
    /// module's.
    type Weights: Stateful;

    /// Settings of the engine that training depends on, by name: the optimizer's weight decay, say. A run
    /// restored with other settings reports them. Default: empty.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The module as it is trained.
    fn module(&self) -> &Self::Module;

    /// Runs `f` on the module for `mode`. For [`Mode::Train`] gradients are recorded and dropout is on. The
    /// other modes are the evaluation view: no gradients, dropout off, running statistics fixed.
    fn with_module<R>(&mut self, mode: Mode, f: impl FnOnce(&Self::Module) -> R) -> R;

    /// The device for batches of `mode`.
    fn device(&self, mode: Mode) -> Self::Device;

    /// Sets the precision of the module from the next batch on, in every mode. Parameters, held gradients and
    /// the optimizer's state keep their types. A precision that the engine does not support is an error and
    /// changes nothing.
    fn set_precision(&mut self, precision: Precision) -> Result<(), BoxError> {
        match precision {
            Precision::F32 => Ok(()),
            other => Err(format!("this engine computes in fp32 only, not in {other}").into()),
        }
    }

    /// Switches the library's own detection of gradients that become NaN on or off.
    fn detect_anomaly(&mut self, _on: bool) {}

    /// Seeds every generator that the module draws from.
    fn seed(&mut self, seed: u64);

    /// Returns memory to the device and to the system that the library keeps for later allocations. No result
    /// depends on it; the next step allocates again. The default, for libraries that keep none, does nothing.
    fn release_memory(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// The number in `scalar`, without its graph. It is read if reading waits for no device, and else left
    /// there for [`read`](Engine::read). A tensor of several numbers is an error.
    fn detach(&self, scalar: &Self::Scalar) -> Result<Value<Self::Scalar>, BoxError>;

    /// Reads numbers left on the device by [`detach`](Engine::detach) or
    /// [`clip_gradient_norm`](Engine::clip_gradient_norm): all at once, in their order. It waits for the
    /// device. The default is for an engine that leaves no numbers there, and is an error.
    fn read(_scalars: &[Self::Scalar]) -> Result<Vec<f64>, BoxError> {
        Err("this engine leaves no number on the device".into())
    }

    /// Reads the number in `scalar`. It may wait for the device.
    fn value(&self, scalar: &Self::Scalar) -> Result<f64, BoxError> {
        match self.detach(scalar)? {
            Value::Host(number) => Ok(number),
            Value::Device(scalar) => {
                let read = Self::read(&[scalar])?;
                read.first().copied().ok_or_else(|| "the engine read no number".into())
            }
        }
    }

    /// The sum of `terms`, each a weight and a number, with its graph: a loss of several terms. No terms are
    /// an error.
    fn weighted_sum(terms: &[(f64, &Self::Scalar)]) -> Result<Self::Scalar, BoxError>;

    /// Adds `factor` times the gradients of `loss` to those held; `None` means 1. After an error the held
    /// gradients are undefined: discard them.
    fn backward(&mut self, loss: &Self::Scalar, factor: Option<f64>) -> Result<(), BoxError>;

    /// Multiplies the held gradients by `factor`.
    fn scale_gradients(&mut self, factor: f64) -> Result<(), BoxError>;

    /// The Euclidean norm over all held gradients together. 0 if no gradients are held, not finite if any
    /// element is not.
    fn gradient_norm(&mut self) -> Result<f64, BoxError>;

    /// Scales the held gradients so that their Euclidean norm is at most `limit`, and returns the norm
    /// before. The factor is `limit / norm`. They stay as they are if that is 1 or more, or if the norm is
    /// not finite. The default reads the norm.
    fn clip_gradient_norm(&mut self, limit: f64) -> Result<Value<Self::Scalar>, BoxError> {
        let norm = self.gradient_norm()?;
        if limit < norm && norm.is_finite() {
            self.scale_gradients(limit / norm)?;
        }
        Ok(Value::Host(norm))
    }

    /// Has the device leave out the next [`step`](Engine::step) if `scalar`, which was left there, is not
    /// finite. Parameters and optimizer then stay as they are, and the gradients are used up. One of several
    /// scalars is enough. A scalar that is not finite also restores the buffers on the device, now, as
    /// [`restore_buffers`](Engine::restore_buffers) does with all of them. Returns whether the engine supports
    /// this. If it does not, which is the default, [`AutoUnit`](crate::AutoUnit) reads the scalar.
    fn skip_unless_finite(&mut self, _scalar: &Self::Scalar) -> Result<bool, BoxError> {
        Ok(false)
    }

    /// Clamps every element of the held gradients to `-limit..=limit`; NaN stays NaN.
    fn clip_gradient_values(&mut self, limit: f64) -> Result<(), BoxError>;

    /// Scales the held gradient of each unit so that its Euclidean norm is at most `factor` times that of the
    /// weights of the unit, which counts as at least `floor`. A unit is the part of a parameter that belongs to
    /// one output of its layer; a parameter of fewer than two dimensions is one unit. A unit whose gradient has
    /// a norm that is not finite stays as it is. Nothing is read from the device.
    fn clip_gradient_units(&mut self, factor: f64, floor: f64) -> Result<(), BoxError>;

    /// Whether every element of the held gradients is finite. The default takes their norm. So it may return
    /// `false` for finite elements whose squares overflow.
    fn gradients_are_finite(&mut self) -> Result<bool, BoxError> {
        Ok(self.gradient_norm()?.is_finite())
    }

    /// The names of trained parameters that no backward pass has reached since the engine was made, in order:
    /// those that the loss does not depend on. Frozen ones are left out. [Loaded](Engine::load_state)
    /// gradients count as those of a backward pass, an exchange does not. The default, for engines that
    /// cannot know, is empty.
    fn unreached(&self) -> Result<Vec<String>, BoxError> {
        Ok(Vec::new())
    }

    /// Discards the held gradients, and with them the scalars given to
    /// [`skip_unless_finite`](Engine::skip_unless_finite).
    fn discard_gradients(&mut self);

    /// Passes the held gradients to `exchange` as flat buffers, and holds the values that it leaves in them.
    ///
    /// The first buffer has a flag for each parameter, in the order of their names: 1 if its gradient is held,
    /// else 0, in single precision. Those whose flag `exchange` leaves at 0 hold no gradient
    /// afterwards, and take no further part. The gradients of the others follow in that order, in buffers of at
    /// most `bytes` bytes each; a larger parameter makes one larger buffer. A gradient that is not held here is a
    /// run of zeros. So if `exchange` adds up over ranks, the buffers have the same lengths on each, and a
    /// parameter holds a gradient if some rank held one. A frozen one still holds none.
    ///
    /// After an error of `exchange` the held gradients are undefined: discard them.
    fn exchange_gradients(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError>;

    /// The same for an `exchange` that also takes buckets on a [device](Bucket::Device): gradients that are on one need not
    /// go through host memory. The flags are in host memory all the same. [`AutoUnit`](crate::AutoUnit) calls it if
    /// the peers [take them](crate::peers::Peers::takes_device).
    ///
    /// The default passes buckets in host memory.
    fn exchange_gradients_on_device(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.exchange_gradients(bytes, exchange)
    }

    /// Adds the gradients of `loss` to those held as [`backward`](Engine::backward) does, multiplies the held ones by
    /// `mean` (`None` means 1), and exchanges them as [`exchange_gradients`](Engine::exchange_gradients) does. A rank that
    /// has nothing to add gives no loss. `exchange` may be called by another thread than the caller's, and before the
    /// backward pass is over. [`AutoUnit`](crate::AutoUnit) calls it with
    /// [`overlap_exchange`](crate::AutoUnit::overlap_exchange), for the last step of a window.
    ///
    /// Afterwards only the gradients of the parameters are held for which `keep` returns `true`; without it, all. It is the
    /// share of the rank with [`shard_gradients`](crate::AutoUnit::shard_gradients). All take part in the exchange.
    ///
    /// An engine may choose other buckets than those of `exchange_gradients`, and pass on the flags after them, alike on
    /// all ranks. The gradients are the same. After an error they are undefined: discard them.
    ///
    /// The default does one after the other, as [`exchange_after_backward`] does.
    fn backward_and_exchange(
        &mut self,
        loss: Option<&Self::Scalar>,
        factor: Option<f64>,
        mean: Option<f64>,
        bytes: usize,
        keep: Option<&dyn Fn(&str) -> bool>,
        exchange: &mut (dyn FnMut(Bucket<'_>) -> Result<(), BoxError> + Send),
    ) -> Result<(), BoxError> {
        exchange_after_backward(self, loss, factor, mean, bytes, keep, exchange)
    }

    /// Discards the held gradients of the parameters for which `keep` returns `false`. Scalars given to
    /// [`skip_unless_finite`](Engine::skip_unless_finite) stay. The default copies the others through the host.
    fn retain_gradients(&mut self, keep: &dyn Fn(&str) -> bool) -> Result<(), BoxError> {
        let mut kept = StateDict::new();
        for (name, gradient) in self.state(Part::Gradients)? {
            if keep(&name) {
                kept.insert(name, gradient)?;
            }
        }
        self.load_state(Part::Gradients, &kept)
    }

    /// Passes the trained parameters to `exchange` as flat buffers, and takes up the values that it leaves in them.
    /// Frozen parameters take no part, nor do gradients and optimizer.
    ///
    /// Parameters are in the order of their names, in buffers of at most `bytes` bytes each; a larger parameter makes
    /// one larger buffer. One for which `is_own` returns `false` is a run of zeros, negative ones: added to a number
    /// they leave its bits as they are. So if `exchange` adds up over ranks of which one owns each parameter, all ranks
    /// have the parameters of the owners. After an error of `exchange` some parameters may have taken up values.
    ///
    /// The default copies the whole module through the host. It is an error for parameters that are neither in single
    /// nor in double precision.
    fn exchange_parameters(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        exchange::parameters(self, bytes, is_own, exchange)
    }

    /// The same for an `exchange` that also takes buckets on a [device](Bucket::Device), as
    /// [`exchange_gradients_on_device`](Engine::exchange_gradients_on_device). The default passes buckets in host
    /// memory.
    fn exchange_parameters_on_device(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.exchange_parameters(bytes, is_own, exchange)
    }

    /// Passes the buffers of the module (running statistics) to `exchange`, and takes up the values that it leaves.
    ///
    /// All buffers together are one flat buffer in double precision, in the order of their names; a module without
    /// buffers passes nothing. In double precision a mean of equal numbers of a narrower type is that number
    /// again. Integers are rounded to the nearest, and are exact up to 2 to the 53rd.
    fn exchange_buffers(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError>;

    /// The names of the parameter groups, in the order of the rates given to
    /// [`step`](Engine::step). At least one.
    fn groups(&self) -> &[String];

    /// Freezes the groups whose flag in `frozen` is set, and thaws the others; there is one flag for each of
    /// [`groups`](Engine::groups). A frozen parameter gets no gradient from backward, and holds none. So a
    /// step leaves it and its optimizer state as they are.
    fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError>;

    /// Sets the momentum of the next steps, a number from 0 to less than 1, in all groups. That of Adam is its
    /// first beta. The momentum is not a part of the state, and no state changes with it. An optimizer that has
    /// none is an error and changes nothing, as is the default, for engines that cannot change it.
    fn set_momentum(&mut self, _momentum: f64) -> Result<(), BoxError> {
        Err("this engine cannot change the momentum of its optimizer".into())
    }

    /// One optimizer step with the held gradients, which are used up. `rates` has one learning
    /// rate for each of [`groups`](Engine::groups).
    fn step(&mut self, rates: &[f64]) -> Result<(), BoxError>;

    /// Remembers the buffers (running statistics) for [`restore_buffers`](Engine::restore_buffers). Called
    /// before each training step, so that a step that fails leaves them as they were, and one whose update is
    /// left out on the device too. An engine without buffers does nothing.
    fn keep_buffers(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Restores the buffers remembered last: all, or those of the groups for which `of` returns `true`. A
    /// buffer belongs to the group of the parameters next to it.
    fn restore_buffers(&mut self, _of: Option<&[bool]>) -> Result<(), BoxError> {
        Ok(())
    }

    /// The name of a trained parameter that is not finite, or `None` if all are finite. The default looks for
    /// NaN in a copy of the module on the host.
    fn not_finite_parameter(&self) -> Result<Option<String>, BoxError> {
        Ok(first_nan(&self.state(Part::Module)?))
    }

    /// The module's parameters and buffers in the order of their names: those in the state of
    /// [`Part::Module`], with their present roles. It copies no number and waits for no device.
    fn variables(&self) -> Result<Vec<Variable>, BoxError>;

    /// Discards what it has measured so far, and measures from now on if `on` is set: the forward and backward
    /// passes in training, until it is called again. Steps take longer. No result
    /// changes, unless the library computes otherwise when somebody waits for it: its engine says so. The
    /// default, for engines that cannot measure, does nothing.
    fn measure(&mut self, _on: bool) {}

    /// The costs since [`measure`](Engine::measure) was called, summed over all passes, in the order of the
    /// layers' paths. The cost of a layer is without those of the layers in it. The default is empty.
    fn costs(&self) -> Vec<Cost> {
        Vec::new()
    }

    /// A copy of the state of `part`, by the names of the parameters.
    fn state(&self, part: Part) -> Result<StateDict, BoxError>;

    /// Checks whether [`load_state`](Engine::load_state) would accept `dict`: names, shapes, types.
    fn check_state(&self, part: Part, dict: &StateDict) -> Result<(), BoxError>;

    /// Replaces the state of `part`. A name, shape or type that does not fit is an error and changes nothing.
    fn load_state(&mut self, part: Part, dict: &StateDict) -> Result<(), BoxError>;

    /// `part` as a [`Stateful`], for a part of an [`AppState`](crate::saved::AppState).
    fn part(&mut self, part: Part) -> EnginePart<'_, Self> {
        EnginePart { engine: self, part }
    }

    /// A copy of the module's parameters and buffers.
    fn weights(&self) -> Result<Self::Weights, BoxError>;

    /// Moves `weights` towards those of the module: parameters by `share` of the way, buffers by
    /// `buffer_share`. A share of 1 copies, and integers are always copied.
    fn blend(&self, weights: &mut Self::Weights, share: f64, buffer_share: f64) -> Result<(), BoxError>;

    /// Exchanges the module's parameters and buffers with `weights`, which are of this engine.
    /// Nothing is copied; gradients and optimizer stay as they are.
    fn swap_weights(&mut self, weights: &mut Self::Weights);
}

/// A number that an engine has computed.
#[derive(Clone, Copy, Debug)]
pub enum Value<S> {
    /// It is on the host.
    Host(f64),
    /// It is on the device. Reading it may wait for all queued work.
    Device(S),
}

/// A part of an engine's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The parameters of the module, and its buffers (running statistics).
    Module,
    /// All state of the optimizer's next step except parameters and gradients. An array that belongs to a parameter
    /// is named by it, a dot and a name of its own. A state may lack parameters: those that never had a gradient. So
    /// an empty state, of an optimizer that has made no step, is always accepted.
    Optimizer,
    /// The held gradients. Empty if no gradients are held; a parameter missing in a state holds none.
    Gradients,
}

/// A [`Part`] of an engine; made by [`Engine::part`].
#[derive(Debug)]
pub struct EnginePart<'e, E: ?Sized> {
    engine: &'e mut E,
    part: Part,
}

impl<E: Engine + ?Sized> Stateful for EnginePart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.engine.state(self.part)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.engine.load_state(self.part, dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.engine.check_state(self.part, dict)
    }

    fn is_weights(&self) -> bool {
        self.part == Part::Module
    }
}

/// The purpose of running a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Training: gradients, dropout on.
    Train,
    /// Evaluation.
    Eval,
    /// Prediction.
    Predict,
}

/// A flat buffer of numbers that ranks exchange: gradients or parameters in their type, or running statistics.
#[derive(Debug)]
#[non_exhaustive]
pub enum Bucket<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
    /// A buffer in the memory of a device, for peers that [take it](crate::peers::Peers::takes_device). Its type is agreed
    /// on by the crates of the engine and of the peers, such as `CudaBuffer` of the crate `regimen-cuda`.
    Device(&'a mut (dyn Any + Send)),
}

impl Bucket<'_> {
    /// The error of peers, or of any other exchange, that does not take this kind of bucket.
    pub fn refused(&self) -> BoxError {
        let kind = match self {
            Bucket::F32(_) => "in single precision",
            Bucket::F64(_) => "in double precision",
            Bucket::Device(_) => "on a device",
        };
        format!(
            "a bucket {kind} is not taken here: an engine passes buckets on a device only to peers whose \
             `takes_device` is true"
        )
        .into()
    }
}

/// The first array with NaN.
fn first_nan(dict: &StateDict) -> Option<String> {
    dict.iter().find(|(_, array)| array.has_nan()).map(|(name, _)| name.to_owned())
}
