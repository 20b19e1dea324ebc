//! Limits of names, counts and sizes. Writer and reader have the same, so that every checkpoint that is
//! acknowledged can be restored.

use regimen_core::BoxError;
use regimen_core::saved::MAX_COUNT;

/// Far more than any manifest has, so that a damaged length cannot fill the memory.
pub(crate) const MAX_MANIFEST: u64 = 16 << 20;
/// As large a header of a safetensors file as other readers take.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// Returns an error if `name` cannot be the name of a part's file.
pub(crate) fn check_part(name: &str) -> Result<(), BoxError> {
    if is_plain(name) && name.len() <= 200 {
        return Ok(());
    }
    let may = "at most 200 letters, digits, `_`, `-` and `.`, and no `.` at the beginning";
    Err(format!("the part {name:?} cannot be the name of a file: {may}").into())
}

/// Returns an error if `count` is more than any run comes to: later additions must not overflow.
pub(crate) fn check_count(name: &str, count: u64) -> Result<(), BoxError> {
    if MAX_COUNT < count {
        return Err(format!("{name} {count} is more than {MAX_COUNT}, which no run comes to").into());
    }
    Ok(())
}

/// Returns an error if `run` cannot identify a run.
pub(crate) fn check_run(run: &str) -> Result<(), BoxError> {
    if is_plain(run) && run.len() <= 100 {
        return Ok(());
    }
    let may = "at most 100 letters, digits, `_`, `-` and `.`, and no `.` at the beginning";
    Err(format!("{run:?} cannot identify a run: {may}").into())
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}
