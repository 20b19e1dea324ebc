//! What the ranks do together: compare their calls, and gather.

use regimen_core::BoxError;
use regimen_core::peers::PeerLost;

use super::call::{self, Call, Code, Kind};
use super::fence::Process;
use super::library::World;
use super::watch::Waiting;

/// The ranks, and what is known of them.
pub(super) struct State {
    pub(super) world: Box<dyn World>,
    /// The error of all further calls.
    pub(super) lost: Option<String>,
    pub(super) is_elastic: bool,
    /// The last agreement of the ranks, which has failed, is made. Until a loss, each is a commit.
    pub(super) has_agreed: bool,
    /// Those of all ranks that were not lost when they closed up last. Empty unless they are elastic.
    pub(super) processes: Vec<Option<Process>>,
    /// Elements of one message at most.
    pub(super) longest: usize,
}

/// The outcome of a comparison of calls.
enum Met {
    Alike,
    Different(String),
    Lost(String),
}

impl State {
    /// Waits until every rank is here with a call, and returns an error unless all have made this one. `failure` is the
    /// text of a rank that has failed.
    pub(super) fn meet(&mut self, call: Call, failure: &str, waiting: &Waiting<'_>) -> Result<(), BoxError> {
        match self.compare(call, failure, waiting) {
            Ok(Met::Alike) => Ok(()),
            Ok(Met::Different(text)) => Err(text.into()),
            // All ranks know.
            Ok(Met::Lost(text)) => {
                self.lost = Some(text.clone());
                Err(PeerLost::new(text).into())
            }
            Err(text) => Err(self.lose(format!("{call}: {text}"))),
        }
    }

    fn compare(&mut self, call: Call, failure: &str, waiting: &Waiting<'_>) -> Result<Met, String> {
        let [kind, length] = call.code();
        // The largest of the negative numbers is the smallest of the numbers.
        let own = [kind, -kind, length, -length];
        let Some(all) = self.world.max(own, &|| waiting.is_too_long())? else {
            return Ok(Met::Lost(waiting.to_string()));
        };
        let all = self.unless_lost(all)?;
        waiting.blocks();
        if all[0] == Kind::Abort as i64 {
            let failures = self.gather(failure.as_bytes())?;
            let failures = self.unless_lost(failures)?;
            let failures = failures.iter().filter(|text| !text.is_empty());
            let failures = failures.map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>();
            return Ok(Met::Lost(failures.join("; ")));
        }
        if all == own {
            return Ok(Met::Alike);
        }
        let codes: Vec<Code> = self.gather_numbers(call.code())?;
        let codes = self.unless_lost(codes)?;
        let text = call::differ(&codes);
        // A rank at its end is gone afterwards; without one, all can go on.
        let is_end = |code: &Code| code[0] == Kind::End as i64;
        Ok(if codes.iter().any(is_end) { Met::Lost(text) } else { Met::Different(text) })
    }

    /// The `value` of a call, unless a rank was lost that may have had a part in it.
    pub(super) fn unless_lost<R>(&mut self, value: R) -> Result<R, String> {
        match self.is_elastic && self.world.has_lost() {
            true => Err("a rank is gone".into()),
            false => Ok(value),
        }
    }

    pub(super) fn gather(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let lengths = self.gather_numbers([own.len() as i64])?;
        let lengths = self.unless_lost(lengths)?;
        let lengths: Vec<usize> = lengths.iter().map(|[length]| *length as usize).collect();
        let mut all: Vec<_> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        // In rounds, in which all ranks together send one message at most.
        let share = (self.longest / self.count()).max(1);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for begin in (0..longest).step_by(share) {
            let pieces: Vec<usize> =
                lengths.iter().map(|length| length.saturating_sub(begin).min(share)).collect();
            let own = &own[begin.min(own.len())..own.len().min(begin + share)];
            let sent = self.world.gather(own, &pieces)?;
            let mut rest = &sent[..];
            for (all, piece) in all.iter_mut().zip(pieces) {
                let (own, others) = rest.split_at(piece);
                all.extend_from_slice(own);
                rest = others;
            }
        }
        Ok(all)
    }

    /// The numbers of each rank.
    fn gather_numbers<const N: usize>(&mut self, own: [i64; N]) -> Result<Vec<[i64; N]>, String> {
        let bytes: Vec<u8> = own.into_iter().flat_map(i64::to_ne_bytes).collect();
        let all = self.world.gather(&bytes, &vec![bytes.len(); self.count()])?;
        let (numbers, _) = all.as_chunks().0.as_chunks();
        Ok(numbers.iter().map(|numbers| numbers.map(i64::from_ne_bytes)).collect())
    }

    /// The number of ranks.
    fn count(&self) -> usize {
        self.world.rank().count as usize
    }

    pub(super) fn lose(&mut self, text: String) -> BoxError {
        self.lost = Some(text.clone());
        if self.is_elastic {
            // The others may wait for ranks that live, and are not told by MPI.
            self.world.revoke();
        }
        PeerLost::new(text).into()
    }
}
