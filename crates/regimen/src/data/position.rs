//! Encoding of positions: numbers and texts one after another.

use regimen_core::BoxError;
use regimen_core::data::Position;
use regimen_core::saved::MAX_COUNT;

/// Writes a position.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut encoder = self.number(bytes.len() as u64);
        encoder.0.extend(bytes);
        encoder
    }

    pub(crate) fn position(self, position: &Position) -> Self {
        self.bytes(position.as_bytes())
    }

    pub(crate) fn finish(self) -> Position {
        Position::new(&self.0)
    }
}

/// Reads a position back, in the order in which it was written.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(position: &'a Position) -> Self {
        Decoder { rest: position.as_bytes() }
    }

    pub(crate) fn number(&mut self) -> Result<u64, BoxError> {
        // All of them are counts, and additions to a damaged one must not overflow.
        Some(self.word()?).filter(|number| *number <= MAX_COUNT).ok_or_else(foreign)
    }

    /// Fails if the next number is not `tag`.
    pub(crate) fn tag(&mut self, tag: u64) -> Result<(), BoxError> {
        if self.word()? == tag { Ok(()) } else { Err(foreign()) }
    }

    fn word(&mut self) -> Result<u64, BoxError> {
        let (word, rest) = self.rest.split_first_chunk().ok_or_else(foreign)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*word))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], BoxError> {
        let length = usize::try_from(self.number()?)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(foreign)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn position(&mut self) -> Result<Position, BoxError> {
        Ok(Position::new(self.bytes()?))
    }

    pub(crate) fn end(self) -> Result<(), BoxError> {
        if self.rest.is_empty() { Ok(()) } else { Err(foreign()) }
    }
}

fn foreign() -> BoxError {
    "the position was saved by other data than this".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_cut_anywhere_or_with_more_is_refused() {
        let read = |position: &Position| {
            let mut decoder = Decoder::new(position);
            let parts = (decoder.number()?, decoder.bytes()?.to_vec(), decoder.position()?);
            decoder.end()?;
            Ok::<_, BoxError>(parts)
        };
        let inner = Position::new(&[7]);
        let whole = Encoder::default().number(MAX_COUNT).bytes(b"name").position(&inner).finish();
        assert_eq!(read(&whole).unwrap(), (MAX_COUNT, b"name".to_vec(), inner));
        for length in 0..whole.as_bytes().len() {
            assert!(read(&Position::new(&whole.as_bytes()[..length])).is_err());
        }
        assert!(read(&Position::new(&[whole.as_bytes(), &[0]].concat())).is_err());
        let large = Encoder::default().number(MAX_COUNT + 1).finish();
        assert!(Decoder::new(&large).number().is_err());
    }
}
