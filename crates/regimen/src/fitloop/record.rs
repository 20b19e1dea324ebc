//! Records: named values that a stage returns.

use std::convert::Infallible;
use std::fmt;

use crate::BoxError;
use crate::engine::Value;
use crate::runner::IntoValue;

/// Named values that a stage returns, in order; made by [`record!`](crate::record).
///
/// A step's values are of the engine's type `S`, or `f64`. Those of the start or end of an epoch are `f64`.
pub struct Record<S = Infallible> {
    values: Vec<(&'static str, Value<S>)>,
    /// The first value that is an error.
    mistake: Option<BoxError>,
}

impl<S> Record<S> {
    /// Without a value.
    pub fn new() -> Self {
        Record { values: Vec::new(), mistake: None }
    }

    /// Adds a value. An `Err` becomes an error of the stage, and so does a name that is there already, or `skipped`,
    /// which the loop logs itself.
    pub fn with<K>(mut self, name: &'static str, value: impl IntoValue<S, K>) -> Self {
        let is_taken = self.values.iter().any(|(known, _)| *known == name);
        let mistake = match name {
            "skipped" => {
                Some("`skipped` counts the updates that were skipped; give the value another name".into())
            }
            _ => is_taken.then(|| format!("`{name}` is twice in a record; give one another name").into()),
        };
        self.mistake = self.mistake.or(mistake);
        match value.into_value() {
            Ok(value) => self.values.push((name, value)),
            Err(cause) => {
                self.mistake.get_or_insert_with(|| format!("`{name}`: {cause}").into());
            }
        }
        self
    }

    /// The values in order.
    pub(super) fn into_values(self) -> Result<Vec<(&'static str, Value<S>)>, BoxError> {
        self.mistake.map_or(Ok(self.values), Err)
    }
}

impl Record {
    /// The numbers in order.
    pub(super) fn into_numbers(self) -> Result<Vec<(&'static str, f64)>, BoxError> {
        let number = |(name, value)| match value {
            Value::Host(number) => (name, number),
            Value::Device(never) => match never {},
        };
        Ok(self.into_values()?.into_iter().map(number).collect())
    }
}

impl<S> Default for Record<S> {
    fn default() -> Self {
        Record::new()
    }
}

impl<S> fmt::Debug for Record<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(name, _)| name)).finish()
    }
}

/// A [`Record`] of names with their values.
///
/// ```
/// use regimen::fitloop::{Record, record};
///
/// let record: Record = record! { loss: 0.25, accuracy: 9.0 / 10.0 };
/// assert_eq!(format!("{record:?}"), r#"["loss", "accuracy"]"#);
/// ```
#[macro_export]
macro_rules! record {
    ($($name:ident: $value:expr),* $(,)?) => {
        $crate::fitloop::Record::new()$(.with(stringify!($name), $value))*
    };
}
