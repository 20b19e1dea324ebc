//! Every failure is an error that names its place; no thread and no open file is left, and the caller
//! can continue.
//!
//! A program of its own, because threads and files are counted for the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regimen::data::{
    At, Csv, Data, DataExt, Dataset, Epoch, Idx, Lines, Loader, Position, Rank, SampleError, Sampler,
    Samples, Stream, StreamAt, StreamLoader, StreamReader, indices,
};
#[cfg(feature = "mmap")]
use regimen::data::{TokenFile, TokenWidth};
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

const WORKERS: [usize; 4] = [0, 1, 2, 8];

/// Held by each test that counts.
static ALONE: Mutex<()> = Mutex::new(());

/// Threads of loaders that are running.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("data-")).count()
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs `test` alone, and checks that no thread and no file is left.
fn leaving_nothing(test: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = open_files();
    test();
    // A joined thread is still listed for a moment.
    let start = Instant::now();
    while threads() > 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!((threads(), open_files()), (0, before), "threads and files left");
}

/// The outcome of each batch of the first epoch, and the notices.
fn outcomes<D: Data>(data: &D) -> (Vec<Result<D::Batch, String>>, Vec<String>) {
    let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
    let (mut batches, mut notices) = (vec![], vec![]);
    while let Some(fetched) = epoch.next() {
        batches.push(fetched.map(|fetched| fetched.batch).map_err(|error| error.to_string()));
        notices.extend(std::iter::from_fn(|| epoch.notice()));
    }
    (batches, notices)
}

/// Checks that batch 1 of `data`, samples 10 to 19, fails with `expected`, that all others arrive, and
/// that an epoch left at the error leaves nothing.
fn check<D: Data>(loader: impl Fn(usize) -> D, expected: &str)
where
    D::Batch: std::fmt::Debug,
{
    for workers in WORKERS {
        leaving_nothing(|| {
            let (batches, _) = outcomes(&loader(workers));
            assert_eq!(batches.len(), 10);
            for (number, batch) in batches.into_iter().enumerate() {
                match number {
                    1 => assert_eq!(batch.unwrap_err(), expected),
                    _ => drop(batch.unwrap()),
                }
            }
        });
        leaving_nothing(|| {
            let data = loader(workers);
            let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
            assert!(epoch.next().unwrap().is_ok());
            assert!(epoch.next().unwrap().is_err());
        });
    }
}

fn torn(index: usize) -> Result<usize, BoxError> {
    if index == 13 { Err("torn".into()) } else { Ok(index) }
}

fn panicking(index: usize) -> usize {
    assert!(index != 13, "torn {index}");
    index
}

#[test]
fn a_sample_that_fails_is_named() {
    let loader =
        |workers| Loader::new(indices(100).try_map(torn).named("toy")).batch_size(10).workers(workers);
    check(loader, "dataset `toy` sample 13: torn");
}

#[test]
fn a_sample_that_panics_is_named() {
    let loader =
        |workers| Loader::new(indices(100).map(panicking).named("toy")).batch_size(10).workers(workers);
    check(loader, "dataset `toy` sample 13: panicked: torn 13");
}

#[test]
fn a_transform_that_fails_or_panics_is_named() {
    let toy = || indices(100).named("toy");
    check(
        |workers| Loader::new(toy().try_transform(|index, _| torn(index))).batch_size(10).workers(workers),
        "dataset `toy` sample 13: torn",
    );
    check(
        |workers| Loader::new(toy().transform(|index, _| panicking(index))).batch_size(10).workers(workers),
        "dataset `toy` sample 13: panicked: torn 13",
    );
}

#[test]
fn a_sample_that_does_not_fit_its_batch_is_named_even_where_bad_ones_are_skipped() {
    let ragged = || indices(100).map(|index| vec![0; if index == 13 { 3 } else { 4 }]).named("toy");
    let loader = |workers| Loader::new(ragged()).batch_size(10).workers(workers);
    let expected = "dataset `toy` sample 13: 3 values where the samples before it have 4";
    check(loader, expected);
    check(|workers| loader(workers).skip_bad_samples(), expected);
}

