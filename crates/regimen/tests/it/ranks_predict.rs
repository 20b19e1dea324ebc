//! Predictions of all ranks in one sink.

use std::sync::{Arc, Mutex};

use regimen::data::Loader;
use regimen::log::{GatheredPredictions, OutputFile};
use regimen::peers::Peers;
use regimen::run::{Ended, Predict, PredictionSink};
use regimen::saved::StateDict;
use regimen::unit::PredictUnit;
use regimen::{BoxError, Run, State};
use regimen_test::peers::{Threads, on_ranks};

use crate::ranks_agree::PATIENCE;

/// Doubles the numbers of its batch, and pauses after the step `pause`, counted from 1.
struct Doubles {
    pause: Option<u64>,
}

impl PredictUnit for Doubles {
    type Batch = Vec<u64>;
    type Output = Vec<u64>;

    fn predict_step(&mut self, state: &mut State, batch: Vec<u64>) -> Result<Vec<u64>, BoxError> {
        if self.pause == Some(state.predict_progress().steps + 1) {
            self.pause = None;
            state.pause("told to stop");
        }
        Ok(batch.into_iter().map(|number| 2 * number).collect())
    }
}

/// 26 numbers in batches of 10: the last one is short.
fn loader() -> Loader<Vec<u64>> {
    Loader::collate((0..26_u64).collect::<Vec<_>>(), Ok).batch_size(10)
}

fn encode(numbers: Vec<u64>) -> Result<Vec<u8>, BoxError> {
    Ok(numbers.into_iter().flat_map(u64::to_le_bytes).collect())
}

fn decode(bytes: &[u8]) -> Result<Vec<u64>, BoxError> {
    Ok(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

fn lines() -> String {
    (0..26).map(|number| format!("{}\n", 2 * number)).collect()
}

#[test]
fn outputs_are_in_the_order_of_the_data_over_pauses_and_restarts_of_any_rank() {
    for ranks in 1..=4 {
        for pause in [None, Some((0, 1)), Some((ranks - 1, 2)), Some((ranks / 2, 3))] {
            for restarts in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("out.csv");
                let ended = on_ranks(Threads::of(ranks, PATIENCE), |peers| -> Result<_, BoxError> {
                    let rank = peers.rank().index;
                    let pause = pause.filter(|(of, _)| *of == rank).map(|(_, step)| step);
                    let sink = || {
                        let file = OutputFile::new(&path, |numbers: Vec<u64>, bytes: &mut Vec<u8>| {
                            let lines: String = numbers.iter().map(|number| format!("{number}\n")).collect();
                            bytes.extend(lines.bytes());
                            Ok(())
                        });
                        GatheredPredictions::new(peers.clone() as Arc<dyn Peers>, file, encode, decode)
                    };
                    let mut file = sink();
                    let mut run = Run::owned(Doubles { pause }).peers(peers.clone());
                    let predict = Predict::whole().resume("test");
                    let first = run.predict_into(&loader(), predict, &mut file)?.ended;
                    if restarts {
                        let saved = run.run_state()?;
                        run = Run::owned(Doubles { pause: None }).peers(peers.clone());
                        run.load_run_state(&saved)?;
                        file = sink();
                    }
                    let report = run.predict_into(&loader(), predict, &mut file)?;
                    Ok((first, report.ended, report.predict.steps))
                });
                let paused = pause.map_or(Ended::Complete, |_| Ended::Paused("told to stop".to_owned()));
                for ended in ended {
                    assert_eq!(ended.unwrap().unwrap(), (paused.clone(), Ended::Complete, 3));
                }
                assert_eq!(std::fs::read_to_string(&path).unwrap(), lines(), "{ranks} {pause:?} {restarts}");
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            }
        }
    }
}

/// Keeps outputs, and fails at the `fails`-th.
struct Kept {
    outputs: Arc<Mutex<Vec<Vec<u64>>>>,
    fails: usize,
}

impl PredictionSink<Vec<u64>> for Kept {
    fn begin(&mut self, _: Option<&StateDict>) -> Result<(), BoxError> {
        Ok(())
    }

    fn write(&mut self, output: Vec<u64>) -> Result<(), BoxError> {
        let mut outputs = self.outputs.lock().unwrap();
        if outputs.len() + 1 == self.fails {
            self.fails = 0;
            return Err("told to fail".into());
        }
        outputs.push(output);
        Ok(())
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        Ok(StateDict::new())
    }
}

#[test]
fn an_output_that_fails_ends_all_ranks_and_none_is_written_twice() {
    let outputs = Arc::new(Mutex::new(Vec::new()));
    let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let kept = Kept { outputs: outputs.clone(), fails: 5 };
        let mut sink = GatheredPredictions::new(peers.clone() as Arc<dyn Peers>, kept, encode, decode);
        let mut run = Run::owned(Doubles { pause: None }).peers(peers);
        run.predict_into(&loader(), Predict::whole(), &mut sink).map_err(|error| format!("{error:#}"))
    });
    let own = "sink failed in predict at epoch 0 step 1: told to fail";
    for (rank, ended) in ended.into_iter().enumerate() {
        let expected = match rank {
            0 => own.to_owned(),
            _ => "sink failed in predict at epoch 0 step 1: rank 0: told to fail".to_owned(),
        };
        assert_eq!(ended.unwrap().map(drop), Err(expected));
    }
    // Those of the first batch, and the first of the second.
    let doubled = |from: u64, to: u64| (from..to).map(|number| 2 * number).collect::<Vec<u64>>();
    let expected = [doubled(0, 3), doubled(3, 6), doubled(6, 10), doubled(10, 13)];
    assert_eq!(*outputs.lock().unwrap(), expected);
}

#[test]
fn a_step_that_is_repeated_goes_on_after_the_outputs_that_the_sink_has() {
    let found = on_ranks(Threads::of(2, PATIENCE), |peers| {
        let outputs = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept { outputs: outputs.clone(), fails: 2 };
        let mut sink = GatheredPredictions::new(peers.clone() as Arc<dyn Peers>, kept, encode, decode);
        sink.begin(None).unwrap();
        let rank = peers.rank().index;
        let first = sink.write(vec![rank]).map_err(|error| error.to_string());
        let position = sink.position().unwrap();
        sink.begin(Some(&position)).unwrap();
        sink.write(vec![rank]).unwrap();
        sink.write(vec![2 + rank]).unwrap();
        let outputs = outputs.lock().unwrap().clone();
        (first, outputs)
    });
    let failed = |text: &str| Err(text.to_owned());
    let outputs = vec![vec![0], vec![1], vec![2], vec![3]];
    let expected = [Ok((failed("told to fail"), outputs)), Ok((failed("rank 0: told to fail"), vec![]))];
    assert_eq!(found, expected);
}
