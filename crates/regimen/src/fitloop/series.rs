//! The values that the steps of an epoch recorded.

use crate::BoxError;
use crate::metric::Reading;
use crate::saved::{Array, StateDict, Stateful};

/// The values of one epoch by name, one per step, and its samples.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) samples: u64,
    /// In the order in which the names were first recorded.
    list: Vec<(String, Vec<Reading>)>,
}

impl Series {
    pub(super) fn push(&mut self, name: &str, value: Reading) {
        match self.list.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.list.push((name.to_owned(), vec![value])),
        }
    }

    /// The values of `name`. A name that no step recorded is an error, unless there was no step.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f64>, BoxError> {
        if self.list.is_empty() {
            return Ok(Vec::new());
        }
        let values = self.list.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        let values = values.ok_or_else(|| {
            let names: Vec<String> = self.list.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("no step of this epoch recorded `{name}`; recorded are {}", names.join(", "))
        })?;
        read(values)
    }

    /// All names with their values, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Result<Vec<f64>, BoxError>)> {
        self.list.iter().map(|(name, values)| (&**name, read(values)))
    }
}

fn read(values: &[Reading]) -> Result<Vec<f64>, BoxError> {
    values.iter().map(Reading::get).collect()
}

impl Stateful for Series {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("samples", self.samples)?;
        for (name, values) in self.all() {
            dict.insert(format!("values.{name}"), Array::from_slice(&values?))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = Series { samples: dict.count("samples")?, list: Vec::new() };
        for (name, values) in dict.under("values").iter() {
            let values = values.to_vec::<f64>()?.into_iter().map(Reading::from).collect();
            loaded.list.push((name.to_owned(), values));
        }
        *self = loaded;
        Ok(())
    }
}