#[test]
fn a_batch_that_fails_or_panics_is_named() {
    let toy = || indices(100).named("toy");
    let second = |batch: &Vec<usize>| batch[0] == 10;
    check(
        |workers| {
            let collate = move |batch| if second(&batch) { Err("no room".into()) } else { Ok(batch) };
            Loader::collate(toy(), collate).batch_size(10).workers(workers)
        },
        "dataset `toy` batch 1: no room",
    );
    check(
        |workers| {
            Loader::new(toy()).batch_size(10).workers(workers).transform_batch(move |batch, _| {
                assert!(!second(&batch), "no room");
                batch
            })
        },
        "dataset `toy` batch 1: panicked: no room",
    );
}

#[test]
fn a_sampler_that_panics_is_told_and_is_no_bad_sample() {
    let sampler = Sampler::keyed(100, |_, _, position| {
        assert!(position != 13, "no such shard");
        position as usize
    });
    let loader = |workers| {
        let loader = Loader::new(indices(100).named("toy")).batch_size(10).workers(workers);
        loader.sampler(sampler.clone())
    };
    let expected = "dataset `toy`: its sampler at position 13: panicked: no such shard";
    check(loader, expected);
    check(|workers| loader(workers).skip_bad_samples(), expected);
    check(|workers| loader(workers).read_ahead(2), expected);
}

/// A sample that panics when it is dropped, if it is the one with number 13.
struct Grenade(usize);

impl Drop for Grenade {
    fn drop(&mut self) {
        assert!(self.0 != 13, "went off");
    }
}

#[test]
fn a_sample_that_panics_when_its_batch_is_given_up_is_told() {
    let late = |grenade: Grenade| if grenade.0 == 15 { Err("torn".into()) } else { Ok(grenade) };
    let loader = |workers| {
        let grenades = indices(100)
            .named("toy")
            .transform(|index, _| Grenade(index))
            .try_transform(move |grenade, _| late(grenade));
        let defuse = |mut grenades: Vec<Grenade>| {
            grenades.iter_mut().for_each(|grenade| grenade.0 = 0);
            Ok(grenades.len())
        };
        Loader::collate(grenades, defuse).batch_size(10).workers(workers)
    };
    check(loader, "dataset `toy` batch 1: panicked: went off");
}

/// Numbers as a stream that panics at one of its calls.
#[derive(Clone, Copy, PartialEq)]
enum Torn {
    Open,
    Next,
    Position,
}

struct TornReader(Torn, u64);

impl Stream for Torn {
    type Item = u64;

    fn open(&self, _: StreamAt) -> Result<impl StreamReader<Item = u64>, BoxError> {
        assert!(*self != Torn::Open, "torn");
        Ok(TornReader(*self, 0))
    }
}

impl StreamReader for TornReader {
    type Item = u64;

    fn next(&mut self) -> Option<Result<u64, BoxError>> {
        assert!(self.0 != Torn::Next, "torn");
        self.1 += 1;
        Some(Ok(self.1))
    }

    fn position(&self) -> Position {
        assert!(self.0 != Torn::Position, "torn");
        Position::default()
    }
}

#[test]
fn a_stream_that_panics_anywhere_is_told() {
    for torn in [Torn::Open, Torn::Next, Torn::Position] {
        leaving_nothing(|| {
            fn first(data: impl Data<Batch = Vec<u64>>) -> Result<Vec<u64>, String> {
                let mut epoch = data.epoch(At::epoch(0, 42)).map_err(|error| error.to_string())?;
                epoch.next().unwrap().map(|fetched| fetched.batch).map_err(|error| error.to_string())
            }
            let expected = Err("stream `stream` batch 0: panicked: torn".to_owned());
            assert_eq!(first(StreamLoader::new(torn).batch_size(2)), expected);
            assert_eq!(first(StreamLoader::new(torn).batch_size(2).read_ahead(1)), expected);
        });
    }
}

