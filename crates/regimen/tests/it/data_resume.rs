//! An epoch continues at the same sample: with batches of another size, on another number of ranks,
//! through every wrapper of data. Data that became shorter is an error.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use regimen::callback::Event;
use regimen::data::{
    AllBatches, Data, DataExt, Dataset, DynData, Lines, Loader, Mix, Mixup, Padded, Rank, Sampler, Samples,
    Stopping, Stream, StreamAt, StreamLoader, StreamReader, each_epoch, indices, stream,
};
use regimen::run::Train;
use regimen::saved::{Array, StateDict};
use regimen::state::Phase;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_test::toy::ToyArray;

type Batches<T> = Box<dyn DynData<Vec<T>> + Send + Sync>;

/// Gathers batches, and checks that the last one of an epoch is the expected one.
struct Gather<T>(Vec<Vec<T>>);

impl<T> TrainUnit for Gather<T> {
    type Batch = Vec<T>;

    fn train_step(&mut self, state: &mut State, batch: Vec<T>) -> Result<(), BoxError> {
        if let Some(steps) = state.expected(Phase::Train).steps_in_epoch {
            assert_eq!(state.last_in_epoch(), state.train_progress().steps_in_epoch + 1 == steps);
        }
        self.0.push(batch);
        Ok(())
    }
}

const ALONE: Rank = Rank { index: 0, count: 1 };
const POSITION: &str = "run.train.position";

/// One process of a run: its batches, its saved state, and its notices.
struct Leg<T> {
    batches: Vec<Vec<T>>,
    saved: StateDict,
    notices: Vec<String>,
}

/// Trains from what was `saved`, or from the beginning, up to `limits`.
fn leg<T>(
    data: &dyn DynData<Vec<T>>,
    rank: Rank,
    saved: Option<&StateDict>,
    limits: Train,
) -> Result<Leg<T>, String> {
    let notices = Arc::new(Mutex::new(vec![]));
    let (mut unit, told) = (Gather(vec![]), notices.clone());
    let mut run = Run::new(&mut unit)
        .seed(42)
        .rank(rank)
        .on(Event::Notice, move |state, _| told.lock().unwrap().extend_from_slice(state.notices()));
    if let Some(saved) = saved {
        run.load_run_state(saved).unwrap();
    }
    run.train(data, limits).map_err(|error| format!("{error:#}"))?;
    let saved = run.run_state().unwrap();
    drop(run);
    let mut notices = notices.lock().unwrap().clone();
    // The run reports another number of batches by itself.
    notices.retain(|notice: &String| !notice.starts_with("an epoch of the train data has "));
    Ok(Leg { batches: unit.0, saved, notices })
}

/// The same of `count` ranks, whose shares are combined, and the state saved by rank 0.
fn ranks<T>(
    data: &dyn DynData<Vec<T>>,
    count: u64,
    saved: Option<&StateDict>,
    limits: Train,
) -> Result<(Vec<T>, StateDict), String> {
    let mut legs = Vec::new();
    for index in 0..count {
        legs.push(leg(data, Rank { index, count }, saved, limits)?);
    }
    let saved = legs[0].saved.clone();
    let mut shares: Vec<_> = legs.into_iter().map(|leg| leg.batches.into_iter()).collect();
    let mut seen = Vec::new();
    while let Some(first) = shares[0].next() {
        seen.extend(first);
        shares[1..].iter_mut().for_each(|share| seen.extend(share.next().unwrap()));
    }
    assert!(shares.iter_mut().all(|share| share.next().is_none()));
    Ok((seen, saved))
}

/// The handling of the last samples of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Short,
    Drop,
    Pad,
}

impl Tail {
    /// The number of `samples` that are given in batches of `size`.
    fn given(self, samples: usize, size: usize) -> usize {
        if self == Tail::Drop { samples / size * size } else { samples }
    }
}

