//! The batches of a loader are a pure function of (seed, epoch, position), independent of the workers,
//! of the entry into the epoch, and of the number of ranks.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use proptest::prelude::*;
use regimen::data::{At, Data, Epoch, Loader, Padded, Rank, Sampler, Samples, indices};

const WORKERS: [usize; 4] = [0, 1, 2, 8];
const PREFETCH: [usize; 3] = [0, 1, 4];

/// The rest of an epoch, batch by batch.
fn rest<D: Data>(data: &D, at: At) -> Vec<D::Batch> {
    let mut epoch = data.epoch(at).unwrap();
    std::iter::from_fn(|| Some(epoch.next()?.unwrap().batch)).collect()
}

/// Indices, each with the bits that the generator of its sample draws.
fn drawn(samples: usize) -> impl Samples<Item = (usize, u64)> {
    indices(samples).transform(|index, random| (index, random.bits()))
}

fn drawing(samples: usize) -> Loader<(Vec<usize>, Vec<u64>)> {
    Loader::new(drawn(samples))
}

fn samplers(samples: usize) -> impl Strategy<Value = Sampler> {
    prop_oneof![
        Just(Sampler::sequential()),
        Just(Sampler::shuffled()),
        prop::collection::vec(0..samples, 1..100).prop_map(Sampler::subset),
        prop::collection::vec(0..samples, 1..100).prop_map(Sampler::subset_shuffled),
        (1_u64..100).prop_map(move |draws| {
            Sampler::weighted((0..samples).map(|index| 1.0 + index as f64), draws).unwrap()
        }),
        (1_u64..100).prop_map(move |draws| {
            Sampler::keyed(draws, move |seed, epoch, position| (seed ^ epoch ^ position) as usize % samples)
        }),
    ]
}

