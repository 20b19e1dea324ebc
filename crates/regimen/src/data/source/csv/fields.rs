//! The fields of one record as what a type asks for.
//!
//! As in the crate `csv`, parts of tuples take one field after another, however they are nested.
//! Beyond it, types decide what a comma in a number means and which fields are missing, each part
//! of a struct takes the one column of its name, and a field that is left over is an error.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use csv::ByteRecord;
use serde::de::value::{BorrowedStrDeserializer, Error};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::Csv;

/// The `record` as a `T`, which takes all of its fields.
pub(super) fn record<T: DeserializeOwned>(
    csv: &Csv,
    record: &ByteRecord,
    names: Option<&Names>,
) -> Result<T, Error> {
    let mut fields = Fields { csv, record, names, next: 0, end: record.len() };
    let value = T::deserialize(&mut fields)?;
    match fields.next {
        taken if taken < fields.end => Err(Error::custom(format!(
            "{} fields where the type has places for {taken}; name those it wants in a struct, or end a tuple in a `Vec`",
            fields.end
        ))),
        _ => Ok(value),
    }
}

/// The names of columns.
pub(super) struct Names {
    names: Vec<String>,
    /// One that two columns have.
    twice: Option<String>,
}

impl Names {
    /// Those in the first record of a table. One that is not UTF-8 is nobody's to ask for.
    pub(super) fn new(record: &ByteRecord) -> Result<Self, Error> {
        let names: Vec<_> = record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if let Some(name) =
            names.iter().find(|name| name.chars().any(|c| c.is_control() && !c.is_whitespace()))
        {
            return Err(Error::custom(format!("{name:?} is no name of a column; is this a table?")));
        }
        let mut seen = BTreeSet::new();
        let twice = names.iter().find(|name| !seen.insert(*name)).cloned();
        Ok(Names { names, twice })
    }

    pub(super) fn are_utf8(&self) -> bool {
        !self.names.iter().any(|name| name.contains(char::REPLACEMENT_CHARACTER))
    }
}

/// The fields of a record from `next` to before `end`.
struct Fields<'r> {
    csv: &'r Csv,
    record: &'r ByteRecord,
    names: Option<&'r Names>,
    next: usize,
    end: usize,
}

impl<'r> Fields<'r> {
    fn name(&self, column: usize) -> Option<&'r str> {
        self.names?.names.get(column).map(String::as_str)
    }

    fn peek(&self) -> Result<&'r [u8], Error> {
        let field = if self.next < self.end { self.record.get(self.next) } else { None };
        field.ok_or_else(|| Error::custom(format!("{} fields where the type has places for more", self.end)))
    }

    fn bytes(&mut self) -> Result<&'r [u8], Error> {
        let field = self.peek()?;
        self.next += 1;
        Ok(field)
    }

    fn text(&mut self) -> Result<&'r str, Error> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(bytes);
            self.wrong(format!("`{text}` is not UTF-8 ({error}); is the file `latin1`?"))
        })
    }

    /// Whether the next field says that there is none.
    fn is_missing(&self) -> Result<bool, Error> {
        let field = self.peek()?;
        Ok(field.is_empty() || self.csv.missing.iter().any(|text| text.as_bytes() == field))
    }

    /// The text of a field that must not be missing.
    fn value(&mut self) -> Result<&'r str, Error> {
        let missing = self.is_missing()?;
        let text = self.text()?;
        if missing {
            return Err(self.wrong(format!("`{text}` is a missing value, which takes an `Option`")));
        }
        Ok(text)
    }

    /// The text of a field as a `V`.
    fn parsed<V: FromStr<Err: Display>>(&self, text: &str) -> Result<V, Error> {
        text.parse().map_err(|error| self.unreadable(text, error))
    }

    /// The next field as a number that may have a fraction.
    fn float<V: FromStr<Err: Display>>(&mut self) -> Result<V, Error> {
        let text = self.value()?;
        self.fraction(text)?.parse().map_err(|error| self.unreadable(text, error))
    }

    /// The text of a number that may have a fraction, with a decimal point.
    fn fraction(&self, text: &'r str) -> Result<Cow<'r, str>, Error> {
        match self.csv.decimal_comma {
            false => Ok(text.into()),
            true if text.contains('.') => {
                Err(self.wrong(format!("`{text}` has a point, and the decimal sign is a comma")))
            }
            true => Ok(text.replacen(',', ".", 1).into()),
        }
    }

    fn unreadable(&self, text: &str, error: impl Display) -> Error {
        let hint = match text {
            _ if text.trim() != text => "; `trimmed` takes spaces away",
            _ if text.contains(',') && !self.csv.decimal_comma => "; see `decimal_comma`",
            _ => "",
        };
        self.wrong(format!("`{text}`: {error}{hint}"))
    }

    /// The error of the field that was taken last.
    fn wrong(&self, what: String) -> Error {
        let column = self.next.saturating_sub(1);
        let name = self.name(column).map_or(String::new(), |name| format!(" (`{name}`)"));
        Error::custom(format!("column {}{name}: {what}", self.next))
    }
}

macro_rules! integers {
    ($($deserialize:ident $visit:ident $integer:ident;)*) => {$(
        fn $deserialize<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = self.value()?;
            visitor.$visit(match text.strip_prefix("0x") {
                Some(digits) => $integer::from_str_radix(digits, 16)
                    .map_err(|error| self.wrong(format!("`{text}`: {error}")))?,
                None => self.parsed(text)?,
            })
        }
    )*};
}

impl<'r> Deserializer<'r> for &mut Fields<'r> {
    type Error = Error;

    integers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
    }

    fn deserialize_f32<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f32(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_bool<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.value()?;
        visitor.visit_bool(self.parsed(text)?)
    }

    fn deserialize_char<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.value()?;
        visitor.visit_char(self.parsed(text)?)
    }

    fn deserialize_str<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_missing()? {
            self.next += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'r>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'r>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'r>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(self)
    }

    fn deserialize_map<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        // A struct would say so itself of a name that it has.
        match self.names {
            Some(Names { twice: Some(name), .. }) => {
                Err(Error::custom(format!("two columns are called `{name}`")))
            }
            Some(_) => visitor.visit_map(self),
            None => Err(Error::custom("a map needs a line of names")),
        }
    }

    fn deserialize_struct<V: Visitor<'r>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.names.is_some() { visitor.visit_map(self) } else { visitor.visit_seq(self) }
    }

    fn deserialize_enum<V: Visitor<'r>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        self.bytes()?;
        visitor.visit_unit()
    }

    /// What a field looks like, for types that cannot say what they want.
    fn deserialize_any<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text()?;
        if let Ok(value) = text.parse() {
            visitor.visit_bool(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_u64(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_i64(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_u128(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_i128(value)
        } else if let Some(value) = self.fraction(text).ok().and_then(|text| text.parse().ok()) {
            visitor.visit_f64(value)
        } else {
            visitor.visit_borrowed_str(text)
        }
    }

    fn deserialize_string<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'r>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'r>> identifier }
}

impl<'r> SeqAccess<'r> for &mut Fields<'r> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'r>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.next == self.end { Ok(None) } else { seed.deserialize(&mut **self).map(Some) }
    }
}

impl<'r> MapAccess<'r> for &mut Fields<'r> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'r>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        match self.name(self.next) {
            Some(name) if self.next < self.end => {
                seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'r>>(&mut self, seed: S) -> Result<S::Value, Error> {
        // A list takes no more than its column, or those behind it would be lost.
        let column = self.next;
        self.next += 1;
        seed.deserialize(&mut Fields { next: column, end: column + 1, ..**self })
    }
}
