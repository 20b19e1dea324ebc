//! Scripted actions of test doubles.

use regimen_core::{BoxError, State};

/// An action of a test double at the n-th call of a hook, after the call is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Returns an error: `told to fail`.
    Fail,
    /// Panics: `told to panic`.
    Panic,
    /// Pauses the run: `told to stop`.
    Stop,
    /// Finishes the run: `told to finish`.
    Finish,
    /// Leaves a notice: `told to notify`.
    Notify,
}

impl Act {
    pub(crate) fn perform(self, state: &mut State) -> Result<(), BoxError> {
        match self {
            Act::Fail => return Err("told to fail".into()),
            Act::Panic => panics(),
            Act::Stop => state.pause("told to stop"),
            Act::Finish => state.finish("told to finish"),
            Act::Notify => state.notify("told to notify"),
        }
        Ok(())
    }
}

#[expect(clippy::panic, reason = "the double is scripted to panic")]
pub(crate) fn panics() -> ! {
    panic!("told to panic")
}

/// Actions by the call at which they are due: the hook and its ordinal, from 1.
#[derive(Clone, Debug)]
pub(crate) struct Plan<C> {
    acts: Vec<(C, u64, Act)>,
    calls: Vec<(C, u64)>,
}

impl<C: Copy + PartialEq> Plan<C> {
    pub(crate) fn new() -> Self {
        Plan { acts: Vec::new(), calls: Vec::new() }
    }

    pub(crate) fn add(&mut self, call: C, n: u64, act: Act) {
        assert!(n > 0, "calls are counted from 1");
        self.acts.push((call, n, act));
    }

    /// Counts `call`, and performs the action due at it, if any.
    pub(crate) fn perform(&mut self, call: C, state: &mut State) -> Result<(), BoxError> {
        if !self.calls.iter().any(|(known, _)| *known == call) {
            self.calls.push((call, 0));
        }
        let counted = self.calls.iter_mut().find(|(known, _)| *known == call);
        let n = counted.map_or(0, |(_, n)| {
            *n += 1;
            *n
        });
        let due = self.acts.iter().filter(|(at, nth, _)| (*at, *nth) == (call, n));
        due.map(|(_, _, act)| *act).try_for_each(|act| act.perform(state))
    }
}
