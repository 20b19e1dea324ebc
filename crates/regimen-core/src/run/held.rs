//! The unit of a run, borrowed or owned.

use std::ops::{Deref, DerefMut};

/// A unit that its run borrows or owns.
pub(crate) enum Held<'a, U: ?Sized> {
    Borrowed(&'a mut U),
    Owned(Box<U>),
}

impl<U: ?Sized> Deref for Held<'_, U> {
    type Target = U;

    fn deref(&self) -> &U {
        match self {
            Held::Borrowed(unit) => unit,
            Held::Owned(unit) => unit,
        }
    }
}

impl<U: ?Sized> DerefMut for Held<'_, U> {
    fn deref_mut(&mut self) -> &mut U {
        match self {
            Held::Borrowed(unit) => unit,
            Held::Owned(unit) => unit,
        }
    }
}
