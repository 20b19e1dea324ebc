//! The fields of one record, one after another.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use csv::ByteRecord;
use serde::de::value::{BorrowedStrDeserializer, Error};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess};

use super::Csv;

/// The `record` as a `T`, which takes all of its fields.
pub(crate) fn record<T: DeserializeOwned>(
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
pub(crate) struct Names {
    names: Vec<String>,
    /// One that two columns have.
    pub(crate) twice: Option<String>,
}

impl Names {
    /// Those in the first record of a table. A name that is not UTF-8 matches no column.
    pub(crate) fn new(record: &ByteRecord) -> Result<Self, Error> {
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

    pub(crate) fn are_utf8(&self) -> bool {
        !self.names.iter().any(|name| name.contains(char::REPLACEMENT_CHARACTER))
    }
}

/// The fields of a record from `next` to before `end`.
pub(crate) struct Fields<'r> {
    csv: &'r Csv,
    record: &'r ByteRecord,
    pub(crate) names: Option<&'r Names>,
    pub(crate) next: usize,
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

    pub(crate) fn bytes(&mut self) -> Result<&'r [u8], Error> {
        let field = self.peek()?;
        self.next += 1;
        Ok(field)
    }

    pub(crate) fn text(&mut self) -> Result<&'r str, Error> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(bytes);
            self.wrong(format!("`{text}` is not UTF-8 ({error}); is the file `latin1`?"))
        })
    }

    /// Whether the next field says that there is none.
    pub(crate) fn is_missing(&self) -> Result<bool, Error> {
        let field = self.peek()?;
        Ok(field.is_empty() || self.csv.missing.iter().any(|text| text.as_bytes() == field))
    }

    /// The text of a field that must not be missing.
    pub(crate) fn value(&mut self) -> Result<&'r str, Error> {
        let missing = self.is_missing()?;
        let text = self.text()?;
        if missing {
            return Err(self.wrong(format!("`{text}` is a missing value, which takes an `Option`")));
        }
        Ok(text)
    }

    /// The text of a field as a `V`.
    pub(crate) fn parsed<V: FromStr<Err: Display>>(&self, text: &str) -> Result<V, Error> {
        text.parse().map_err(|error| self.unreadable(text, error))
    }

    /// The next field as a number that may have a fraction.
    pub(crate) fn float<V: FromStr<Err: Display> + Display>(&mut self) -> Result<V, Error> {
        let text = self.value()?;
        let value: V = self.fraction(text)?.parse().map_err(|error| self.unreadable(text, error))?;
        // Rust reads what is too large as infinity.
        let digits = text.contains(|char: char| char.is_ascii_digit());
        match digits && value.to_string().contains("inf") {
            true => Err(self.unreadable(text, "too large for its type")),
            false => Ok(value),
        }
    }

    /// The text of a number that may have a fraction, with a decimal point.
    pub(crate) fn fraction(&self, text: &'r str) -> Result<Cow<'r, str>, Error> {
        match self.csv.decimal_comma {
            false => Ok(text.into()),
            true if text.contains('.') => {
                Err(self.wrong(format!("`{text}` has a point, and the decimal sign is a comma")))
            }
            true => Ok(text.replacen(',', ".", 1).into()),
        }
    }

    pub(crate) fn unreadable(&self, text: &str, error: impl Display) -> Error {
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

impl<'r> SeqAccess<'r> for &mut Fields<'r> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'r>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if self.next == self.end {
            return Ok(None);
        }
        let before = self.next;
        let element = seed.deserialize(&mut **self)?;
        // A list of such would have no end.
        if self.next == before {
            return Err(Error::custom("a part of the type takes no field"));
        }
        Ok(Some(element))
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
