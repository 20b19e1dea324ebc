//! A run whose checkpoints and logs are in an object store: `bucket [URL] [FOLDER] [MILLISECONDS]`.
//!
//! It saves every 10 steps, and sleeps so long per step. However often it is killed, the next start goes on from the newest
//! checkpoint, also in another folder, as on another machine. It ends with the same bytes in `FOLDER/metrics.jsonl`.
//!
//! Without a URL the store is in memory. The run then fails at step 45, and goes on in a second folder.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::{AppState, Parts};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_object_store::{LogUpload, ObjectStore};

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let Some(url) = args.next() else {
        let store = ObjectStore::open("memory://")?;
        let fails = |state: &mut State, _: &mut Line| match state.train_progress().steps {
            45 => Err("the machine is gone".into()),
            _ => Ok(()),
        };
        match train(&store, "bucket-1".as_ref(), fails) {
            Err(error) => println!("{error:#}"),
            Ok(()) => return Err("the first run did not fail".into()),
        }
        return train(&store, "bucket-2".as_ref(), |_, _| Ok(()));
    };
    let folder = args.next().unwrap_or_else(|| "bucket".to_owned());
    let pace = Duration::from_millis(args.next().map_or(Ok(0), |pace| pace.parse())?);
    // The next start waits so long for the lock of one that was killed.
    let store = ObjectStore::open(&url)?.lease(Duration::from_secs(5));
    train(&store, folder.as_ref(), move |_, _| {
        thread::sleep(pace);
        Ok(())
    })
}

/// Trains with its logs in `folder`, and calls `after` at the end of each step.
fn train(
    store: &ObjectStore,
    folder: &Path,
    after: impl FnMut(&mut State, &mut Line) -> Result<(), BoxError> + Send + 'static,
) -> Result<(), BoxError> {
    let logs = LogUpload::new(store, folder, "line/logs");
    // Before the restore: a checkpoint refers to its logs.
    logs.download()?;
    let log = MetricLog::jsonl(folder.join("metrics.jsonl")).every(Every::steps(1));
    let saver = Checkpointer::new("line").store(Arc::new(store.clone()));
    let saver = saver.every(Every::steps(10)).keep_last(2).without_post_mortem();

    let points: Vec<(f64, f64)> = (0..20).map(|i| f64::from(i) / 10.0).map(|x| (x, 3.0 * x - 1.0)).collect();
    let mut line = Line { a: 0.0, b: 0.0 };
    let run = Run::new(&mut line).on(Event::TrainStepEnd, after).callback(log).callback(logs);
    let mut run = run.saver(saver);
    run.restore_latest()?;
    println!("begins at step {}", run.state().train_progress().steps);
    run.train(&points, Train::epochs(10))?;
    drop(run);
    println!("y = {:.3} x + {:.3}", line.a, line.b);
    Ok(())
}

struct Line {
    a: f64,
    b: f64,
}

impl AppState for Line {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("a", &mut self.a)?;
        parts.part("b", &mut self.b)
    }
}

impl TrainUnit for Line {
    /// A point.
    type Batch = (f64, f64);

    fn train_step(&mut self, state: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        let error = self.a * x + self.b - y;
        self.a -= 0.1 * error * x;
        self.b -= 0.1 * error;
        state.log(Key::mean("loss"), error * error, 1.0);
        Ok(())
    }
}
