//! An error that becomes part of a text: its causes are in the text, each once.
#![cfg(feature = "derive")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::checkpoint::{
    Checkpoint, Checkpointer, Load, NewFile, OpenFile, SimDisk, Store, StoreEntry, safetensors,
};
use regimen::data::{At, Data, Dataset, Epoch, Loader, Mix, Stream, StreamLoader, indices, stream};
use regimen::error::{ErrorKind, Place};
use regimen::log::{MetricLog, MetricSink, OnFailure, Record};
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::{AppState, Parts, StateDict, Stateful};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};
use regimen_test::Fault;

/// The error of a run within a unit: `{}` is only `data failed`, and the cause is in `source`.
fn nested() -> BoxError {
    Error::new(ErrorKind::Data, Place { phase: None, epoch: 0, step: 0 }, "no such file").into()
}

/// The text of the first batch's error, or of the first notice if there is a batch.
fn told<D: Data>(data: D) -> String {
    let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
    match epoch.next().unwrap() {
        Ok(_) => epoch.notice().unwrap(),
        Err(error) => error.to_string(),
    }
}

fn first_fails(index: usize) -> Result<usize, BoxError> {
    if index == 0 { Err(nested()) } else { Ok(index) }
}

#[test]
fn samples_and_batches_that_fail() {
    let toy = || indices(4).named("toy");
    let torn = || Loader::new(toy().try_map(first_fails)).batch_size(2);
    let torn_stream = || StreamLoader::new(stream(|_| 0..4).try_map(first_fails)).batch_size(2);
    let no_batch = Loader::collate(toy(), |_| Err::<(), _>(nested()));
    assert_eq!(told(no_batch), "dataset `toy` batch 0: data failed: no such file");
    assert_eq!(
        told(Mix::round_robin().source("a", torn())),
        "source `a`: dataset `toy` sample 0: data failed: no such file"
    );
    assert_eq!(
        told(torn().skip_bad_samples()),
        "skipped (number 1 of this epoch): dataset `toy` sample 0: data failed: no such file"
    );
    assert_eq!(told(torn_stream()), "stream `stream` batch 0: data failed: no such file");
    assert_eq!(
        told(torn_stream().skip_bad_samples()),
        "skipped (number 1 of this epoch): stream `stream` batch 0: data failed: no such file"
    );
}

/// A unit whose part fails at one of its calls, or that cannot list its part any more.
#[derive(Clone, Default)]
struct Unit {
    fault: Option<Fault>,
    /// The number of times that the part is listed.
    lists: Option<u64>,
    /// Whether its step fails, and leaves it without its part.
    breaks: bool,
}

const LOSS: Key = Key::mean("loss");

impl Unit {
    fn call(&self, here: Fault) -> Result<(), BoxError> {
        if self.fault == Some(here) { Err(nested()) } else { Ok(()) }
    }
}

impl TrainUnit for Unit {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, loss: f64) -> Result<(), BoxError> {
        if self.breaks {
            self.lists = Some(0);
            return Err("told to fail".into());
        }
        state.log(LOSS, loss, 1.0);
        Ok(())
    }
}

impl AppState for Unit {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        match &mut self.lists {
            Some(0) => return Err(nested()),
            Some(left) => *left -= 1,
            None => {}
        }
        parts.part("inner", self)
    }
}

impl Stateful for Unit {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.call(Fault::Save)?;
        1_u8.state_dict()
    }

    fn load_state_dict(&mut self, _: &StateDict) -> Result<(), BoxError> {
        self.call(Fault::Load)
    }

    fn check_state_dict(&self, _: &StateDict) -> Result<(), BoxError> {
        self.call(Fault::Check)
    }
}

struct Sink;

impl MetricSink for Sink {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Sink")
    }

    fn write(&mut self, _: &[Record<'_>]) -> Result<(), BoxError> {
        Err(nested())
    }
}

#[test]
fn a_log_that_cannot_be_written() {
    let log = MetricLog::to(Sink).every(Every::steps(1)).on_failure(OnFailure::Notice);
    let report = Run::new(&mut Unit::default()).callback(log).train(&[1.0], Train::steps(1)).unwrap();
    assert_eq!(report.notices, ["data failed: no such file; until then, metrics are missing in it"]);
}

