//! The hyper-parameters of a run.

use std::fmt;

use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The settings of a run by name, in the order in which they were given: see
/// [`Run::hyper_parameters`](crate::Run::hyper_parameters).
///
/// ```
/// use regimen_core::state::HyperParameters;
///
/// let settings =
///     HyperParameters::new().with("optimizer", "adam").with("rate", 1e-3).with("batch_size", 64);
/// assert_eq!(settings.to_string(), "optimizer=adam, rate=0.001, batch_size=64");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HyperParameters {
    list: Vec<(String, HyperParameter)>,
}

/// The value of a hyper-parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum HyperParameter {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

impl HyperParameters {
    /// No hyper-parameters.
    pub fn new() -> Self {
        HyperParameters::default()
    }

    /// Adds a hyper-parameter. One of the same name is replaced, in its place.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<HyperParameter>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.list.push((name, value)),
        }
        self
    }

    /// The value of `name`. Returns `None` if it was not given.
    pub fn get(&self, name: &str) -> Option<&HyperParameter> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Each name with its value, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HyperParameter)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The differences from those of a checkpoint, one text for each. Empty if there are none now.
    pub fn differences(&self, saved: &HyperParameters) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let text = |settings: &HyperParameters, name| settings.get(name).map(HyperParameter::to_string);
        let added = self.iter().map(|(name, _)| name).filter(|name| saved.get(name).is_none());
        let difference = |name| match (text(saved, name), text(self, name)) {
            (saved, now) if saved == now => None,
            (Some(saved), Some(now)) => Some(format!("`{name}` was {saved} and is {now}")),
            (Some(saved), None) => Some(format!("`{name}` was {saved} and is not given")),
            (None, now) => Some(format!("`{name}` was not given and is {}", now.unwrap_or_default())),
        };
        saved.iter().map(|(name, _)| name).chain(added).filter_map(difference).collect()
    }
}

impl fmt::Display for HyperParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .enumerate()
            .try_for_each(|(n, (name, value))| write!(f, "{}{name}={value}", if n == 0 { "" } else { ", " }))
    }
}

impl fmt::Display for HyperParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HyperParameter::Bool(value) => write!(f, "{value}"),
            HyperParameter::Integer(value) => write!(f, "{value}"),
            HyperParameter::Float(value) => write!(f, "{value}"),
            HyperParameter::Text(value) => f.write_str(value),
        }
    }
}

/// Names, values and their kinds; numbers with all their bits.
impl Stateful for HyperParameters {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let (mut text, mut counts) = (String::new(), Vec::new());
        for (name, value) in &self.list {
            let (kind, value) = match value {
                HyperParameter::Bool(value) => (0, value.to_string()),
                HyperParameter::Integer(value) => (1, value.to_string()),
                HyperParameter::Float(value) => (2, value.to_bits().to_string()),
                HyperParameter::Text(value) => (3, value.clone()),
            };
            counts.extend([name.len() as u64, kind, value.len() as u64]);
            text.extend([name, &*value]);
        }
        let mut dict = StateDict::new();
        dict.insert("text", Array::from_text(&text))?;
        dict.insert("counts", Array::from_slice(&counts))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let (text, counts) = (dict.array("text")?.to_text()?, dict.array("counts")?.to_vec::<u64>()?);
        let (counts, []) = counts.as_chunks::<3>() else {
            return Err("hyper-parameters: a row is incomplete".into());
        };
        let (mut rest, mut loaded) = (&*text, HyperParameters::new());
        let mut take = |length: u64| -> Result<&str, BoxError> {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (taken, after) =
                rest.split_at_checked(length).ok_or("hyper-parameters: a text is cut off")?;
            rest = after;
            Ok(taken)
        };
        for &[name, kind, value] in counts {
            let (name, value) = (take(name)?, take(value)?);
            let value = match kind {
                0 => value.parse().ok().map(HyperParameter::Bool),
                1 => value.parse().ok().map(HyperParameter::Integer),
                2 => value.parse().ok().map(|bits| HyperParameter::Float(f64::from_bits(bits))),
                3 => Some(HyperParameter::Text(value.to_owned())),
                _ => None,
            };
            let value = value.ok_or_else(|| format!("hyper-parameter `{name}`: its value cannot be read"))?;
            loaded = loaded.with(name, value);
        }
        *self = loaded;
        Ok(())
    }
}

macro_rules! from {
    ($($kind:ident: $($type:ty)+;)+) => {$($(
        impl From<$type> for HyperParameter {
            fn from(value: $type) -> Self {
                HyperParameter::$kind(value.into())
            }
        }
    )+)+};
}

from! {
    Bool: bool;
    Integer: i8 i16 i32 i64 u8 u16 u32;
    Float: f32 f64;
    Text: &str String;
}

/// A number above the largest `i64` is a text.
impl From<u64> for HyperParameter {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| HyperParameter::Text(value.to_string()), HyperParameter::Integer)
    }
}

impl From<usize> for HyperParameter {
    fn from(value: usize) -> Self {
        (value as u64).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HyperParameters {
        HyperParameters::new()
            .with("deep", true)
            .with("layers", 3)
            .with("rate", 0.1 + 0.2)
            .with("", "two\nlines")
            .with("none", f64::NAN)
            .with("large", u64::MAX)
    }

    #[test]
    fn they_come_back_from_a_checkpoint_as_they_were() {
        let mut loaded = HyperParameters::new();
        loaded.load_state_dict(&settings().state_dict().unwrap()).unwrap();
        assert_eq!(loaded.differences(&settings()), [""; 0]);
        assert_eq!(
            loaded.to_string(),
            "deep=true, layers=3, rate=0.30000000000000004, =two\nlines, none=NaN, large=18446744073709551615"
        );
    }

    #[test]
    fn differences_are_told_by_the_text_of_a_value() {
        let now = HyperParameters::new().with("rate", 1.0).with("deep", true).with("new", "x").with("n", 3);
        let saved = HyperParameters::new().with("rate", 0.5).with("old", 7).with("deep", true).with("n", 3.0);
        let told =
            ["`rate` was 0.5 and is 1", "`old` was 7 and is not given", "`new` was not given and is x"];
        assert_eq!(now.differences(&saved), told);
        assert_eq!(HyperParameters::new().differences(&saved), [""; 0]);
    }

    #[test]
    fn the_last_of_one_name_counts() {
        assert_eq!(HyperParameters::new().with("a", 1).with("b", 2).with("a", "x").to_string(), "a=x, b=2");
    }

    #[test]
    fn damaged_ones_are_refused_and_change_nothing() {
        for (text, counts, expected) in [
            ("rate", vec![4_u64, 2], "hyper-parameters: a row is incomplete"),
            ("rate", vec![9, 2, 0], "hyper-parameters: a text is cut off"),
            ("rate", vec![4, 9, 0], "hyper-parameter `rate`: its value cannot be read"),
            ("rate1x", vec![4, 1, 2], "hyper-parameter `rate`: its value cannot be read"),
        ] {
            let mut dict = StateDict::new();
            dict.insert("text", Array::from_text(text)).unwrap();
            dict.insert("counts", Array::from_slice(&counts)).unwrap();
            let mut kept = HyperParameters::new().with("a", 1);
            assert_eq!(kept.load_state_dict(&dict).unwrap_err().to_string(), expected);
            assert_eq!(kept.to_string(), "a=1");
        }
    }
}
