//! An error for data that stays empty.

use super::{Event, Events};
use crate::saved::{StateDict, Stateful};
use crate::text::Count;
use crate::{BoxError, Callback, State};

/// Fails a run in which several training epochs in a row have no batch.
///
/// A run refuses the first of them, unless it is told to [`allow_empty`](crate::Fit::allow_empty): so this
/// is for data that may be empty for a while, such as a stream that waits for its source. Each epoch
/// without a batch is a notice. The count is saved with the run; an epoch with a batch sets it back.
#[derive(Clone, Debug)]
pub struct EmptyDataDetector {
    threshold: u64,
    in_a_row: u64,
}

impl EmptyDataDetector {
    /// Fails at the `threshold`-th epoch in a row without a batch. A threshold of 0 is an error when
    /// the run starts.
    pub fn new(threshold: u64) -> Self {
        EmptyDataDetector { threshold, in_a_row: 0 }
    }
}

impl<U: ?Sized> Callback<U> for EmptyDataDetector {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStart, Event::TrainEpochEnd])
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }

    fn on_train_start(&mut self, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        match self.threshold {
            0 => Err("a threshold of 0 epochs refuses every epoch; give 1 or more".into()),
            _ => Ok(()),
        }
    }

    fn on_train_epoch_end(&mut self, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if 0 < state.train_progress().steps_in_last_epoch {
            self.in_a_row = 0;
            return Ok(());
        }
        self.in_a_row += 1;
        if self.in_a_row < self.threshold {
            state.notify(format!("training epoch {} had no batch", state.train_progress().epochs));
            return Ok(());
        }
        // A call that goes on all the same is given as many again.
        let epochs = Count(std::mem::take(&mut self.in_a_row), "epoch");
        Err(format!("the train data gave no batch in {epochs} in a row; is its source still there?").into())
    }
}

/// The number of epochs in a row without a batch.
impl Stateful for EmptyDataDetector {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("in_a_row", self.in_a_row)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.in_a_row = dict.count("in_a_row")?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        dict.count("in_a_row").map(drop)
    }
}