#[test]
fn an_error_of_a_sample_can_be_asked_for_dataset_and_index() {
    let loader = Loader::new(indices(100).try_map(torn).named("toy")).batch_size(100);
    let error = loader.epoch(At::epoch(0, 42)).unwrap().next().unwrap().unwrap_err();
    let error = error.downcast_ref::<SampleError>().unwrap();
    assert_eq!((error.dataset(), error.index()), ("toy", 13));
}

#[test]
fn bad_samples_are_skipped_and_counted_where_asked() {
    let bad = |index: usize| match index {
        13 => Err("torn".into()),
        17 => panic!("worn"),
        30..40 => Err("lost".into()),
        _ => Ok(index),
    };
    for workers in WORKERS {
        leaving_nothing(|| {
            let loader = Loader::new(indices(100).try_map(bad).named("toy"))
                .batch_size(10)
                .workers(workers)
                .skip_bad_samples();
            let (batches, notices) = outcomes(&loader);
            assert_eq!(batches[1], Ok(vec![10, 11, 12, 14, 15, 16, 18, 19]));
            assert_eq!(batches[3], Err("dataset `toy` batch 3: none of its samples could be read".into()));
            assert_eq!(batches.iter().flatten().flatten().count(), 88);
            assert_eq!(notices[0], "skipped (number 1 of this epoch): dataset `toy` sample 13: torn");
            assert_eq!(
                notices[1],
                "skipped (number 2 of this epoch): dataset `toy` sample 17: panicked: worn"
            );
            assert_eq!(notices.len(), 12);
        });
    }
}

#[test]
fn skipped_samples_are_replaced_by_padding_where_batches_are_padded() {
    let loader = Loader::new(indices(25).try_map(torn)).batch_size(10).skip_bad_samples().pad_last();
    let (batches, _) = outcomes(&loader);
    let batches: Vec<_> = batches.into_iter().map(Result::unwrap).collect();
    let samples: Vec<_> = batches.iter().map(|batch| (batch.batch.len(), batch.samples)).collect();
    assert_eq!(samples, [(10, 10), (10, 9), (10, 5)]);
    assert_eq!(batches[1].batch[8..], [19, 10]);
    assert_eq!(batches[2].weights(10), [1., 1., 1., 1., 1., 0., 0., 0., 0., 0.]);
}

#[test]
fn settings_that_give_no_epoch_are_refused_when_it_begins() {
    fn refused(loader: Loader<Vec<usize>>, at: At, expected: &str) {
        leaving_nothing(|| {
            let error = loader.epoch(at).err().unwrap().to_string();
            assert_eq!(error, format!("dataset `toy`: {expected}"));
        });
    }
    let toy = |samples| Loader::new(indices(samples).named("toy")).workers(2);
    let at = || At::epoch(0, 42);
    refused(toy(10).batch_size(0), at(), "a batch size of 0 cannot be used");
    refused(toy(0), at(), "there is nothing to load: 0 samples, 0 of them drawn");
    refused(
        toy(10).sampler(Sampler::subset([])),
        at(),
        "there is nothing to load: 10 samples, 0 of them drawn",
    );
    refused(
        toy(10).batch_size(11).drop_last(),
        at(),
        "10 samples cannot fill a batch of 11, and it is dropped",
    );
    refused(toy(10).batch_size(3), at().skip(5), "5 batches were consumed of an epoch that has 4 batches");
    refused(
        toy(10).batch_size(4),
        at().rank(Rank { index: 0, count: 3 }),
        "a batch of 2 of 10 samples leaves some of 3 ranks without any; choose another batch size, \
         `drop_last` or `pad_last`",
    );
    refused(toy(10), at().rank(Rank { index: 2, count: 2 }), "rank 2 of 2 does not exist");
    let error = toy(10).sampler(Sampler::weighted([1.0], 3).unwrap()).epoch(at()).err().unwrap();
    assert_eq!(error.to_string(), "dataset `toy`: 1 weight for 10 samples");
}

