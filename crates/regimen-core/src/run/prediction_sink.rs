//! The trait for destinations of predictions.

use crate::BoxError;
use crate::saved::StateDict;

/// Takes the outputs of [`Run::predict_into`](crate::Run::predict_into), one per step.
///
/// A sink with a position continues where a paused prediction stopped, also after a restart. No output
/// is written twice and none is missing.
pub trait PredictionSink<O> {
    /// A prediction begins, from the start or from `position`. Outputs written after `position` belong
    /// to steps that are repeated, and are dropped. Also called for a finished prediction, to check
    /// that its outputs are still there.
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError>;

    /// Takes one output. After an error the sink holds nothing of it, and its step is repeated when the
    /// prediction continues.
    fn write(&mut self, output: O) -> Result<(), BoxError>;

    /// The position of the sink, with everything before it durable.
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