/// Samples with a random draw for each.
fn drawing(samples: usize, shuffled: bool, tail: Tail, size: usize, workers: usize) -> Batches<(usize, u64)> {
    let sampler = if shuffled { Sampler::shuffled() } else { Sampler::sequential() };
    let drawn = indices(samples).transform(|index, random| (index, random.bits()));
    let loader = Loader::collate(drawn, Ok).sampler(sampler).batch_size(size).workers(workers);
    match tail {
        Tail::Short => Box::new(loader),
        Tail::Drop => Box::new(loader.drop_last()),
        Tail::Pad => Box::new(loader.pad_last().map_batches(|Padded { mut batch, samples, .. }| {
            batch.truncate(samples);
            batch
        })),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn samples_before_and_after_a_restart_are_those_of_the_epoch_in_its_order(
        samples in 6_usize..120,
        shuffled: bool,
        tail in prop_oneof![Just(Tail::Short), Just(Tail::Drop), Just(Tail::Pad)],
        (old, old_ranks, old_workers) in (3_usize..17, 1_u64..4, 0_usize..3),
        (new, new_ranks, new_workers) in (3_usize..17, 1_u64..4, 0_usize..3),
        stop in 0_u64..40,
    ) {
        let batches = tail.given(samples, old).div_ceil(old) as u64;
        prop_assume!(batches > 1);
        let stop = 1 + stop % (batches - 1);

        let before = drawing(samples, shuffled, tail, old, old_workers);
        let after = drawing(samples, shuffled, tail, new, new_workers);
        let seen = ranks(&*before, old_ranks, None, Train::steps(stop)).and_then(|(mut seen, saved)| {
            seen.extend(ranks(&*after, new_ranks, Some(&saved), Train::epochs(2))?.0);
            Ok(seen)
        });
        let refused = |error: &String| error.contains("leaves some of") || error.contains("cannot fill");
        prop_assume!(!seen.as_ref().is_err_and(refused));

        let whole = drawing(samples, shuffled, Tail::Short, 1, 0);
        let whole = leg(&*whole, ALONE, None, Train::epochs(2)).unwrap().batches.concat();
        let consumed = stop as usize * old;
        let mut expected = whole[..consumed + tail.given(samples - consumed, new)].to_vec();
        expected.extend_from_slice(&whole[samples..][..tail.given(samples, new)]);
        prop_assert_eq!(seen, Ok(expected));
    }
}

fn shown(batches: &[Vec<usize>]) -> String {
    let batch = |batch: &Vec<usize>| batch.iter().map(usize::to_string).collect::<String>();
    batches.iter().map(batch).collect::<Vec<_>>().join(" ")
}

/// Checks that ten samples of which one batch of four was used continue as batches of three, with a notice
/// of `source`, and that the next epoch is whole.
fn check_wrapped(source: &str, data: impl Fn(usize) -> Batches<usize>) {
    let first = leg(&*data(4), ALONE, None, Train::steps(1)).unwrap();
    let second = leg(&*data(3), ALONE, Some(&first.saved), Train::epochs(2)).unwrap();
    assert_eq!((&*shown(&first.batches), &*shown(&second.batches)), ("0123", "456 789 012 345 678 9"));
    let told = format!("{source}: batches of 3 samples now, and of 4 before: it goes on at sample 4");
    assert_eq!(second.notices, [told]);
}

#[test]
fn a_change_of_batches_keeps_the_number_of_samples() {
    let loader = || Loader::new(indices(10)).batch_size(4);
    assert_eq!(loader().map_batches(|batch| batch).samples(), Some(10));
    assert_eq!(loader().transform_batches("nothing", |batch, _| Ok(batch)).samples(), Some(10));
}

#[test]
fn whatever_wraps_a_loader_goes_on_at_its_sample() {
    let loader = |size| Loader::new(indices(10)).batch_size(size);
    check_wrapped("dataset `indices`", |size| Box::new(loader(size)));
    check_wrapped("dataset `indices`", |size| Box::new(loader(size).workers(2)));
    check_wrapped("dataset `indices`", |size| Box::new(Arc::new(loader(size))));
    check_wrapped("dataset `indices`", |size| Box::new(Box::new(loader(size)) as Batches<usize>));
    check_wrapped("dataset `indices`", |size| Box::new(loader(size).map_batches(|batch| batch)));
    check_wrapped("dataset `indices`", |size| {
        Box::new(loader(size).transform_batches("nothing", |batch, _| Ok(batch)))
    });
    check_wrapped("dataset `indices`", |size| Box::new(loader(size).take_batches(10)));
    check_wrapped("dataset `indices`", |size| Box::new(loader(size).timed()));
    check_wrapped("dataset `indices`", |size| {
        Box::new(loader(size).count_samples(|batch| batch.len() as u64))
    });
    check_wrapped("dataset `indices`", |size| Box::new(loader(size).read_ahead(2)));
    check_wrapped("source `a`: dataset `indices`", |size| {
        Box::new(Mix::in_order().source("a", loader(size)))
    });
    check_wrapped("source `a`: dataset `indices`", |size| Box::new(Mix::random().source("a", loader(size))));
    check_wrapped("source `a`: dataset `indices`", |size| {
        let each = AllBatches::new().source("a", loader(size));
        Box::new(each.map_batches(|batches| batches.into_values().flatten().collect()))
    });
}

#[test]
fn batches_of_a_stream_go_on_at_its_sample() {
    let loader = |size| StreamLoader::new(stream(|_| 0..10_usize)).batch_size(size);
    check_wrapped("stream `stream`", |size| Box::new(loader(size)));
    check_wrapped("stream `stream`", |size| Box::new(loader(size).read_ahead(2)));
    check_wrapped("source `a`: stream `stream`", |size| Box::new(Mix::in_order().source("a", loader(size))));
    check_wrapped("stream `stream`", |size| {
        Box::new(StreamLoader::new(stream(|_| 0..10_usize).transform(|index, _| index)).batch_size(size))
    });
}

#[test]
fn batches_are_mixed_in_a_resumed_epoch_as_in_one_without_a_pause() {
    let data = |workers| {
        let images = indices(22).transform(|index, random| (index, random.uniform()));
        let loader = Loader::collate(images, |samples| {
            let (index, pixel): (Vec<usize>, Vec<f64>) = samples.into_iter().unzip();
            let index: Vec<f64> = index.into_iter().map(|index| index as f64).collect();
            Ok((ToyArray::new(&[pixel.len()], &pixel), ToyArray::new(&[index.len()], &index)))
        });
        let loader = loader.batch_size(4).shuffle().workers(workers);
        let bits =
            |(x, y): (ToyArray, ToyArray)| [x.values(), y.values()].concat().into_iter().map(f64::to_bits);
        loader
            .mixup(Mixup::new(0.4).probability(0.8))
            .map_batches(move |batch| bits(batch).collect::<Vec<_>>())
    };
    let whole = leg(&data(0), ALONE, None, Train::epochs(2)).unwrap();
    for stop in 1..12 {
        let first = leg(&data(2), ALONE, None, Train::steps(stop)).unwrap();
        let second = leg(&data(0), ALONE, Some(&first.saved), Train::epochs(2)).unwrap();
        assert!([first.batches, second.batches].concat() == whole.batches, "stopped after step {stop}");
    }
}

#[test]
fn first_batches_are_counted_whatever_their_size_is() {
    let data = |size| Loader::new(indices(100)).batch_size(size).take_batches(3);
    let first = leg(&data(4), ALONE, None, Train::steps(1)).unwrap();
    let second = leg(&data(2), ALONE, Some(&first.saved), Train::epochs(1)).unwrap();
    assert_eq!(shown(&second.batches), "45 67");
}

#[test]
fn what_a_stream_draws_for_a_sample_does_not_depend_on_its_batch() {
    let drawing = |size| {
        StreamLoader::collate_into(
            stream(|_| 0..20),
            Vec::with_capacity,
            |batch: &mut Vec<(usize, u64)>, sample, random| {
                batch.push((sample, random.bits()));
                Ok(())
            },
        )
        .batch_size(size)
    };
    let whole = leg(&drawing(1), ALONE, None, Train::epochs(1)).unwrap().batches.concat();
    let (mut seen, saved) = ranks(&drawing(4), 2, None, Train::steps(2)).unwrap();
    seen.extend(ranks(&drawing(3), 1, Some(&saved), Train::epochs(1)).unwrap().0);
    assert_eq!(seen, whole);
}

#[test]
fn sources_of_a_mix_go_on_at_their_samples() {
    let loader = |first: usize, samples, size| {
        Loader::new(indices(samples).map(move |index| first + index)).batch_size(size).shuffle()
    };
    let check = |mix: fn() -> Mix<Vec<usize>>, stopping| {
        let data = |size| {
            let mix = mix().source("a", loader(0, 10, size)).source("b", loader(100, 5, size));
            mix.source("c", loader(200, 12, size)).until(stopping)
        };
        let whole = data(2).batches().unwrap_or(14);
        for stop in 1..whole {
            for size in [1, 3, 5] {
                let first = leg(&data(2), ALONE, None, Train::steps(stop)).unwrap();
                // More or fewer batches than the rest of the epoch announces are an error.
                let second = leg(&data(size), ALONE, Some(&first.saved), Train::epochs(1)).unwrap();
                let mut seen = [first.batches.concat(), second.batches.concat()].concat();
                seen.sort();
                let all = (0..10).chain(100..105).chain(200..212);
                assert!(stopping != Stopping::AllExhausted || seen.into_iter().eq(all), "{stop} {size}");
            }
        }
    };
    check(Mix::in_order, Stopping::AllExhausted);
    for stopping in [Stopping::AllExhausted, Stopping::SmallestExhausted, Stopping::RestartUntilAllExhausted]
    {
        check(Mix::round_robin, stopping);
        check(Mix::random, stopping);
    }
}

/// A checkpoint of an earlier version has the position of data that cannot seek, as its own bytes only.
#[test]
fn positions_of_earlier_versions_are_gone_on_with() {
    let check = |data: &dyn DynData<Vec<usize>>, position: Option<&[u8]>| {
        let mut saved = leg(data, ALONE, None, Train::steps(2)).unwrap().saved;
        saved.remove(POSITION).unwrap();
        if let Some(bytes) = position {
            saved.insert(POSITION, Array::from_slice(bytes)).unwrap();
        }
        let rest = leg(data, ALONE, Some(&saved), Train::epochs(1)).unwrap();
        assert_eq!((&*shown(&rest.batches), rest.notices), ("678 9", vec![]));
    };
    check(&Loader::new(indices(10)).batch_size(3), None);
    let numbers = || stream(|_| 0..10_usize);
    check(&StreamLoader::new(numbers()).batch_size(3), None);
    check(&StreamLoader::new(numbers()).batch_size(3), Some(&6_u64.to_le_bytes()));
    let shuffled = || numbers().shuffle(1);
    let shuffled_once = shuffled();
    let mut reader = shuffled_once.open(StreamAt { epoch: 0, seed: 0, position: None }).unwrap();
    (0..6).for_each(|_| drop(reader.next()));
    let position = reader.position();
    check(&StreamLoader::new(shuffled()).batch_size(3), Some(position.as_bytes()));
}

#[test]
fn data_that_became_shorter_than_what_was_consumed_is_an_error_with_both_numbers() {
    let check = |data: &dyn Fn(usize) -> Batches<usize>, expected: &str| {
        let saved = leg(&*data(10), ALONE, None, Train::steps(2)).unwrap().saved;
        let error = leg(&*data(3), ALONE, Some(&saved), Train::epochs(1)).err().unwrap();
        assert_eq!(error, format!("data failed in train at epoch 0 step 2: {expected}"));
    };
    let loader = |samples| Loader::new(indices(samples)).batch_size(2);
    let samples =
        "dataset `indices`: 4 samples were consumed of an epoch that has 3 now: the data became shorter";
    check(&|samples| Box::new(loader(samples)), samples);
    check(&|samples| Box::new(loader(samples).workers(2).read_ahead(2)), samples);
    check(
        &|samples| Box::new(Mix::round_robin().source("a", loader(samples))),
        &format!("source `a`: {samples}"),
    );
    let streamed = |samples| StreamLoader::new(stream(move |_| 0..samples)).batch_size(2);
    check(
        &|samples| Box::new(streamed(samples)),
        "stream `stream` batch 2: 4 samples were consumed of a stream that has 3 now: the data became shorter",
    );

    let batches = |count: usize| vec![vec![7]; count.saturating_sub(2)];
    let counted_in = "2 batches were consumed of an epoch that has 1 now: the data became shorter";
    check(&|count| Box::new(batches(count)), counted_in);
    check(&|count| Box::new(each_epoch(move |_| batches(count).into_iter())), counted_in);
    check(&|count| Box::new(batches(count).map_batches(|batch| batch)), counted_in);
    check(&|count| Box::new(batches(10).take_batches(count as u64 - 2)), {
        "2 batches were consumed of an epoch of which 1 are taken now"
    });
    check(
        &|count| Box::new(Mix::in_order().source("a", batches(count))),
        &format!("source `a`: {counted_in}"),
    );
    check(
        &|count| {
            let each = AllBatches::new().source("a", batches(count));
            Box::new(each.map_batches(|batches| batches.into_values().flatten().collect()))
        },
        &format!("source `a`: {counted_in}"),
    );
}

#[test]
fn a_text_file_that_became_shorter_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    let data = StreamLoader::new(Lines::new(&path)).batch_size(2);
    std::fs::write(&path, "one\ntwo\nthree\nfour\n").unwrap();
    let saved = leg(&data, ALONE, None, Train::steps(1)).unwrap().saved;
    std::fs::write(&path, "one\n").unwrap();
    let error = leg(&data, ALONE, Some(&saved), Train::epochs(1)).err().unwrap();
    let expected = "8 bytes were read of a file that has 4 now: the data became shorter";
    let place = "data failed in train at epoch 0 step 1: stream `text` batch 1: ";
    assert_eq!(error, format!("{place}file `{}`: {expected}", path.display()));
}

