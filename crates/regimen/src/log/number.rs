//! Numbers in JSON.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number as logs in JSON have it: those that are not finite are the strings `NaN`, `inf` and `-inf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_finite() {
            true => serializer.serialize_f64(self.0),
            false => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Finite(f64),
            Other(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Finite(number) => Ok(Number(number)),
            Written::Other(text) => {
                let unknown =
                    || D::Error::invalid_value(Unexpected::Str(&text), &"a number, `NaN`, `inf` or `-inf`");
                text.parse().map(Number).map_err(|_| unknown())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written() {
        let numbers = [
            0.1,
            -0.0,
            1.0,
            f64::MIN_POSITIVE / 3.0,
            f64::MAX,
            2.3_f32.into(),
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        for number in numbers {
            let text = serde_json::to_string(&Number(number)).unwrap();
            let read: Number = serde_json::from_str(&text).unwrap();
            assert_eq!(read.0.to_bits(), number.to_bits(), "{text}");
        }
        assert_eq!(serde_json::to_string(&Number(f64::NAN)).unwrap(), "\"NaN\"");
        assert!(serde_json::from_str::<Number>("\"NaN\"").unwrap().0.is_nan());
        assert_eq!(serde_json::from_str::<Number>("3").unwrap(), Number(3.0));
        let error = serde_json::from_str::<Number>("\"much\"").unwrap_err().to_string();
        assert_eq!(error, "invalid value: string \"much\", expected a number, `NaN`, `inf` or `-inf`");
    }
}
