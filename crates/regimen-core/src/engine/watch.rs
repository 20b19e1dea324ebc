//! The first output inside a module that is not finite.

use std::cell::RefCell;

/// Notes `path` if its value is not finite and no earlier path was noted. Outside a loss computed under
/// [`detect_anomaly`](crate::AutoUnit::detect_anomaly) on this thread it does nothing, and does not call
/// `is_finite`.
///
/// Engine crates wrap it for their tensors, as `watch`: call theirs in `forward`.
pub fn note_unless_finite(path: &str, is_finite: impl FnOnce() -> bool) {
    let asks = WATCH.with_borrow(|watch| matches!(watch, Watch::Asking(None)));
    if asks && !is_finite() {
        WATCH.set(Watch::Asking(Some(path.to_owned())));
    }
}

/// Calls `f`, and returns its result with the first path noted meanwhile.
pub(crate) fn watched<R>(f: impl FnOnce() -> R) -> (R, Option<String>) {
    /// Ends it if `f` panics too.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            WATCH.set(Watch::Off);
        }
    }
    WATCH.set(Watch::Asking(None));
    let _end = End;
    let result = f();
    match WATCH.replace(Watch::Off) {
        Watch::Asking(first) => (result, first),
        Watch::Off => (result, None),
    }
}

enum Watch {
    Off,
    /// The first path that was noted.
    Asking(Option<String>),
}

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch::Off) };
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn the_first_that_is_not_finite_is_noted() {
        let ((), first) = watched(|| {
            note_unless_finite("a", || true);
            note_unless_finite("b", || false);
            note_unless_finite("c", || false);
        });
        assert_eq!(first.as_deref(), Some("b"));
        assert_eq!(watched(|| note_unless_finite("a", || true)).1, None);
    }

    #[test]
    fn nobody_is_asked_where_nobody_watches_not_even_after_a_panic() {
        let unasked = || note_unless_finite("a", || panic!("asked"));
        unasked();
        catch_unwind(AssertUnwindSafe(|| watched(|| panic!("on purpose")))).unwrap_err();
        unasked();
    }
}