#[test]
fn a_dataset_that_became_shorter_is_an_error_and_one_that_became_longer_is_told() {
    let data = |samples| Loader::new(indices(samples)).batch_size(2);
    let saved = leg(&data(10), ALONE, None, Train::steps(2)).unwrap().saved;
    let shorter = leg(&data(7), ALONE, Some(&saved), Train::epochs(1)).err().unwrap();
    let expected = "data failed in train at epoch 0 step 2: dataset `indices`: an epoch has 7 samples now, and \
                    had 10 when this one was saved: the data became shorter";
    assert_eq!(shorter, expected);
    let rest = leg(&data(11), ALONE, Some(&saved), Train::epochs(1)).unwrap();
    let told = "dataset `indices`: an epoch has 11 samples now, and had 10 when this one was saved: it goes on \
                at sample 4, and where the order depends on their number, some come twice and some not at all";
    assert_eq!((&*shown(&rest.batches), rest.notices), ("45 67 89 10", vec![told.to_owned()]));
}

#[test]
fn a_position_of_other_data_is_refused() {
    let saved = |data: &dyn DynData<Vec<usize>>| leg(data, ALONE, None, Train::steps(1)).unwrap().saved;
    let check = |saved: &StateDict, data: &dyn DynData<Vec<usize>>, expected: &str| {
        let error = leg(data, ALONE, Some(saved), Train::epochs(1)).err().unwrap();
        let foreign = "the position was saved by other data than this";
        assert_eq!(error, format!("data failed in train at epoch 0 step 1: {expected}: {foreign}"));
    };
    let loader = || Loader::new(indices(10)).batch_size(2);
    let streamed = || StreamLoader::new(stream(|_| 0..10_usize)).batch_size(2);
    check(&saved(&streamed()), &loader(), "dataset `indices`");
    check(&saved(&loader()), &streamed(), "stream `stream` batch 1");
}