/// A dataset's length, a sampler over it, a batch size, an epoch and a seed.
fn loads() -> impl Strategy<Value = (usize, Sampler, usize, u64, u64)> {
    (1_usize..300)
        .prop_flat_map(|samples| (Just(samples), samplers(samples), 1_usize..40, 0_u64..5, any::<u64>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn workers_and_prefetch_change_nothing((samples, sampler, size, epoch, seed) in loads()) {
        let loader = || drawing(samples)
            .sampler(sampler.clone())
            .batch_size(size)
            .transform_batch(|batch, random| (batch, random.bits()));
        let at = At::epoch(epoch, seed);
        let alone = rest(&loader(), at.clone());
        for workers in WORKERS {
            for prefetch in PREFETCH {
                prop_assert_eq!(&rest(&loader().workers(workers).prefetch(prefetch), at.clone()), &alone);
            }
        }
    }

    #[test]
    fn an_epoch_entered_anywhere_is_the_tail_of_the_whole((samples, sampler, size, epoch, seed) in loads()) {
        for workers in [0, 3] {
            let loader = drawing(samples)
                .sampler(sampler.clone())
                .batch_size(size)
                .workers(workers)
                .transform_batch(|batch, random| (batch, random.bits()));
            let at = At::epoch(epoch, seed);
            let whole = rest(&loader, at.clone());
            prop_assert_eq!(loader.batches(), Some(whole.len() as u64));
            let mut positions = vec![None];
            let mut under_way = loader.epoch(at.clone()).unwrap();
            positions.extend(std::iter::from_fn(|| Some(under_way.next()?.unwrap().position)));
            for (skip, position) in positions.into_iter().enumerate() {
                let mut at = at.clone().skip(skip as u64);
                prop_assert_eq!(&rest(&loader, at.clone()), &whole[skip..]);
                at.position = position;
                prop_assert_eq!(&rest(&loader, at), &whole[skip..]);
            }
        }
    }

    #[test]
    fn a_shuffled_epoch_has_every_sample_once(samples in 1_usize..1000, size in 1_usize..40, seed: u64) {
        let batches = rest(&drawing(samples).shuffle().batch_size(size).workers(2), At::epoch(3, seed));
        let mut seen: Vec<usize> = batches.into_iter().flat_map(|(indices, _)| indices).collect();
        seen.sort();
        prop_assert!(seen.into_iter().eq(0..samples));
    }

    #[test]
    fn what_is_drawn_for_a_sample_depends_on_no_order(samples in 1_usize..100, size in 1_usize..40, seed: u64) {
        let drawn = |loader: Loader<_>| {
            let batches: Vec<(Vec<usize>, Vec<u64>)> = rest(&loader.batch_size(size), At::epoch(1, seed));
            let mut drawn: Vec<_> =
                batches.into_iter().flat_map(|(indices, drawn)| indices.into_iter().zip(drawn)).collect();
            drawn.sort();
            drawn
        };
        prop_assert_eq!(drawn(drawing(samples).shuffle()), drawn(drawing(samples)));
    }

    #[test]
    fn ranks_share_each_global_batch_in_order(
        (samples, sampler, size, epoch, seed) in loads(), ranks in 1_u64..5, workers in 0_usize..3,
    ) {
        let loader = drawing(samples).sampler(sampler).batch_size(size.max(4)).drop_last().workers(workers);
        let at = At::epoch(epoch, seed);
        prop_assume!(loader.batches() > Some(0));
        let whole = rest(&loader, at.clone());
        let shares: Vec<_> = (0..ranks)
            .map(|index| rest(&loader, at.clone().rank(Rank { index, count: ranks })))
            .collect();
        for (number, batch) in whole.iter().enumerate() {
            let (indices, drawn): (Vec<_>, Vec<_>) = shares.iter().map(|share| share[number].clone()).unzip();
            prop_assert_eq!(&(indices.concat(), drawn.concat()), batch);
        }
    }

    #[test]
    fn padding_makes_one_shape_and_counts_for_nothing(
        samples in 1_usize..100, size in 1_usize..20, ranks in 1_u64..5, seed: u64,
    ) {
        let loader = drawing(samples).shuffle().batch_size(size).pad_last();
        let at = At::epoch(0, seed);
        let mut counted = Vec::new();
        for index in 0..ranks {
            for Padded { batch: (indices, _), samples } in rest(&loader, at.clone().rank(Rank { index, count: ranks })) {
                prop_assert_eq!(indices.len(), size.div_ceil(ranks as usize));
                counted.extend_from_slice(&indices[..samples]);
            }
        }
        counted.sort();
        prop_assert!(counted.into_iter().eq(0..samples));
    }
}

/// The first six samples of an epoch.
fn first(loader: Loader<(Vec<usize>, Vec<u64>)>) -> Vec<usize> {
    rest(&loader.batch_size(6), At::epoch(2, 42)).swap_remove(0).0
}

/// If these change, runs saved by an earlier version continue with other batches.
#[test]
fn the_order_of_a_seed_is_the_same_for_ever() {
    // From an implementation in Python of the same formulas.
    assert_eq!(first(drawing(100).shuffle()), [46, 92, 57, 60, 14, 31]);
    assert_eq!(first(drawing(1000).shuffle()), [510, 661, 328, 913, 796, 4]);
}

#[test]
fn the_seed_is_the_runs_or_the_loaders_own_and_the_stream_tells_two_loaders_apart() {
    let plain = first(drawing(100).shuffle());
    assert_eq!(first(drawing(100).shuffle().seed(42)), plain);
    assert_ne!(first(drawing(100).shuffle().seed(43)), plain);
    assert_ne!(first(drawing(100).shuffle().stream("other")), plain);
}

#[test]
fn every_way_to_collate_sees_the_samples_in_order() {
    let check = |loader: Loader<Vec<usize>>| {
        assert_eq!(rest(&loader.batch_size(2), At::epoch(0, 0)), [vec![0, 1], vec![2]]);
    };
    check(Loader::collate(drawn(3), |samples| Ok(samples.into_iter().map(|(index, _)| index).collect())));
    check(Loader::collate_into(drawn(3), Vec::with_capacity, |batch, (index, _), _| {
        batch.push(index);
        Ok(())
    }));
    check(drawing(3).transform_batch(|(indices, _), _| indices));
}
