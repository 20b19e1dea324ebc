//! The values that the steps of an epoch recorded.

use crate::BoxError;
use crate::metric::Reading;
use crate::peers::Peers;
use crate::saved::{Array, StateDict, Stateful};

/// The values of one epoch by name, one per step, and its samples: of this rank, or of all after the end.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) samples: u64,
    /// In the order in which the names were first recorded.
    list: Vec<(String, Values)>,
}

#[derive(Debug, Default)]
struct Values {
    values: Vec<Reading>,
    /// Of the losses of their steps: 0 for a step that does not count.
    weights: Vec<f64>,
}

impl Series {
    pub(super) fn push(&mut self, name: &str, value: Reading, weight: f64) {
        let known = self.list.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.list.push((name.to_owned(), Values::default()));
            self.list.len() - 1
        });
        let (_, Values { values, weights }) = &mut self.list[known];
        values.push(value);
        weights.push(weight);
    }

    /// The values of `name`. A name that no step recorded is an error, unless there was no step.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f64>, BoxError> {
        self.find(name)?.map_or(Ok(Vec::new()), |found| read(&found.values))
    }

    /// The mean of those values by their weights. NaN if none has a weight.
    pub(super) fn mean(&self, name: &str) -> Result<f64, BoxError> {
        let Some(Values { values, weights }) = self.find(name)? else { return Ok(f64::NAN) };
        let values = read(values)?;
        let counted = values.iter().zip(weights).filter(|&(_, &weight)| weight > 0.0);
        let sum: f64 = counted.map(|(value, weight)| value * weight).sum();
        Ok(sum / weights.iter().sum::<f64>())
    }

    /// Returns `None` if there was no step.
    fn find(&self, name: &str) -> Result<Option<&Values>, BoxError> {
        let found = self.list.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        if found.is_none() && !self.list.is_empty() {
            let names: Vec<String> = self.list.iter().map(|(name, _)| format!("`{name}`")).collect();
            let names = names.join(", ");
            return Err(format!("no step of this epoch recorded `{name}`; recorded are {names}").into());
        }
        Ok(found)
    }

    /// Becomes that of all ranks: the values of rank 0, then those of rank 1.
    pub(super) fn unite(&mut self, peers: &dyn Peers) -> Result<(), BoxError> {
        *self = Series::of_ranks(&peers.gather_states(&self.state_dict()?)?)?;
        Ok(())
    }

    /// That of all ranks, from the state of each.
    pub(super) fn of_ranks(states: &[StateDict]) -> Result<Self, BoxError> {
        let mut all = Series::default();
        for state in states {
            let mut one = Series::default();
            one.load_state_dict(state)?;
            all.samples += one.samples;
            for (name, Values { values, weights }) in one.list {
                for (value, weight) in values.into_iter().zip(weights) {
                    all.push(&name, value, weight);
                }
            }
        }
        Ok(all)
    }

    /// All names with their values, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Result<Vec<f64>, BoxError>)> {
        self.list.iter().map(|(name, found)| (&**name, read(&found.values)))
    }
}

fn read(values: &[Reading]) -> Result<Vec<f64>, BoxError> {
    values.iter().map(Reading::get).collect()
}

impl Stateful for Series {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("samples", self.samples)?;
        for (name, Values { values, weights }) in &self.list {
            dict.insert(format!("values.{name}"), Array::from_slice(&read(values)?))?;
            dict.insert(format!("weights.{name}"), Array::from_slice(weights))?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = Series { samples: dict.count("samples")?, list: Vec::new() };
        for (name, values) in dict.under("values").iter() {
            let values = values.to_vec::<f64>()?.into_iter().map(Reading::from).collect();
            let weights = dict.array(&format!("weights.{name}"))?.to_vec()?;
            loaded.list.push((name.to_owned(), Values { values, weights }));
        }
        *self = loaded;
        Ok(())
    }
}
