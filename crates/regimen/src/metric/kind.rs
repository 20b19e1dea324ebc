//! The kind of a measure that counts one of several things, such as `mse`.

use crate::BoxError;
use crate::saved::StateDict;

/// It is an error to merge measures of two kinds.
pub(super) fn check_same_kind(ours: &str, theirs: &str) -> Result<(), BoxError> {
    if ours == theirs { Ok(()) } else { Err(format!("{ours} and {theirs} cannot be merged").into()) }
}

/// It is an error to load a state of another `kind`.
pub(super) fn check_kind(dict: &StateDict, kind: &str) -> Result<(), BoxError> {
    let saved = dict.array("kind")?.to_text()?;
    if saved == kind { Ok(()) } else { Err(format!("the saved measure is {saved}, this one {kind}").into()) }
}
