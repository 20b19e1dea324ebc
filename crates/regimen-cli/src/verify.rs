//! `regimen verify`: verifies the checksum of every file of every checkpoint.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::checkpoint::Listing;
use regimen::text::Count;
use serde::Serialize;

use crate::select::Source;
use crate::table::Table;
use crate::{output, select};

#[derive(Serialize)]
struct Verification {
    checkpoints: Vec<Verified>,
}

#[derive(Serialize)]
struct Verified {
    name: String,
    whole: bool,
    /// The damage, if any.
    reason: Option<String>,
}

/// Verifies the checkpoints of `dir`. Returns an error if one is damaged.
pub(crate) fn verify(dir: &Path, json: bool) -> Result<ExitCode, BoxError> {
    let Listing { checkpoints, skipped } = Source::of(dir)?.all()?;
    let verified = |path: &Path, reason: Option<String>| Verified {
        name: select::name(path),
        whole: reason.is_none(),
        reason,
    };
    let read = checkpoints.iter().map(|checkpoint| {
        verified(checkpoint.path(), checkpoint.verify().err().map(|reason| reason.to_string()))
    });
    let unread = skipped.iter().map(|skipped| verified(&skipped.path, Some(skipped.reason.to_string())));
    let verification = Verification { checkpoints: read.chain(unread).collect() };
    output::write(&verification, json)?;
    let all = verification.checkpoints.len();
    match verification.checkpoints.iter().filter(|verified| !verified.whole).count() {
        0 => Ok(ExitCode::SUCCESS),
        damaged => {
            Err(format!("damaged: {damaged} of {} in `{}`", Count(all as u64, "checkpoint"), dir.display())
                .into())
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["checkpoint", "state"], 0);
        for Verified { name, reason, .. } in &self.checkpoints {
            let state = reason.as_ref().map_or("whole".to_owned(), |reason| format!("damaged: {reason}"));
            table.row([name.clone(), state]);
        }
        table.fmt(f)
    }
}
