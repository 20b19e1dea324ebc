//! Errors that name the first number that is not finite.

use crate::BoxError;
use crate::engine::{Engine, Part};
use crate::error::NotFinite;
use crate::saved::StateDict;

/// The error of a loss, called `loss`, that is not finite. `output` is the first output inside the module
/// that was not finite, if one was seen.
pub(super) fn of_loss<E: Engine>(engine: &E, loss: &str, value: f64, output: Option<String>) -> BoxError {
    let from = match output {
        Some(path) => format!("; the first output that was not finite is that of `{path}`"),
        None => String::new(),
    };
    let parameter = appended(engine.state(Part::Module), "parameter or buffer");
    NotFinite::new(format!("{loss} is not finite: {value}{from}{parameter}")).into()
}

/// The error of a backward pass, which `what` describes. It is [`NotFinite`] if a gradient is, or if
/// libtorch says so.
pub(super) fn of_gradients<E: Engine>(engine: &E, what: &str) -> BoxError {
    let named = appended(engine.state(Part::Gradients), "gradient");
    match named.is_empty() && !what.contains("returned nan values") {
        true => what.into(),
        false => NotFinite::new(format!("{what}{named}")).into(),
    }
}

/// The addition to an error about `arrays`. Empty if all are finite, or cannot be read.
fn appended(arrays: Result<StateDict, BoxError>, kind: &str) -> String {
    let named = arrays.ok().and_then(|arrays| named(&arrays, kind));
    named.map(|named| format!("; {named}")).unwrap_or_default()
}

/// Fails if a held gradient is not finite. A norm may be infinite although every element is finite.
pub(super) fn check_gradients<E: Engine>(engine: &mut E) -> Result<(), BoxError> {
    if engine.gradients_are_finite()? {
        return Ok(());
    }
    match named(&engine.state(Part::Gradients)?, "gradient") {
        None => Ok(()),
        Some(named) => Err(NotFinite::new(format!("after backward, {named}")).into()),
    }
}

/// Fails if a parameter or a buffer is not finite.
pub(super) fn check_parameters<E: Engine>(engine: &E) -> Result<(), BoxError> {
    match named(&engine.state(Part::Module)?, "parameter or buffer") {
        None => Ok(()),
        Some(named) => Err(NotFinite::new(format!("after the update, {named}")).into()),
    }
}

/// Names the first array that is not finite and counts the others. `None` if all are finite.
fn named(dict: &StateDict, kind: &str) -> Option<String> {
    let mut wrong = dict.iter().filter(|(_, array)| !array.is_finite()).map(|(name, _)| name);
    let first = wrong.next()?;
    let others = match wrong.count() {
        0 => String::new(),
        1 => ", nor is 1 other".to_owned(),
        n => format!(", nor are {n} others"),
    };
    Some(format!("{kind} `{first}` is not finite{others}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_named_and_the_others_are_counted() {
        let mut dict = StateDict::new();
        for (name, x) in [("a", 1.0), ("b", f64::NAN), ("c", f64::INFINITY), ("d", f64::NAN)] {
            dict.insert(name, x).unwrap();
        }
        assert_eq!(named(&dict, "gradient").unwrap(), "gradient `b` is not finite, nor are 2 others");
        dict.remove("d").unwrap();
        assert_eq!(named(&dict, "gradient").unwrap(), "gradient `b` is not finite, nor is 1 other");
        dict.remove("c").unwrap();
        assert_eq!(named(&dict, "gradient").unwrap(), "gradient `b` is not finite");
        dict.remove("b").unwrap();
        assert_eq!(named(&dict, "gradient"), None);
    }
}
