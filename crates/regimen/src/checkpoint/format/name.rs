//! The names of a run directory's own directories.

use std::fmt;

use crate::checkpoint::store::StoreEntry;

/// Before the name of a checkpoint that is being written.
pub(crate) const TEMPORARY: &str = ".tmp-";
/// Before the name of a checkpoint that is being removed.
pub(crate) const DELETED: &str = ".del-";

/// The name of a checkpoint: `step-000000500`, or `post-mortem-000000500`.
///
/// When a step is saved again, the new checkpoint is `step-000000500-2`: nothing on disk is ever
/// replaced, so there is no moment at which neither of the two is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) step: u64,
    pub(crate) post_mortem: bool,
    /// 1 for the first of its step.
    copy: u64,
}

const STEP: &str = "step-";
const POST_MORTEM: &str = "post-mortem-";

impl Name {
    /// The checkpoint that `text` names. Returns `None` if it is not such a name.
    pub(crate) fn parse(text: &str) -> Option<Name> {
        let post_mortem = text.starts_with(POST_MORTEM);
        let rest = text.strip_prefix(if post_mortem { POST_MORTEM } else { STEP })?;
        let (step, copy) = rest.split_once('-').unwrap_or((rest, "1"));
        let name = Name { step: step.parse().ok()?, post_mortem, copy: copy.parse().ok()? };
        // Each name has one spelling, so what is spelt otherwise was not written by us.
        (name.to_string() == text).then_some(name)
    }

    /// The first name for `step` that, after `prefix`, no entry has.
    pub(crate) fn free(entries: &[StoreEntry], prefix: &str, step: u64, post_mortem: bool) -> Name {
        let copies = entries.iter().filter_map(|entry| Name::parse(entry.name.strip_prefix(prefix)?));
        let same = copies.filter(|name| (name.step, name.post_mortem) == (step, post_mortem));
        let copy = same.map(|name| name.copy).max().unwrap_or(0).saturating_add(1);
        Name { step, post_mortem, copy }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.post_mortem { POST_MORTEM } else { STEP };
        write!(f, "{kind}{:09}", self.step)?;
        if self.copy == 1 { Ok(()) } else { write!(f, "-{}", self.copy) }
    }
}

/// Whether `text` names what a process that died left half-written or half-removed.
pub(crate) fn is_leftover(text: &str) -> bool {
    let rest = text.strip_prefix(TEMPORARY).or_else(|| text.strip_prefix(DELETED));
    rest.is_some_and(|rest| Name::parse(rest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for name in ["step-000000500", "step-000000500-2", "post-mortem-000000007", "step-12345678901"] {
            assert_eq!(Name::parse(name).unwrap().to_string(), name);
        }
        let other = ["step-500", "step-000000500-1", "step-+00000500", "step-000000500-02", "step-", "best"];
        for name in other.into_iter().chain(["step-000000500/..", "STEP-000000500", "step-0000000005"]) {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_step_saved_again_gets_the_next_name() {
        let entry = |name: &str| StoreEntry { name: name.to_owned(), is_dir: true };
        let taken =
            ["step-000000005", "step-000000005-3", "step-000000006", ".tmp-step-000000005"].map(entry);
        let free = |prefix, step, post_mortem| Name::free(&taken, prefix, step, post_mortem).to_string();
        assert_eq!(free("", 5, false), "step-000000005-4");
        assert_eq!(free("", 5, true), "post-mortem-000000005");
        assert_eq!(free("", 7, false), "step-000000007");
        assert_eq!(free(TEMPORARY, 5, false), "step-000000005-2");
    }

    #[test]
    fn only_our_own_leftovers_are_leftovers() {
        assert!(is_leftover(".tmp-step-000000005") && is_leftover(".del-post-mortem-000000005-2"));
        for name in [".tmp-notes", ".tmp-", "step-000000005", ".old-step-000000005", ".git"] {
            assert!(!is_leftover(name), "{name}");
        }
    }
}
