//! Positions of data inside an epoch.

use std::fmt;

/// A position inside an epoch, as bytes that only the data itself understands.
///
/// Up to 32 bytes allocate nothing, so a position per batch is free.
#[derive(Clone, PartialEq, Eq)]
pub struct Position(Bytes);

const FEW: usize = 32;

/// Bytes from `length` on are zero, so that equal positions are equal bytes.
#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    Few { length: u8, bytes: [u8; FEW] },
    Many(Box<[u8]>),
}

impl Position {
    /// A position of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > FEW {
            return Position(Bytes::Many(bytes.into()));
        }
        let mut few = [0; FEW];
        few[..bytes.len()].copy_from_slice(bytes);
        Position(Bytes::Few { length: bytes.len() as u8, bytes: few })
    }

    /// The bytes given to [`new`](Self::new).
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Few { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Many(bytes) => bytes,
        }
    }
}

impl Default for Position {
    /// No bytes.
    fn default() -> Self {
        Position::new(&[])
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Position").field(&self.as_bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_any_length_is_the_bytes_it_was_made_of() {
        for length in 0..100_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let position = Position::new(&bytes);
            assert_eq!((position.as_bytes(), &position.clone()), (bytes.as_slice(), &position));
            assert_ne!(position, Position::new(&[&bytes[..], &[0]].concat()));
        }
    }
}