#[test]
fn an_index_that_a_sampler_makes_up_is_an_error() {
    let loader = Loader::new(indices(10).named("toy")).sampler(Sampler::subset([3, 10])).batch_size(2);
    let (batches, _) = outcomes(&loader);
    assert_eq!(batches, [Err("dataset `toy` sample 10: it has 10 samples only".into())]);
}

#[test]
fn data_that_is_less_than_one_batch_is_told() {
    leaving_nothing(|| {
        let (batches, notices) = outcomes(&Loader::new(indices(3).named("toy")).batch_size(10).workers(2));
        assert_eq!(batches, [Ok(vec![0, 1, 2])]);
        assert_eq!(notices, ["dataset `toy`: 3 samples cannot fill a batch of 10"]);
    });
}

#[test]
fn a_slow_worker_is_named() {
    for (workers, expected) in [
        (0, "dataset `toy` batch 1 took "),
        (1, "worker data-0 was "),
        (2, "worker data-1 was "),
        (8, "worker data-1 was "),
    ] {
        leaving_nothing(|| {
            // Sample 13 is in hand before batch 1 is asked for, and done long after that.
            let (reached, asked) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(workers == 0)));
            let (reach, ask) = (reached.clone(), asked.clone());
            let slow = move |index| {
                if index == 13 {
                    reach.store(true, Ordering::Release);
                    wait_for(&ask);
                    std::thread::sleep(Duration::from_millis(200));
                }
                index
            };
            let loader = Loader::new(indices(100).map(slow).named("toy")).batch_size(10).workers(workers);
            let loader = loader.slow_after(Duration::from_millis(5));
            let mut epoch = loader.epoch(At::epoch(0, 42)).unwrap();
            epoch.next().unwrap().unwrap();
            if workers > 0 {
                wait_for(&reached);
            }
            asked.store(true, Ordering::Release);
            epoch.next().unwrap().unwrap();
            let notices: Vec<String> = std::iter::from_fn(|| epoch.notice()).collect();
            // On a busy machine batch 0 may be late too.
            let at = if workers == 0 { "batch 1" } else { "it was at sample 13" };
            let is_named = |notice: &String| notice.starts_with(expected) && notice.contains(at);
            assert!(notices.iter().any(is_named), "{notices:?}");
        });
    }
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
}

#[test]
fn a_consumer_that_stops_early_leaves_nothing() {
    for workers in WORKERS {
        for taken in [0, 1, 7] {
            leaving_nothing(|| {
                let loader = Loader::new(indices(1_000_000)).workers(workers).prefetch(3);
                let mut epoch = loader.epoch(At::epoch(0, 42)).unwrap();
                (0..taken).for_each(|_| drop(epoch.next().unwrap().unwrap()));
            });
            leaving_nothing(|| {
                let loader = Loader::new(indices(1_000_000)).workers(workers);
                let data = loader.take_batches(500_000).read_ahead(2);
                let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
                (0..taken).for_each(|_| drop(epoch.next().unwrap().unwrap()));
            });
        }
    }
}

#[test]
fn an_epoch_that_was_dropped_has_waited_for_the_sample_in_hand() {
    let slow = |index| {
        std::thread::sleep(Duration::from_millis(20));
        index
    };
    for workers in WORKERS {
        leaving_nothing(|| {
            let samples = Arc::new(indices(1000));
            let loader = Loader::new(samples.clone().map(slow)).workers(workers);
            drop(loader.epoch(At::epoch(0, 42)).unwrap());
            drop(loader);
            assert_eq!(Arc::strong_count(&samples), 1, "{workers} workers");
        });
    }
}

#[test]
fn a_consumer_that_panics_leaves_nothing() {
    for workers in WORKERS {
        leaving_nothing(|| {
            let panic = std::panic::catch_unwind(|| {
                let loader = Loader::new(indices(1000)).workers(workers);
                let mut epoch = loader.epoch(At::epoch(0, 42)).unwrap();
                epoch.next().unwrap().unwrap();
                panic!("as the test wants it");
            });
            assert!(panic.is_err());
        });
    }
}

