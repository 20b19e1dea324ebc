//! State that fails to save, check or load.

use regimen_core::BoxError;
use regimen_core::saved::{StateDict, Stateful};

/// A number whose `fault` fails with the error `told to fail`.
#[derive(Clone, Debug)]
pub struct BadState {
    /// The saved value.
    pub value: u64,
    /// The operation that fails; with `None` it behaves like a plain `u64`.
    pub fault: Option<Fault>,
}

/// The failing operation of a [`BadState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// [`Stateful::state_dict`].
    Save,
    /// [`Stateful::check_state_dict`]: the error comes before any change.
    Check,
    /// [`Stateful::load_state_dict`]: the error comes too late.
    Load,
}

impl BadState {
    /// Creates a state with `value` that fails at `fault`.
    pub fn new(value: u64, fault: Fault) -> Self {
        BadState { value, fault: Some(fault) }
    }

    fn fails_at(&self, fault: Fault) -> Result<(), BoxError> {
        if self.fault == Some(fault) { Err("told to fail".into()) } else { Ok(()) }
    }
}

impl Stateful for BadState {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.fails_at(Fault::Save)?;
        self.value.state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.fails_at(Fault::Load)?;
        self.value.load_state_dict(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.fails_at(Fault::Check)?;
        self.value.check_state_dict(dict)
    }
}
