//! Output to stdout: written at once, as text or as JSON.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use regimen::BoxError;
use serde::{Serialize, Serializer};

/// Writes `result` as text or as JSON. A closed pipe is no error.
pub(crate) fn write(result: &(impl Display + Serialize), json: bool) -> Result<(), BoxError> {
    let text = match json {
        true => serde_json::to_string_pretty(result)? + "\n",
        false => escape(&result.to_string(), &['\n']),
    };
    write_text(&text)
}

/// Writes a text. A closed pipe is no error.
pub(crate) fn write_text(text: &str) -> Result<(), BoxError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|cause| format!("cannot write to stdout: {cause}").into()),
    }
}

/// Escapes the control characters in `text` except those in `keep`. Names of arrays and metrics may
/// contain them, and a terminal would execute them.
pub(crate) fn escape(text: &str, keep: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() && !keep.contains(&char) {
            true => escaped.extend(char.escape_default()),
            false => escaped.push(char),
        }
    }
    escaped
}

/// A number that serializes to a string in JSON if it is not finite, as JSON cannot express it.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}
