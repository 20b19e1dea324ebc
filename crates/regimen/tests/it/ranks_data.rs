//! The batches of several ranks are together those of one process, also if their number changes within an epoch.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen::callback::Event;
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::data::{
    AllBatches, DataExt, Dataset, DynData, Loader, Mix, Stopping, Stream, StreamLoader, indices, stream,
};
use regimen::peers::Peers;
use regimen::run::{Predict, PredictionSink, Train};
use regimen::saved::{AppState, Parts, StateDict};
use regimen::unit::{PredictUnit, TrainUnit};
use regimen::{BoxError, Run, State};
use regimen_test::peers::{Threads, on_ranks};

/// No call waits as long on any machine that passes.
const PATIENCE: Duration = Duration::from_secs(600);

type Batches = Box<dyn DynData<Vec<usize>>>;

/// Records its batches.
struct Gather(Vec<Vec<usize>>);

impl TrainUnit for Gather {
    type Batch = Vec<usize>;

    fn train_step(&mut self, _: &mut State, batch: Vec<usize>) -> Result<(), BoxError> {
        self.0.push(batch);
        Ok(())
    }
}

impl PredictUnit for Gather {
    type Batch = Vec<usize>;
    type Output = Vec<usize>;

    fn predict_step(&mut self, _: &mut State, batch: Vec<usize>) -> Result<Vec<usize>, BoxError> {
        Ok(batch)
    }
}

/// A sink in memory that goes on at its position.
struct Outputs(Vec<usize>);

impl PredictionSink<Vec<usize>> for Outputs {
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError> {
        let length = position.map_or(Ok(0), |position| position.count("length"))?;
        self.0.truncate(usize::try_from(length)?);
        Ok(())
    }

    fn write(&mut self, output: Vec<usize>) -> Result<(), BoxError> {
        self.0.extend(output);
        Ok(())
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        let mut position = StateDict::new();
        position.insert("length", self.0.len() as u64)?;
        Ok(position)
    }
}

