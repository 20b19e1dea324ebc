//! Reuse of memory: a copy of a state takes that of an earlier copy.

use std::cell::RefCell;

use super::StateDict;

/// Calls `f`; the arrays made in it on this thread take the memory of those in `spares` of exactly the
/// same size. The rest is freed before this returns.
///
/// For code that copies the same state repeatedly. Memory that is new to the process costs as much as
/// the copying, because the system clears and hands it out page by page.
pub fn with_spares<R>(spares: impl IntoIterator<Item = StateDict>, f: impl FnOnce() -> R) -> R {
    // Also freed when `f` panics.
    struct Free;
    impl Drop for Free {
        fn drop(&mut self) {
            let _ = SPARES.try_with(RefCell::take);
        }
    }
    let arrays = spares.into_iter().flatten().map(|(_, array)| array.into_bytes());
    let large = arrays.filter(|bytes| LARGE <= bytes.len()).collect();
    let _free = Free;
    SPARES.with(|spares| spares.replace(large));
    f()
}

/// `length` bytes, of any content.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let spare = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        let fits = spares.iter().position(|bytes| bytes.len() == length)?;
        // In order: states of one unit have the same arrays in the same order.
        Some(spares.remove(fits))
    });
    spare.ok().flatten().unwrap_or_else(|| vec![0; length])
}

/// Smaller arrays come from memory that the process has already.
const LARGE: usize = 64 * 1024;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::Array;

    fn dict(values: &[f32]) -> StateDict {
        let mut dict = StateDict::new();
        dict.insert("values", Array::from_slice(values)).unwrap();
        dict
    }

    fn memory(dict: &StateDict) -> *const u8 {
        dict.array("values").unwrap().bytes().as_ptr()
    }

    #[test]
    fn an_array_takes_the_memory_of_a_spare_of_its_size_and_none_of_its_content() {
        let old = dict(&[1.0; 50_000]);
        let at = memory(&old);
        let new = with_spares([old], || dict(&[2.0; 50_000]));
        assert_eq!((memory(&new), new), (at, dict(&[2.0; 50_000])));
    }

    #[test]
    fn a_spare_is_given_once_only_to_what_fits_and_not_kept() {
        let [old, other] = [dict(&[1.0; 50_000]), dict(&[1.0; 60_000])];
        let [at, other_at] = [memory(&old), memory(&other)];
        let made = with_spares([old, other], || [(); 2].map(|()| dict(&[2.0; 50_000])));
        assert_eq!(made.iter().filter(|dict| memory(dict) == at).count(), 1);
        assert!(made.iter().all(|dict| memory(dict) != other_at));
        assert!(SPARES.with_borrow(Vec::is_empty));
    }
}
