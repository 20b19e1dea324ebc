//! Deserialization of the fields of one record.
//!
//! As in the crate `csv`, parts of tuples take one field after another, however they are nested.
//! Beyond it, types decide what a comma in a number means and which fields are missing, each part
//! of a struct takes the one column of its name, and a field that is left over is an error.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::fields::{Fields, Names};

macro_rules! integers {
    ($($deserialize:ident $visit:ident $integer:ident;)*) => {$(
        fn $deserialize<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = self.value()?;
            visitor.$visit(match text.strip_prefix("0x") {
                Some(digits) => $integer::from_str_radix(digits, 16)
                    .map_err(|error| self.unreadable(text, error))?,
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

    /// The type that a field looks like, for types that accept any.
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

    /// Units stand for columns that are not wanted.
    fn deserialize_unit<V: Visitor<'r>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_ignored_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'r>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! { <V: Visitor<'r>> identifier }
}