#[test]
fn parts_that_cannot_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let saver = Checkpointer::new(&run);
    Run::new(&mut Unit::default()).saver(saver).train(&[1.0], Train::steps(1)).unwrap();
    let part = "part `inner`: data failed: no such file";
    let both = format!("{part}; and what was there before cannot be put back: {part}");
    for (fault, expected) in [(Fault::Save, part), (Fault::Check, part), (Fault::Load, &both)] {
        let mut unit = Unit { fault: Some(fault), ..Unit::default() };
        assert_eq!(Load::from(&run).into_unit(&mut unit).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_unit_that_cannot_be_restored() {
    let disk = SimDisk::new();
    let saver = || Checkpointer::new("/run").store(Arc::new(disk.clone())).in_foreground();
    Run::new(&mut Unit::default()).saver(saver()).train(&[1.0], Train::steps(1)).unwrap();
    let place = "state failed in train at epoch 0 step 0: `/run/step-000000001`";
    let cause = "data failed: no such file";
    let no_copy = format!("{place}: {cause}; and there is no copy of the unit before to put back: {cause}");
    let both = format!("{place}: {cause}; and what was there before cannot be put back: {cause}");
    for (lists, expected) in [(0, no_copy), (1, both)] {
        let mut unit = Unit { lists: Some(lists), ..Unit::default() };
        let error = Run::new(&mut unit).saver(saver()).restore_latest().unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    }
}

#[test]
fn the_best_that_cannot_be_put_back() {
    let told = |lists| {
        let saver = Checkpointer::new("/run").store(Arc::new(SimDisk::new())).in_foreground();
        let mut unit = Unit { lists: Some(lists), ..Unit::default() };
        let mut run = Run::new(&mut unit).saver(saver.keep_min(1, LOSS).restore_best_at_end());
        run.train(&[1.0], Train::epochs(1)).err().map(|error| format!("{error:#}"))
    };
    let found: BTreeSet<String> = (0..).map_while(told).filter(|told| told.contains("`/run")).collect();
    let place = "state failed in train at epoch 1 step 1: `/run/step-000000001`";
    let cause = "data failed: no such file";
    let no_copy = format!("{place}: {cause}; and there is no copy of the unit before to put back: {cause}");
    let both = format!("{place}: {cause}; and what was there before cannot be put back: {cause}");
    assert_eq!(found, BTreeSet::from([no_copy, both]));
}

#[test]
fn a_failed_call_that_cannot_be_saved() {
    let saver = Checkpointer::new("/run").store(Arc::new(SimDisk::new()));
    let stats = saver.stats();
    let mut unit = Unit { breaks: true, ..Unit::default() };
    Run::new(&mut unit).saver(saver).train(&[1.0], Train::steps(1)).unwrap_err();
    assert_eq!(stats.last_failure().as_deref(), Some("data failed: no such file"));
}

/// A disk that refuses one operation on the paths that end with a text.
#[derive(Clone, Debug, Default)]
struct Refusing {
    disk: SimDisk,
    refused: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

impl Refusing {
    fn refuse(&self, operation: &'static str, path: &'static str) {
        *self.refused.lock().unwrap() = Some((operation, path));
    }

    fn call(&self, operation: &str, path: &Path) -> io::Result<()> {
        match *self.refused.lock().unwrap() {
            Some((refused, end)) if refused == operation && path.ends_with(end) => {
                Err(io::Error::other(nested()))
            }
            _ => Ok(()),
        }
    }
}

impl Store for Refusing {
    fn list(&self, dir: &Path) -> io::Result<Vec<StoreEntry>> {
        self.call("list", dir)?;
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn NewFile>> {
        self.call("create", file)?;
        self.disk.create(file)
    }

    fn open(&self, file: &Path) -> io::Result<OpenFile> {
        self.call("open", file)?;
        self.disk.open(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.call("remove", file)?;
        self.disk.remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
}

/// The texts of an error and of its causes, one after another.
fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

#[test]
fn a_disk_that_fails() {
    let store = Refusing::default();
    let saver = || Checkpointer::new("/run").store(Arc::new(store.clone())).in_foreground();
    let train = |saver: Checkpointer, steps| {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (stats, told, mut unit) = (saver.stats(), notices.clone(), Unit::default());
        let mut run = Run::new(&mut unit).saver(saver);
        run.restore_latest().unwrap();
        let mut run = run.on(Event::Notice, move |state: &mut State, _: &mut Unit| {
            told.lock().unwrap().extend_from_slice(state.notices());
        });
        let result = run.train(&[1.0; 9], Train::steps(steps)).map_err(|error| format!("{error:#}"));
        drop(run);
        let notices = notices.lock().unwrap().clone();
        (result.err(), notices, stats.last_failure())
    };
    let no_file = |doing: &str| format!("cannot {doing}: data failed: no such file");

    store.refuse("create", "MANIFEST");
    let (error, ..) = train(saver(), 1);
    let why = no_file("create `/run/.tmp-step-000000001/MANIFEST`");
    assert_eq!(error, Some(format!("state failed in train at epoch 0 step 1: {why}")));
    let (_, notices, failure) = train(saver().every(Every::steps(1)), 1);
    assert_eq!((&notices[..], failure), (&[format!("a checkpoint was not saved: {why}")][..], Some(why)));

    store.refuse("none", "");
    train(saver(), 1);
    train(saver(), 2);
    let restore = || Run::new(&mut Unit::default()).saver(saver()).restore_latest();
    let unread = [2, 1].map(|step| no_file(&format!("read `/run/step-00000000{step}/MANIFEST`")));
    store.refuse("open", "step-000000002/MANIFEST");
    assert_eq!(restore().unwrap().unwrap().skipped, unread[..1]);
    let error = Checkpoint::open_on(Arc::new(store.clone()), "/run/step-000000002").unwrap_err();
    assert_eq!(chain(&error), ["cannot read `/run/step-000000002/MANIFEST`: data failed", "no such file"]);
    assert_eq!(format!("{:#}", Error::config(error)), unread[0]);
    store.refuse("open", "MANIFEST");
    assert_eq!(
        format!("{:#}", restore().unwrap_err()),
        format!(
            "state failed in train at epoch 0 step 0: cannot restore from `/run`: no checkpoint in it is whole: {}",
            unread.join("; ")
        )
    );

    // An old checkpoint that is not removed after a save, and not at the next start.
    store.refuse("remove", "MANIFEST");
    let why = no_file("remove `/run/.del-step-000000001/MANIFEST`");
    assert_eq!(train(saver().keep_last(2), 3), (None, vec![], Some(why.clone())));
    assert_eq!(train(saver(), 3), (None, vec![], Some(why)));
}

#[test]
fn the_best_that_cannot_be_found() {
    let store = Refusing::default();
    let refusing = store.clone();
    let saver = Checkpointer::new("/run").store(Arc::new(store)).in_foreground();
    let saver =
        saver.keep_min(1, LOSS).restore_best_at_end().on_saved(move |_| refusing.refuse("list", "run"));
    let mut unit = Unit::default();
    let error = Run::new(&mut unit).saver(saver).train(&[1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "state failed in train at epoch 1 step 1: `restore_best_at_end`: cannot list `/run`: data failed: no such file"
    );
}

#[test]
fn bytes_that_cannot_be_read() {
    struct Torn;
    impl io::Read for Torn {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other(nested()))
        }
    }
    let header = br#"{"n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let size = (header.len() as u64).to_le_bytes();
    for (begin, expected) in [
        ([&[][..], &[]], "header: data failed: no such file"),
        ([&size, &[]], "header: data failed: no such file"),
        ([&size, header], "array `n`: data failed: no such file"),
    ] {
        let begin = begin.concat();
        let mut source = io::Read::chain(&*begin, Torn);
        let error = safetensors::decode(&mut source, 9 + header.len() as u64).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