#[test]
fn what_is_read_ahead_fails_as_it_does_when_asked_for() {
    leaving_nothing(|| {
        let torn = || Loader::new(indices(100).map(panicking).named("toy")).batch_size(10).workers(2);
        assert_eq!(outcomes(&torn().read_ahead(2)), outcomes(&torn()));
        let refused = torn().batch_size(0).read_ahead(2).epoch(At::epoch(0, 42)).err().unwrap();
        assert_eq!(refused.to_string(), "dataset `toy`: a batch size of 0 cannot be used");
    });
}

#[test]
fn files_that_are_not_what_they_should_be_are_named_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], open: &dyn Fn(&Path) -> Option<BoxError>, expected: &str| {
        let path = folder.path().join(name);
        leaving_nothing(|| {
            fs::write(&path, bytes).unwrap();
            let error = open(&path).unwrap().to_string();
            assert_eq!(error, format!("file `{}`: {expected}", path.display()));
        });
    };
    refused(
        "short.idx",
        &[0, 0, 8, 1, 0, 0, 0, 9, 1],
        &|path| Idx::open(path).err(),
        "cut off: of 9 values announced 1 are there",
    );
    refused(
        "packed.gz",
        b"not packed at all",
        &|path| Idx::open(path).err(),
        "no idx header: invalid gzip header",
    );
    refused(
        "short.csv",
        b"a,b\n1,2\n3\n",
        &|path| Csv::new(path).read::<(u8, u8)>().err(),
        "line 3: 1 fields where line 1 has 2",
    );
    #[cfg(feature = "mmap")]
    refused(
        "odd.bin",
        &[1, 2, 3],
        &|path| TokenFile::open(path, TokenWidth::U16).err(),
        "3 bytes cannot be tokens of 2 bytes each",
    );

    let lines = folder.path().join("lines");
    let numbers = || Lines::new(&lines).try_map(|line| Ok(line.parse::<u8>()?));
    leaving_nothing(|| {
        fs::write(&lines, "1\n2\nx\n4\n5\n").unwrap();
        let (batches, _) = outcomes(&StreamLoader::new(numbers()).batch_size(2));
        assert_eq!(batches[0], Ok(vec![1, 2]));
        assert_eq!(batches[1], Err("stream `lines` batch 1: invalid digit found in string".into()));
        let (batches, notices) =
            outcomes(&StreamLoader::new(numbers()).batch_size(2).skip_bad_samples().read_ahead(1));
        assert_eq!(batches, [Ok(vec![1, 2]), Ok(vec![4, 5])]);
        assert_eq!(
            notices,
            ["skipped (number 1 of this epoch): stream `lines` batch 1: invalid digit found in string"]
        );
    });
    // Removing a folder opens it, which another test would count.
    leaving_nothing(|| folder.close().unwrap());
}

/// Gathers its batches.
struct Gather(Vec<usize>);

impl TrainUnit for Gather {
    type Batch = Vec<usize>;

    fn train_step(&mut self, _: &mut State, batch: Vec<usize>) -> Result<(), BoxError> {
        self.0.extend(batch);
        Ok(())
    }
}

#[test]
fn a_run_that_met_a_bad_sample_goes_on_with_the_batch_it_was_in() {
    for workers in WORKERS {
        leaving_nothing(|| {
            let failed = AtomicBool::new(false);
            let once = move |index| {
                let fails = index == 13 && !failed.swap(true, Ordering::Relaxed);
                if fails { Err("torn".into()) } else { Ok(index) }
            };
            let loader = Loader::new(indices(100).try_map(once).named("toy")).batch_size(10).workers(workers);
            let mut unit = Gather(vec![]);
            let mut run = Run::new(&mut unit);
            let error = format!("{:#}", run.train(&loader, Train::epochs(1)).unwrap_err());
            let place = "data failed in train at epoch 0 step 1";
            assert_eq!(error, format!("{place}: dataset `toy` sample 13: torn"));
            run.train(&loader, Train::epochs(1)).unwrap();
            drop(run);
            assert!(unit.0.into_iter().eq(0..100));
        });
    }
}
