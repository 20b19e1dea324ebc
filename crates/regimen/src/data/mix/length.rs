//! The number of batches of a mix, from the numbers of its sources.

use regimen_core::BoxError;

use super::stopping::Stopping;

/// The number of batches of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// In a whole pass.
    pub(crate) whole: u64,
    /// In the rest of the pass under way.
    pub(crate) left: u64,
    /// It was exhausted at least once.
    pub(crate) exhausted: bool,
}

impl Length {
    /// Whether it is still to be exhausted for the first time. One that is empty never counts.
    fn fresh(&self) -> bool {
        self.whole > 0 && !self.exhausted
    }
}

/// Batches left from turn `turn` on if each source is read to its end in its turn.
pub(crate) fn one_by_one(lengths: &[Length], turns: &[usize], turn: u64) -> Option<u64> {
    let mut turns = turns.iter().skip(usize::try_from(turn).ok()?);
    let first = turns.next().map_or(0, |&index| lengths[index].left);
    Some(first + turns.map(|&index| lengths[index].whole).sum::<u64>())
}

/// Batches left from turn `turn` on if each source gives one batch in its turn.
pub(crate) fn in_turn(lengths: &[Length], turns: &[usize], turn: u64, stopping: Stopping) -> Option<u64> {
    if stopping == Stopping::AllExhausted {
        return at_random(lengths, turns, stopping);
    }
    if !each_has_one_turn(turns) {
        return None;
    }
    let next = (turn % turns.len() as u64) as usize;
    let round: Vec<Length> = (turns[next..].iter().chain(&turns[..next]))
        .map(|&index| lengths[index])
        .filter(|length| length.whole > 0)
        .collect();
    // A source with `n` batches left is found exhausted in its turn of round `n`, counted from 0.
    let found = round.iter().zip(0..).filter(|(length, _)| length.fresh());
    let found = found.map(|(length, turn)| length.left * round.len() as u64 + turn);
    let left = match stopping {
        Stopping::SmallestExhausted => found.min(),
        Stopping::RestartUntilAllExhausted => found.max(),
        Stopping::AllExhausted | Stopping::WrapAround => return None,
    };
    Some(left.unwrap_or(0))
}

/// Batches left if the source of each is drawn at random.
pub(crate) fn at_random(lengths: &[Length], turns: &[usize], stopping: Stopping) -> Option<u64> {
    let fresh = lengths.iter().filter(|length| length.fresh());
    (stopping == Stopping::AllExhausted && each_has_one_turn(turns))
        .then(|| fresh.map(|length| length.left).sum())
}

/// Batches left if each holds one of every source.
pub(crate) fn at_once(lengths: &[Length], stopping: Stopping) -> Option<u64> {
    let fresh = lengths.iter().filter(|length| length.fresh()).map(|length| length.left);
    let left = match stopping {
        Stopping::AllExhausted | Stopping::RestartUntilAllExhausted => fresh.max(),
        Stopping::SmallestExhausted => fresh.min(),
        Stopping::WrapAround => return None,
    };
    Some(left.unwrap_or(0))
}

/// The error of sources that are over before the point at which they are to go on.
pub(crate) fn shorter(consumed: u64, batches: u64) -> BoxError {
    let given = format!("an epoch whose sources give {batches} now");
    format!("{consumed} batches were consumed of {given}: the data became shorter").into()
}

fn each_has_one_turn(turns: &[usize]) -> bool {
    turns.iter().enumerate().all(|(number, index)| !turns[..number].contains(index))
}
