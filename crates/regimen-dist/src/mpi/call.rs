//! The calls that ranks make, as they compare them before each.

use std::collections::BTreeMap;
use std::fmt;

/// One call of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) kind: Kind,
    /// Must be the same on all ranks.
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    SumF32,
    SumF64,
    Gather,
    Broadcast,
    Commit,
    Shrink,
    End,
    /// The largest, so that one rank that failed is seen in the maximum.
    Abort,
}

const KINDS: [Kind; 9] = [
    Kind::Start,
    Kind::SumF32,
    Kind::SumF64,
    Kind::Gather,
    Kind::Broadcast,
    Kind::Commit,
    Kind::Shrink,
    Kind::End,
    Kind::Abort,
];

/// A call as numbers: kind and length.
pub(super) type Code = [i64; 2];

impl Call {
    pub(super) const START: Call = Call { kind: Kind::Start, length: 0 };
    pub(super) const GATHER: Call = Call { kind: Kind::Gather, length: 0 };
    pub(super) const COMMIT: Call = Call { kind: Kind::Commit, length: 0 };
    pub(super) const SHRINK: Call = Call { kind: Kind::Shrink, length: 0 };
    pub(super) const END: Call = Call { kind: Kind::End, length: 0 };
    pub(super) const ABORT: Call = Call { kind: Kind::Abort, length: 0 };

    pub(super) fn sum_f32(length: usize) -> Self {
        Call { kind: Kind::SumF32, length }
    }

    pub(super) fn sum_f64(length: usize) -> Self {
        Call { kind: Kind::SumF64, length }
    }

    pub(super) fn broadcast(length: usize) -> Self {
        Call { kind: Kind::Broadcast, length }
    }

    pub(super) fn code(self) -> Code {
        [self.kind as i64, self.length as i64]
    }

    pub(super) fn of([kind, length]: Code) -> Option<Self> {
        let kind = KINDS.into_iter().find(|known| *known as i64 == kind)?;
        Some(Call { kind, length: usize::try_from(length).ok()? })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.length;
        match self.kind {
            Kind::Start => f.write_str("start"),
            Kind::SumF32 => write!(f, "sum of {length} f32"),
            Kind::SumF64 => write!(f, "sum of {length} f64"),
            Kind::Gather => f.write_str("gather"),
            Kind::Broadcast => write!(f, "broadcast of {length} bytes"),
            Kind::Commit => f.write_str("commit"),
            Kind::Shrink => f.write_str("shrink"),
            Kind::End => f.write_str("end"),
            Kind::Abort => f.write_str("abort"),
        }
    }
}

/// The error of ranks that made these calls.
pub(super) fn differ(codes: &[Code]) -> String {
    let mut ranks = BTreeMap::<Code, Vec<usize>>::new();
    for (rank, code) in codes.iter().enumerate() {
        ranks.entry(*code).or_default().push(rank);
    }
    let mut by_first: Vec<_> = ranks.into_iter().collect();
    by_first.sort_by_key(|(_, ranks)| ranks[0]);
    let each = by_first.iter().map(|(code, ranks)| {
        let call = Call::of(*code).map_or_else(|| "an unknown call".to_owned(), |call| call.to_string());
        match ranks[..] {
            [rank] => format!("{call} on rank {rank}"),
            [first, second] => format!("{call} on ranks {first} and {second}"),
            [first, .., last] if last - first + 1 == ranks.len() => {
                format!("{call} on ranks {first} to {last}")
            }
            [first, ..] => format!("{call} on rank {first} and {} others", ranks.len() - 1),
            [] => call,
        }
    });
    let each = each.collect::<Vec<_>>().join(", ");
    format!("the ranks make different calls: {each}; all must make the same ones in the same order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_comes_back_from_its_numbers() {
        for kind in KINDS {
            let call = Call { kind, length: 3 };
            assert_eq!(Call::of(call.code()), Some(call));
            assert!(call == Call { kind: Kind::Abort, ..call } || call.code()[0] < Kind::Abort as i64);
        }
        assert_eq!(Call::of([9, 0]), None);
        assert_eq!(Call::of([0, -1]), None);
    }

    #[test]
    fn an_error_tells_who_made_which_call() {
        let check = |calls: &[Call], expected: &str| {
            let codes: Vec<Code> = calls.iter().map(|call| call.code()).collect();
            let all = "all must make the same ones in the same order";
            assert_eq!(differ(&codes), format!("the ranks make different calls: {expected}; {all}"));
        };
        let (sum, longer, bytes) = (Call::sum_f32(3), Call::sum_f32(4), Call::broadcast(8));
        check(&[sum, longer], "sum of 3 f32 on rank 0, sum of 4 f32 on rank 1");
        check(&[Call::GATHER, bytes, bytes], "gather on rank 0, broadcast of 8 bytes on ranks 1 and 2");
        check(&[sum, sum, sum, Call::sum_f64(3)], "sum of 3 f32 on ranks 0 to 2, sum of 3 f64 on rank 3");
        check(
            &[bytes, Call::END, bytes, bytes],
            "broadcast of 8 bytes on rank 0 and 2 others, end on rank 1",
        );
        assert!(differ(&[sum.code(), [10, 0]]).contains(", an unknown call on rank 1;"));
    }
}
