//! A list that is usually short.

use std::iter::{Chain, Flatten};
use std::{array, vec};

/// A list whose first elements are inline: a short one allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Few<T> {
    first: [Option<T>; INLINE],
    rest: Vec<T>,
}

const INLINE: usize = 4;

impl<T> Few<T> {
    pub(crate) fn push(&mut self, element: T) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(element),
            None => self.rest.push(element),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().flatten().chain(&self.rest)
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few { first: [const { None }; INLINE], rest: Vec::new() }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut few = Few::default();
        elements.into_iter().for_each(|element| few.push(element));
        few
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = Chain<Flatten<array::IntoIter<Option<T>, INLINE>>, vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().flatten().chain(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn elements_come_out_in_their_order_and_a_short_list_allocates_nothing() {
        for length in 0..10 {
            let few: Few<u32> = (0..length).collect();
            assert!(few.iter().copied().eq(0..length) && few.clone().into_iter().eq(0..length));
            assert_eq!(few.rest.capacity() == 0, length <= 4);
        }
    }
}
