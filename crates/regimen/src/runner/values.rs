//! The results of closures for losses and metrics.

use super::Terms;
use crate::engine::Value;
use crate::{BoxError, Loss};

/// The result of a criterion for an engine whose numbers are `S`: one of them, which is the mean over the batch, a
/// [`Loss`] with a weight of its own, [`Terms`], or a `Result` of one of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a loss: it is no number of the engine, `{S}`",
    note = "a criterion returns one number of the engine, a `Loss` or `Terms` of it, or a `Result<_, BoxError>` of one"
)]
pub trait IntoLoss<S> {
    /// The loss.
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError>;
}

/// A loss in one of the forms that a criterion may give it.
#[derive(Debug)]
pub enum AnyLoss<S> {
    /// The mean over the samples of the batch.
    Mean(S),
    /// A mean with a weight of its own.
    Weighted(Loss<S>),
    /// A sum of terms, each of which is the mean over the samples of the batch.
    Sum(Terms<S>),
}

impl<S> IntoLoss<S> for S {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        Ok(AnyLoss::Mean(self))
    }
}

impl<S> IntoLoss<S> for Loss<S> {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        Ok(AnyLoss::Weighted(self))
    }
}

impl<S> IntoLoss<S> for Terms<S> {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        Ok(AnyLoss::Sum(self))
    }
}

impl<S> IntoLoss<S> for Result<S, BoxError> {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        self.map(AnyLoss::Mean)
    }
}

impl<S> IntoLoss<S> for Result<Loss<S>, BoxError> {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        self.map(AnyLoss::Weighted)
    }
}

impl<S> IntoLoss<S> for Result<Terms<S>, BoxError> {
    fn into_loss(self) -> Result<AnyLoss<S>, BoxError> {
        self.map(AnyLoss::Sum)
    }
}

/// A measured number for an engine whose numbers are `S`: one of them, which stays on the device until it is read,
/// an `f64`, or a `Result` of either. The compiler finds `Kind`: [`Device`] or [`Host`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a measured number: it is neither `f64` nor the number of the engine, `{S}`",
    note = "a metric returns an `f64`, one number of the engine, or a `Result<_, BoxError>` of either"
)]
pub trait IntoValue<S, Kind> {
    /// The number.
    fn into_value(self) -> Result<Value<S>, BoxError>;
}

/// The kind of numbers that are on the device; see [`IntoValue`].
#[derive(Debug)]
pub enum Device {}

/// The kind of numbers that are on the host; see [`IntoValue`].
#[derive(Debug)]
pub enum Host {}

impl<S> IntoValue<S, Device> for S {
    fn into_value(self) -> Result<Value<S>, BoxError> {
        Ok(Value::Device(self))
    }
}

impl<S> IntoValue<S, Device> for Result<S, BoxError> {
    fn into_value(self) -> Result<Value<S>, BoxError> {
        self.map(Value::Device)
    }
}

impl<S> IntoValue<S, Host> for f64 {
    fn into_value(self) -> Result<Value<S>, BoxError> {
        Ok(Value::Host(self))
    }
}

impl<S> IntoValue<S, Host> for Result<f64, BoxError> {
    fn into_value(self) -> Result<Value<S>, BoxError> {
        self.map(Value::Host)
    }
}
