//! Where predictions go.

use crate::BoxError;
use crate::saved::StateDict;

/// Takes the outputs of [`Run::predict_into`](crate::Run::predict_into), one a step.
///
/// A sink with a position can go on where a paused prediction stopped, also after a restart, so that
/// no output is written twice and none is missing.
pub trait PredictionSink<O> {
    /// A prediction begins: anew, or where `position` says that it stood. What was written after that
    /// belongs to steps that are made again, and is dropped. Of a prediction that is finished it is
    /// called too, to see whether everything is still there.
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError>;

    /// Takes one output. After an error the sink holds nothing of it, and its step is made again when
    /// the prediction goes on.
    fn write(&mut self, output: O) -> Result<(), BoxError>;

    /// Where the sink stands, with everything before that durable.
    fn position(&mut self) -> Result<StateDict, BoxError>;
}

/// A closure as a sink without a position.
pub(crate) struct ClosureSink<F>(pub(crate) F);

impl<O, F: FnMut(O) -> Result<(), BoxError>> PredictionSink<O> for ClosureSink<F> {
    fn begin(&mut self, _position: Option<&StateDict>) -> Result<(), BoxError> {
        Ok(())
    }

    fn write(&mut self, output: O) -> Result<(), BoxError> {
        (self.0)(output)
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        Ok(StateDict::new())
    }
}
