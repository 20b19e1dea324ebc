//! The JSON of a header, read in one pass: nothing of it is kept but the arrays.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use regimen_core::BoxError;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::layout::{DTYPES, Layout, METADATA};

/// The span of each array of a file.
pub(crate) struct Arrays(pub(super) BTreeMap<String, Span>);

/// The layout of one array, and its first and last byte.
pub(crate) struct Span {
    pub(crate) layout: Layout,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl<'de> Deserialize<'de> for Arrays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ArraysVisitor)
    }
}

struct ArraysVisitor;

impl<'de> Visitor<'de> for ArraysVisitor {
    type Value = Arrays;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arrays by name")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Arrays, M::Error> {
        let (mut arrays, mut metadata) = (BTreeMap::new(), None);
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                set_once(&mut metadata, METADATA, map.next_value::<Option<Metadata>>()?)?;
                continue;
            }
            match arrays.entry(name) {
                Entry::Occupied(entry) => {
                    return Err(M::Error::custom(format_args!("two arrays are named `{}`", entry.key())));
                }
                Entry::Vacant(entry) => {
                    let info: Info = map.next_value()?;
                    let place = info.span();
                    entry.insert(place.map_err(M::Error::custom)?);
                }
            }
        }
        Ok(Arrays(arrays))
    }
}

/// Fills `place`. It is an error if that was done before.
fn set_once<T, E: Error>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    place.replace(value).map_or(Ok(()), |_| Err(E::duplicate_field(name)))
}

/// The fields of one array in the header, by name or, as of any struct in JSON, in this order.
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

const FIELDS: [&str; 3] = ["dtype", "shape", "data_offsets"];

impl Info {
    fn span(self) -> Result<Span, BoxError> {
        let Info { dtype, shape, data_offsets: (start, end) } = self;
        let listed = DTYPES.iter().find(|(_, name)| *name == dtype);
        let &(dtype, _) = listed.ok_or_else(|| format!("arrays of type `{dtype}` cannot be read"))?;
        let bytes = dtype.bytes_of(&shape).ok_or_else(|| format!("shape {shape:?} is too large"))?;
        Ok(Span { layout: Layout { dtype, shape, bytes }, start, end })
    }
}

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Info", &FIELDS, InfoVisitor)
    }
}

struct InfoVisitor;

impl<'de> Visitor<'de> for InfoVisitor {
    type Value = Info;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("type, shape and offsets of an array")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Info, M::Error> {
        let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match &*name {
                "dtype" => set_once(&mut dtype, FIELDS[0], map.next_value()?)?,
                "shape" => set_once(&mut shape, FIELDS[1], map.next_value()?)?,
                "data_offsets" => set_once(&mut data_offsets, FIELDS[2], map.next_value()?)?,
                _ => {
                    map.next_value::<Passed>()?;
                }
            }
        }
        let missing = M::Error::missing_field;
        Ok(Info {
            dtype: dtype.ok_or_else(|| missing(FIELDS[0]))?,
            shape: shape.ok_or_else(|| missing(FIELDS[1]))?,
            data_offsets: data_offsets.ok_or_else(|| missing(FIELDS[2]))?,
        })
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Info, S::Error> {
        let missing = |n| S::Error::invalid_length(n, &InfoVisitor);
        Ok(Info {
            dtype: seq.next_element()?.ok_or_else(|| missing(0))?,
            shape: seq.next_element()?.ok_or_else(|| missing(1))?,
            data_offsets: seq.next_element()?.ok_or_else(|| missing(2))?,
        })
    }
}

/// Text by text, read past.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Metadata)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text by text")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Metadata, M::Error> {
        while map.next_entry::<Cow<'_, str>, Cow<'_, str>>()?.is_some() {}
        Ok(Metadata)
    }
}

/// Any value, checked and not kept: other readers pass over it, and it must be JSON to them as well.
struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Passed)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Passed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_str<E>(self, _: &str) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Passed, S::Error> {
        while seq.next_element::<Passed>()?.is_some() {}
        Ok(Passed)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Passed, M::Error> {
        while map.next_entry::<Passed, Passed>()?.is_some() {}
        Ok(Passed)
    }
}
