//! The name of a piece: the share that one rank has of a part.

use std::fmt;

use regimen_core::BoxError;
use regimen_core::data::Rank;

use super::limits::check_part;

/// A piece of a part, such as `optimizer@00002-of-00003`. No part can have such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'n> {
    pub(crate) part: &'n str,
    /// From 1.
    pub(crate) number: u64,
    pub(crate) count: u64,
}

impl<'n> Piece<'n> {
    /// The piece that `rank` writes.
    pub(crate) fn of_rank(part: &'n str, rank: Rank) -> Self {
        Piece { part, number: rank.index + 1, count: rank.count }
    }

    /// The piece that `name` is of. Returns `None` if it is the name of a part.
    pub(crate) fn parse(name: &'n str) -> Option<Self> {
        let (part, place) = name.split_once('@')?;
        let (number, count) = place.split_once("-of-")?;
        let piece = Piece { part, number: number.parse().ok()?, count: count.parse().ok()? };
        // Each name has one spelling.
        (1..=piece.count).contains(&piece.number).then_some(piece).filter(|piece| piece.to_string() == name)
    }
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Piece { part, number, count } = self;
        write!(f, "{part}@{number:05}-of-{count:05}")
    }
}

/// The part of which the file called `name` is, or is a piece.
pub(crate) fn part_of(name: &str) -> &str {
    Piece::parse(name).map_or(name, |piece| piece.part)
}

/// Returns an error if `name` cannot be the name of a part's file, or of a piece's.
pub(crate) fn check_file(name: &str) -> Result<(), BoxError> {
    check_part(part_of(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_one_name() {
        let rank = Rank { index: 1, count: 3 };
        assert_eq!(Piece::of_rank("a-b.c", rank).to_string(), "a-b.c@00002-of-00003");
        for name in ["a@00001-of-00001", "optimizer@00010-of-00012", "a@99999-of-123456"] {
            assert_eq!(Piece::parse(name).map(|piece| piece.to_string()).as_deref(), Some(name));
            assert!(check_file(name).is_ok());
        }
        let others = ["a", "a@1-of-3", "a@00000-of-00003", "a@00004-of-00003", "a@00001-of-00003 "];
        for name in others.into_iter().chain(["a@+0001-of-00003", "a@00001", "a@00001-of-", "@"]) {
            assert_eq!(Piece::parse(name), None, "{name}");
        }
        for name in ["a@1-of-3", "@00001-of-00003", "../a@00001-of-00003", "a@b@00001-of-00003"] {
            assert!(check_file(name).is_err(), "{name}");
        }
    }
}
