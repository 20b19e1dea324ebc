//! Streams: batches with positions, from any of which an epoch continues.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use proptest::prelude::*;
use regimen::data::{At, Data, DataExt, Epoch, Fetched, Lines, Position, Rank, Stream, StreamLoader, stream};

type Batch = (Vec<u64>, Vec<u64>);

fn rest<D: Data>(data: &D, at: At) -> Vec<(D::Batch, Position)> {
    let mut epoch = data.epoch(at).unwrap();
    let next = || {
        epoch.next().map(|fetched| fetched.map(|Fetched { batch, position, .. }| (batch, position.unwrap())))
    };
    std::iter::from_fn(next).map(Result::unwrap).collect()
}

/// Every third number fails, the others are shuffled, and each draws from its generator.
fn drawing(samples: u64, buffer: usize, size: usize) -> StreamLoader<Batch> {
    let numbers = stream(move |_| 0..samples)
        .try_map(|number| if number % 3 == 1 { Err("bad".into()) } else { Ok(number) })
        .shuffle(buffer)
        .transform(|number, random| (number, random.bits()));
    StreamLoader::new(numbers).batch_size(size).skip_bad_samples()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_epoch_is_gone_on_with_after_any_batch(
        samples in 0_u64..80, buffer in 1_usize..20, size in 1_usize..9, epoch in 0_u64..3, seed: u64,
    ) {
        let data = drawing(samples, buffer, size);
        let all: Vec<(Batch, Position)> = rest(&data, At::epoch(epoch, seed));
        for (number, (_, position)) in all.iter().enumerate() {
            let mut at = At::epoch(epoch, seed).skip(number as u64 + 1);
            prop_assert_eq!(&rest(&data, at.clone()), &all[number + 1..]);
            at.position = Some(position.clone());
            prop_assert_eq!(&rest(&data, at), &all[number + 1..]);
        }
        let mut seen: Vec<u64> = all.into_iter().flat_map(|((numbers, _), _)| numbers).collect();
        seen.sort();
        prop_assert!(seen.into_iter().eq((0..samples).filter(|number| number % 3 != 1)));
    }

    #[test]
    fn ranks_share_each_global_batch_in_order(samples in 0_u64..80, size in 4_usize..9, ranks in 1_u64..5) {
        let data = drawing(samples, 5, size).drop_last();
        let at = At::epoch(0, 42);
        let shares: Vec<_> = (0..ranks).map(|index| rest(&data, at.clone().rank(Rank { index, count: ranks }))).collect();
        for (number, ((numbers, drawn), _)) in rest(&data, at).into_iter().enumerate() {
            let (a, b): (Vec<_>, Vec<_>) = shares.iter().map(|share| share[number].0.clone()).unzip();
            prop_assert_eq!((a.concat(), b.concat()), (numbers, drawn));
        }
    }
}

#[test]
fn what_is_read_ahead_is_not_counted_as_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, (0..100).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let data = StreamLoader::new(Lines::new(path).shuffle(7)).batch_size(5).read_ahead(8);
    let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
    let mut seen: Vec<String> = (0..6).flat_map(|_| epoch.next().unwrap().unwrap().batch).collect();
    let used = epoch.next().unwrap().unwrap();
    seen.extend(used.batch);
    drop(epoch);
    let mut at = At::epoch(0, 42).skip(7);
    at.position = used.position;
    seen.extend(rest(&data, at).into_iter().flat_map(|(batch, _)| batch));
    let mut seen: Vec<u32> = seen.iter().map(|line| line.parse().unwrap()).collect();
    seen.sort();
    assert!(seen.into_iter().eq(0..100));
}

#[test]
fn a_source_that_is_broken_for_good_is_no_endless_search_for_a_good_sample() {
    let broken = stream(|_| 0..).try_map(|_: u64| Err::<u64, _>("gone".into()));
    let data = StreamLoader::new(broken).skip_bad_samples();
    let error = data.epoch(At::epoch(0, 42)).unwrap().next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "stream `stream` batch 0: gone");
}

#[test]
fn wrappers_are_entered_anywhere_and_pass_on_what_they_wrap() {
    let data = vec![1, 2, 3, 4, 5].map_batches(|batch| batch * 10).take_batches(4).timed();
    assert_eq!(data.batches(), Some(4));
    for skip in 0..=4 {
        let mut epoch = data.epoch(At::epoch(0, 42).skip(skip)).unwrap();
        let left: Vec<i32> = std::iter::from_fn(|| Some(epoch.next()?.unwrap().batch)).collect();
        assert_eq!(left, [10, 20, 30, 40][skip as usize..]);
    }
    let waiting = data.waiting();
    assert_eq!(waiting.batches, 4 + 3 + 2 + 1);
    assert!(waiting.total >= waiting.longest && waiting.longest > std::time::Duration::ZERO);
}
