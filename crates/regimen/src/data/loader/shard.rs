//! Sharding: the positions of each batch, and the share of this process in them.

use std::ops::Range;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::text::Count;

use crate::data::consumed::Consumed;

/// The rule for a last batch that is smaller than the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LastBatch {
    /// It is given as it is.
    #[default]
    Short,
    /// It is left out.
    Drop,
    /// Every share is filled up to the same size with samples of weight zero.
    Pad,
}

/// Cuts `samples` positions into global batches, and each batch into one share a process.
///
/// The shares of a batch, taken in the order of the ranks, are the batch. So the batches of a run do
/// not depend on how many processes it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard {
    samples: u64,
    batch: u64,
    last: LastBatch,
    rank: Rank,
    start: Start,
}

/// The batches consumed before, and the samples in them. They may have been of another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) batches: u64,
    pub(crate) samples: u64,
}

/// One process's part of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The positions of its samples in the order of the epoch.
    pub(crate) positions: Range<u64>,
    /// The number of its samples, padding included.
    pub(crate) size: u64,
    /// The position of the first sample of the whole batch, which serves as padding.
    pub(crate) padding: u64,
}

impl Shard {
    /// Fails if some process would have no sample of some batch: it could take no part in the
    /// step, and the others would wait for it.
    pub(crate) fn new(
        samples: u64,
        batch: u64,
        last: LastBatch,
        rank: Rank,
        start: Start,
    ) -> Result<Self, BoxError> {
        let left = samples.checked_sub(start.samples).ok_or_else(|| {
            let consumed = start.samples;
            format!(
                "{consumed} samples were consumed of an epoch that has {samples} now: the data became shorter"
            )
        })?;
        let shard = Shard { samples, batch, last, rank, start };
        if rank.index >= rank.count {
            return Err(format!("rank {} of {} does not exist", rank.index, rank.count).into());
        }
        let smallest = match (last, left % batch) {
            (LastBatch::Short, rest @ 1..) => rest,
            _ => batch,
        };
        if smallest < rank.count && last != LastBatch::Pad {
            return Err(format!(
                "a batch of {smallest} of {} leaves some of {} ranks without any; \
                 choose another batch size, `drop_last` or `pad_last`",
                Count(samples, "sample"),
                rank.count
            )
            .into());
        }
        Ok(shard)
    }

    /// The number of batches of `samples`, the same for every process.
    pub(crate) fn batches(samples: u64, batch: u64, last: LastBatch) -> u64 {
        match last {
            LastBatch::Drop => samples / batch,
            LastBatch::Short | LastBatch::Pad => samples.div_ceil(batch),
        }
    }

    /// The numbers of the batches that are left.
    pub(crate) fn numbers(&self) -> Range<u64> {
        let left = Shard::batches(self.samples - self.start.samples, self.batch, self.last);
        self.start.batches..self.start.batches + left
    }

    /// The consumed part of the epoch after batch `number`.
    pub(crate) fn consumed(&self, number: u64) -> Consumed {
        let samples = self.begin(number).saturating_add(self.batch).min(self.samples);
        Consumed { samples, of: self.samples, batch: self.batch }
    }

    fn begin(&self, number: u64) -> u64 {
        self.start.samples + (number - self.start.batches) * self.batch
    }

    /// Whether shares are filled up to their size.
    pub(crate) fn pads(&self) -> bool {
        self.last == LastBatch::Pad
    }

    /// The share of batch `number`, which is one of [`numbers`](Self::numbers).
    pub(crate) fn share(&self, number: u64) -> Share {
        let Rank { index, count } = self.rank;
        let begin = self.begin(number);
        let whole = self.batch.min(self.samples - begin);
        let positions = begin + cut(whole, index, count)..begin + cut(whole, index + 1, count);
        let size = match self.last {
            LastBatch::Pad => self.batch.div_ceil(count),
            LastBatch::Short | LastBatch::Drop => positions.end - positions.start,
        };
        Share { positions, size, padding: begin }
    }
}

/// The beginning of the part of rank `index` in a batch of `whole` samples: parts differ by one at most.
pub(crate) fn cut(whole: u64, index: u64, count: u64) -> u64 {
    (u128::from(whole) * u128::from(index) / u128::from(count)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(samples: u64, batch: u64, last: LastBatch, count: u64) -> Result<Vec<Vec<Share>>, BoxError> {
        let shards: Vec<Shard> = (0..count)
            .map(|index| Shard::new(samples, batch, last, Rank { index, count }, Start::default()))
            .collect::<Result<_, _>>()?;
        let numbers = shards[0].numbers();
        Ok(numbers.map(|number| shards.iter().map(|shard| shard.share(number)).collect()).collect())
    }

    proptest! {
        #[test]
        fn the_shares_of_all_ranks_in_order_are_the_global_order(
            samples in 1_u64..200, batch in 1_u64..40, count in 1_u64..6, pad: bool,
        ) {
            let last = if pad { LastBatch::Pad } else { LastBatch::Short };
            if let Ok(batches) = shares(samples, batch, last, count) {
                let seen: Vec<u64> = batches.iter().flatten().flat_map(|share| share.positions.clone()).collect();
                prop_assert_eq!(seen, (0..samples).collect::<Vec<_>>());
                for share in batches.iter().flatten() {
                    prop_assert!(share.size >= share.positions.end - share.positions.start);
                    prop_assert!(!pad || share.size == batch.div_ceil(count));
                }
            } else {
                let smallest = if samples % batch == 0 { batch } else { samples % batch };
                prop_assert!(!pad && smallest < count);
            }
        }
    }

    #[test]
    fn a_dropped_last_batch_leaves_the_others_whole() {
        let batches = shares(10, 4, LastBatch::Drop, 2).unwrap();
        let positions: Vec<_> = batches.iter().flatten().map(|share| share.positions.clone()).collect();
        assert_eq!(positions, [0..2, 2..4, 4..6, 6..8]);
    }

    #[test]
    fn a_rank_without_a_sample_is_refused_on_every_rank() {
        for index in 0..4 {
            let error =
                Shard::new(9, 4, LastBatch::Short, Rank { index, count: 4 }, Start::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "a batch of 1 of 9 samples leaves some of 4 ranks without any; choose another batch size, \
                 `drop_last` or `pad_last`"
            );
        }
    }
}