impl AppState for Gather {
    fn visit(&mut self, _: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The batches of all ranks, and the samples that each has counted, from what `disk` has up to `limits`.
fn leg(
    ranks: u64,
    data: impl Fn() -> Batches + Sync,
    disk: &SimDisk,
    limits: Train,
) -> Result<(Vec<Vec<usize>>, u64), Vec<String>> {
    let results = on_ranks(Threads::of(ranks, PATIENCE), |peers| {
        let mut unit = Gather(Vec::new());
        let saver = Checkpointer::new(Path::new("/run")).store(Arc::new(disk.clone()));
        let mut run = Run::new(&mut unit).seed(42).peers(peers).saver(saver);
        let train = |run: &mut Run<'_, Gather>| {
            run.restore_latest()?;
            run.train(&*data(), limits)
        };
        let samples = train(&mut run).map_err(|error| format!("{error:#}"))?.train.samples;
        // The position is not of a rank, so it must be that of every rank.
        let state = run.run_state().map_err(|error| error.to_string())?;
        drop(run);
        Ok((unit.0, samples, state))
    });
    let results: Vec<Result<_, String>> =
        results.into_iter().map(|result| result.and_then(|result| result)).collect();
    if results.iter().any(Result::is_err) {
        return Err(results.into_iter().map(|result| result.map(drop).unwrap_err()).collect());
    }
    let of_ranks: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let (first, samples, state) = &of_ranks[0];
    for (batches, counted, other) in &of_ranks {
        assert_eq!((batches.len(), counted, other), (first.len(), samples, state));
    }
    let batch = |n: usize| of_ranks.iter().flat_map(|(batches, ..)| batches[n].clone()).collect();
    Ok(((0..first.len()).map(batch).collect(), *samples))
}

#[track_caller]
fn check(data: impl Fn() -> Batches + Sync) {
    let (whole, samples) = leg(1, &data, &SimDisk::new(), Train::epochs(2)).unwrap();
    assert_eq!(whole.iter().map(|batch| batch.len() as u64).sum::<u64>(), samples);
    let steps = whole.len() as u64;
    assert!(steps > 7, "{steps} steps are too few");
    for stop in 1..steps - 2 {
        let disk = SimDisk::new();
        let mut seen = Vec::new();
        let limits = [stop, stop + 1, stop + 2].map(Train::steps).into_iter().chain([Train::epochs(2)]);
        let mut counted = 0;
        for (ranks, limits) in [4, 3, 1, 2].into_iter().zip(limits) {
            let (batches, samples) = leg(ranks, &data, &disk, limits).unwrap();
            seen.extend(batches);
            counted = samples;
        }
        assert_eq!((seen, counted), (whole.clone(), samples), "4, 3, 1 and 2 ranks from step {stop}");
    }
}

fn shuffled(samples: usize) -> Loader<Vec<usize>> {
    Loader::new(indices(samples)).batch_size(8).shuffle()
}

fn streamed(samples: usize) -> StreamLoader<Vec<usize>> {
    StreamLoader::new(stream(move |_| 0..samples).shuffle(12)).batch_size(8)
}

#[test]
fn batches_of_a_shuffled_loader_go_on_with_another_number_of_ranks() {
    check(|| Box::new(shuffled(37)));
    check(|| Box::new(shuffled(37).workers(2).read_ahead(2)));
    check(|| Box::new(shuffled(37).take_batches(4).map_batches(|batch| batch)));
    check(|| Box::new(shuffled(37).count_samples(|batch| batch.len() as u64)));
}

#[test]
fn batches_of_a_shuffled_stream_go_on_with_another_number_of_ranks() {
    check(|| Box::new(streamed(37)));
    check(|| Box::new(streamed(37).read_ahead(3)));
}

#[test]
fn batches_of_a_mix_go_on_with_another_number_of_ranks() {
    for stopping in [Stopping::AllExhausted, Stopping::RestartUntilAllExhausted] {
        check(move || {
            let mix =
                Mix::random().weighted("loader", 2.0, shuffled(29)).weighted("stream", 1.0, streamed(20));
            Box::new(mix.until(stopping))
        });
    }
    check(|| {
        let each = AllBatches::new().source("loader", shuffled(37)).source("stream", streamed(37));
        Box::new(
            each.map_batches(|batches| batches.into_values().next().unwrap_or_default())
                .count_samples(|batch| batch.len() as u64),
        )
    });
}

#[test]
fn samples_that_are_passed_over_are_not_counted_on_any_number_of_ranks() {
    let data = || {
        let bad = |index: usize| if index % 5 == 3 { Err(BoxError::from("torn")) } else { Ok(index) };
        Box::new(Loader::new(indices(37).try_map(bad)).batch_size(16).shuffle().skip_bad_samples()) as Batches
    };
    let (alone, samples) = leg(1, data, &SimDisk::new(), Train::epochs(1)).unwrap();
    assert_eq!(samples, 30);
    for ranks in 2..4 {
        assert_eq!(leg(ranks, data, &SimDisk::new(), Train::epochs(1)).unwrap(), (alone.clone(), samples));
    }
}

#[test]
fn training_ends_at_the_same_sample_on_any_number_of_ranks() {
    for ranks in 1..=4 {
        let (batches, samples) =
            leg(ranks, || Box::new(shuffled(37)), &SimDisk::new(), Train::samples(40)).unwrap();
        // 8, 8, 8, 8 and 5 in the first epoch.
        assert_eq!((batches.len(), samples), (6, 45), "{ranks} ranks");
    }
}

#[test]
fn a_batch_that_leaves_a_rank_without_a_sample_is_an_error_on_every_rank() {
    let errors = leg(4, || Box::new(shuffled(41)), &SimDisk::new(), Train::epochs(1)).unwrap_err();
    let text = "data failed in train at epoch 0 step 0: dataset `indices`: a batch of 1 of 41 samples leaves some of \
                4 ranks without any; choose another batch size, `drop_last` or `pad_last`";
    assert_eq!(errors, [text; 4]);
    let errors = leg(4, || Box::new(streamed(41)), &SimDisk::new(), Train::epochs(1)).unwrap_err();
    let text = "data failed in train at epoch 0 step 5: stream `stream` batch 5: 1 sample for 4 ranks leave some \
                without any; use `drop_last`";
    assert_eq!(errors, [text; 4]);
}

#[test]
fn a_prediction_goes_on_with_as_many_ranks_or_fewer() {
    for ranks in [3, 2] {
        check_prediction(ranks);
    }
}

/// Pauses a prediction of 3 ranks, and goes on with so many.
fn check_prediction(ranks: u64) {
    let disk = SimDisk::new();
    // What each rank has written; more than the checkpoint knows of.
    let files: [Mutex<Vec<usize>>; 3] = Default::default();
    let predict = |ranks: u64, stop: Option<u64>| {
        on_ranks(Threads::of(ranks, PATIENCE), |peers| {
            let mut file = files[peers.rank().index as usize].lock().map_err(|_| "poisoned")?;
            let mut sink = Outputs(file.clone());
            let mut unit = Gather(Vec::new());
            let saver = Checkpointer::new(Path::new("/run")).store(Arc::new(disk.clone()));
            let mut run = Run::new(&mut unit).seed(42).peers(peers).saver(saver);
            if let Some(stop) = stop {
                run = run.on(Event::PredictStepEnd, move |state: &mut State, _: &mut Gather| {
                    if state.progress().steps == stop {
                        state.pause("told to");
                    }
                });
            }
            let done = run
                .restore_latest()
                .and_then(|_| run.predict_into(&shuffled(37), Predict::whole().resume("all"), &mut sink));
            done.map_err(|error| format!("{error:#}"))?;
            file.clone_from(&sink.0);
            Ok(())
        })
    };
    let paused: Vec<Result<Result<(), String>, String>> = predict(3, Some(2));
    assert_eq!(paused, vec![Ok(Ok(())); 3]);
    files[1].lock().unwrap().push(99);
    assert_eq!(predict(ranks, None), vec![Ok(Ok(())); ranks as usize]);
    let mut all: Vec<usize> = files.into_iter().flat_map(|file| file.into_inner().unwrap()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..37));
}
