//! Roll-backs: the batches that are passed over, and that a run killed anywhere ends with the same bytes.

use std::collections::BTreeMap;

use regimen::auto_unit::NonFinite;
use regimen::callback::{Event, Every};
use regimen::checkpoint::SimDisk;
use regimen::data::{Data, DataExt, Loader, each_epoch, indices};
use regimen::engine::Engine as _;
use regimen::error::NotFinite;
use regimen::run::{NanGuard, Train};
use regimen::saved::{AppState, StateDict};
use regimen::unit::TrainUnit;
use regimen::{AutoUnit, BoxError, Error, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars};

use super::common::*;

/// Batches from here on have a loss that is not finite.
const BAD: u64 = 100;

/// A random walk that tells of such a loss, by default at once.
#[derive(AppState)]
struct Checked {
    #[app_state(nested)]
    walk: Walk,
    /// Steps until it is told, at the latest at the end of the epoch.
    #[app_state(skip)]
    late: u64,
    #[app_state(skip)]
    untold: Option<u64>,
    #[app_state(skip)]
    made: Vec<u64>,
}

impl Checked {
    fn new() -> Self {
        Checked { walk: Walk::new(), late: 0, untold: None, made: Vec::new() }
    }

    fn tell(&mut self) -> Result<(), BoxError> {
        self.untold.take().map_or(Ok(()), |step| {
            Err(NotFinite::new(format!("the loss of step {step} is NaN")).of_step(step).into())
        })
    }
}

impl TrainUnit for Checked {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        let step = state.train_progress().steps;
        if self.untold.is_some_and(|bad| bad + self.late <= step) {
            self.tell()?;
        }
        if BAD <= batch && self.late == 0 {
            return Err(NotFinite::new("the loss is NaN").into());
        }
        if BAD <= batch {
            self.untold.get_or_insert(step);
        }
        self.made.push(batch);
        self.walk.train_step(state, batch)
    }

    fn on_train_epoch_end(&mut self, _: &mut State) -> Result<(), BoxError> {
        self.tell()
    }
}

type Content = BTreeMap<String, StateDict>;

/// Trains until it is complete, in one process per entry of `kills`, which ends in an error after so many calls
/// of the unit. Returns the content of the last checkpoint and the weights.
fn train(
    data: &impl Data<Batch = u64>,
    config: Train,
    every: u64,
    late: u64,
    kills: &[u64],
) -> (Content, Vec<f64>) {
    let disk = SimDisk::new();
    for fail_after in kills.iter().copied().map(Some).chain([None]) {
        let mut unit = Checked { walk: Walk { fail_after, ..Walk::new() }, late, ..Checked::new() };
        let mut run = Run::new(&mut unit).seed(7).saver(saver(&disk).every(Every::steps(every)));
        run.restore_latest().unwrap();
        let result = NanGuard::new().train(&mut run, data, config);
        drop(run);
        match (result, fail_after) {
            (Ok(_), None) => return (newest(&disk).content, unit.walk.weights),
            (Ok(report), Some(_)) => assert_eq!(report.train.steps, newest(&disk).checkpoint.manifest().step),
            (Err(error), _) => assert!(format!("{error:#}").ends_with("told to fail"), "{error:?}"),
        }
    }
    unreachable!("the last process is not killed")
}

/// Compares training on `data`, killed anywhere, with training on `clean`, in which nothing is bad.
#[track_caller]
fn check(data: impl Data<Batch = u64>, clean: &[u64], config: Train, every: u64, late: u64) {
    let whole = train(&data, config, every, late, &[]);
    assert_eq!(whole.1, train(&clean, config, every, late, &[]).1);
    for kill in 1..=2 * clean.len() as u64 {
        for kills in [vec![kill], vec![kill, 1, 2]] {
            assert!(train(&data, config, every, late, &kills) == whole, "killed after {kills:?}");
        }
    }
}

fn of_unknown_length(batches: &[u64]) -> impl Data<Batch = u64> {
    each_epoch(move |_| batches.iter().copied())
}

#[test]
fn a_bad_batch_is_passed_over_in_each_epoch_and_the_others_are_trained() {
    let clean = [1, 2, 3, 4, 5];
    let inside = [1, 2, 101, 3, 102, 4, 5];
    check(inside, &clean, Train::epochs(2), 2, 0);
    check(of_unknown_length(&inside), &clean, Train::epochs(2), 2, 0);
    check(inside.to_vec().take_batches(6), &clean[..4], Train::epochs(2), 2, 0);
    // The cap counts steps.
    check(inside, &clean[..4], Train::epochs(2).steps_per_epoch(4), 2, 0);
    // At an end, and several in sequence.
    for batches in [[1, 2, 3, 4, 5, 101], [1, 2, 101, 3, 4, 5]] {
        check(batches, &clean, Train::epochs(2), 1, 0);
        check(of_unknown_length(&batches), &clean, Train::epochs(2), 1, 0);
    }
    check([1, 2, 3, 101, 102, 103, 4, 5], &clean, Train::epochs(1), 2, 0);
    check([1, 2, 3, 4, 5, 101, 102], &clean, Train::epochs(2), 1, 0);
}

#[test]
fn a_number_that_is_read_later_is_of_the_batch_of_its_own_step() {
    check([1, 2, 3, 101, 4, 5, 6], &[1, 2, 3, 4, 5, 6], Train::epochs(1), 3, 2);
    // Told at the end of the epoch.
    check([1, 2, 3, 101, 4], &[1, 2, 3, 4], Train::epochs(1), 3, 9);
}

#[test]
fn a_loader_goes_on_behind_the_batch_in_its_order() {
    let loader = |seen: fn(u64) -> u64| {
        Loader::new(indices(12))
            .batch_size(2)
            .map_batches(move |rows: Vec<usize>| rows.iter().map(|&row| seen(row as u64)).sum::<u64>())
    };
    // Only one batch has row 7, in either epoch.
    let data = loader(|row| if row == 7 { BAD } else { row });
    let whole = train(&data, Train::epochs(2), 3, 0, &[]);
    let steps = |content: &Content| {
        regimen::run::Moment::saved_state(&content["run"]).unwrap().train_progress().steps
    };
    assert_eq!(steps(&whole.0), 10);
    for kill in 1..=10 {
        assert!(train(&data, Train::epochs(2), 3, 0, &[kill]) == whole, "killed after {kill}");
    }
}

/// Trains on `batches` under `guard`, with a checkpoint after every second step. Returns the error, the steps
/// that the run has then, and all notices.
fn failing(guard: NanGuard, batches: &[u64]) -> (Error, u64, String) {
    let (disk, mut unit) = (SimDisk::new(), Checked::new());
    let notices = std::sync::Mutex::new(Vec::new());
    let mut run = Run::new(&mut unit)
        .saver(saver(&disk).every(Every::steps(2)))
        .on(Event::Notice, |state: &mut State, _: &mut Checked| {
            notices.lock().unwrap().extend(state.notices().to_vec())
        });
    let error = guard.train(&mut run, batches, Train::epochs(1)).unwrap_err();
    let steps = run.state().train_progress().steps;
    drop(run);
    (error, steps, notices.into_inner().unwrap().join("\n"))
}

const NAN: &str = "unit failed in train_step in train at epoch 0 step";

#[test]
fn too_many_roll_backs_to_one_checkpoint_are_the_error() {
    let (error, steps, notices) = failing(NanGuard::new().roll_backs(2), &[1, 2, 3, 101, 102, 103, 4]);
    let expected = format!(
        "{NAN} 3: the loss is NaN\nwhile that was handled: `NanGuard::roll_backs`: it was rolled back 2 times to \
         step 2 before"
    );
    assert_eq!((format!("{error:?}"), steps), (expected, 2));
    let told = |batch| {
        format!("rolled back to step 2; batch {batch} of epoch 0 is passed over: {NAN} 3: the loss is NaN")
    };
    assert_eq!(notices, [told(3), told(4)].join("\n"));
}

#[test]
fn an_error_that_cannot_be_rolled_back_from_is_returned() {
    // Before the first checkpoint, and without any roll-back.
    let (error, steps, notices) = failing(NanGuard::new(), &[1, 101]);
    assert_eq!((format!("{error:?}"), steps, &*notices), (format!("{NAN} 1: the loss is NaN"), 1, ""));
    let (error, steps, _) = failing(NanGuard::new().roll_backs(0), &[1, 2, 3, 101]);
    assert_eq!((format!("{error:?}"), steps), (format!("{NAN} 3: the loss is NaN"), 3));
    // Without a saver.
    let mut unit = Checked::new();
    let error = NanGuard::new().train(&mut Run::new(&mut unit), &[101], Train::epochs(1)).unwrap_err();
    let expected = format!(
        "{NAN} 0: the loss is NaN\nwhile that was handled: `restore`: the run has no saver; give it one with \
         `Run::saver`"
    );
    assert_eq!(format!("{error:?}"), expected);
}

#[test]
fn weights_and_metrics_are_those_of_the_batches_that_were_trained() {
    let (disk, mut unit) = (SimDisk::new(), Checked::new());
    let mut run = Run::new(&mut unit).saver(saver(&disk).every(Every::steps(2)));
    let report = NanGuard::new().train(&mut run, &[1, 2, 3, 101, 4, 5], Train::epochs(1)).unwrap();
    drop(run);
    assert_eq!((report.train.steps, report.train.samples), (5, 5));
    assert_eq!(unit.made, [1, 2, 3, 3, 4, 5]);
    let mut clean = Checked::new();
    let expected = Run::new(&mut clean).train(&[1, 2, 3, 4, 5], Train::epochs(1)).unwrap();
    assert_eq!(report.metric(TRAIN_LOSS), expected.metric(TRAIN_LOSS));
}

/// A weight, at first 0, whose loss is the batch times it: a step subtracts twice the batch.
struct Slope;

impl Task<ToyEngine<ToyArray>> for Slope {
    type Batch = f64;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        weight: &ToyArray,
        batch: &f64,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(weight.scale(*batch).mean(), 1.0), ()))
    }
}

type Slopes = AutoUnit<ToyEngine<ToyArray>, Slope>;

/// A unit whose numbers stay on the device until they are read, or not.
fn slopes(reads_later: bool) -> Slopes {
    let mut vars = ToyVars::new();
    let weight = vars.parameter("weight", &[], 0.0);
    let engine = ToyEngine::new(vars, weight, ToyOptimizer::sgd(0.0));
    let engine = if reads_later { engine.reads_later() } else { engine };
    AutoUnit::new(engine, Slope).learning_rate(2.0)
}

/// The first reader of a number.
#[derive(Clone, Copy)]
enum Reader {
    Loss,
    Callback,
    /// A save every two steps.
    Save,
    /// The end of the epoch or of the call. There is a save every epoch.
    End,
}

/// A run of `unit` with that reader on data whose second epoch is `batches`, and `call` of it.
fn call<R>(unit: &mut Slopes, reader: Reader, call: impl FnOnce(&mut Run<'_, Slopes>) -> R) -> R {
    let disk = SimDisk::new();
    let every = if let Reader::Save = reader { Every::steps(2) } else { Every::epochs(1) };
    let run = Run::new(unit).saver(saver(&disk).every(every));
    let mut run = match reader {
        Reader::Callback => run.on(Event::TrainStepEnd, |state: &mut State, _: &mut Slopes| {
            let _ = state.metric(TRAIN_LOSS).map(|metric| metric.last_value());
        }),
        _ => run,
    };
    call(&mut run)
}

/// Trains an epoch twice, the second time with `bad` as batch `at`, to the end of both or until `steps` of the
/// second are made. Each policy must act on the number, which `found` finds first.
#[track_caller]
fn check_reader(reader: Reader, bad: f64, at: usize, steps: Option<usize>, found: &str) {
    const CLEAN: [f64; 4] = [0.0625, 0.125, 0.03125, 0.25];
    let data = each_epoch(move |epoch| {
        let mut batches = CLEAN.to_vec();
        if epoch == 1 {
            batches.insert(at, bad);
        }
        batches.into_iter()
    });
    let step = 4 + at as u64;
    let config = steps.map_or(Train::epochs(2), |steps| Train::steps(4 + steps as u64));
    // The weight if the second epoch has made as many of the clean batches.
    let trained = |n: usize| -2.0 * (CLEAN.iter().sum::<f64>() + CLEAN[..n].iter().sum::<f64>());
    let weight = |unit: &Slopes| unit.engine().module().values()[0];
    let unit = || slopes(!matches!(reader, Reader::Loss));
    // It stops.
    let error = call(&mut unit(), reader, |run| run.train(&data, config).unwrap_err());
    assert_eq!((error.not_finite_step(), format!("{error}")), (Some(step), found.to_owned()));
    // It is rolled back from.
    let mut guarded = unit();
    let report = call(&mut guarded, reader, |run| NanGuard::new().train(run, &data, config).unwrap());
    let told = format!("batch {at} of epoch 1 is passed over: {found}: ");
    assert!(matches!(&report.notices[..], [notice] if notice.contains(&told)), "{:?}", report.notices);
    assert_eq!(weight(&guarded), trained(steps.unwrap_or(4)));
    // It is skipped, if it is a loss.
    if bad.is_nan() {
        let mut skipping = unit().non_finite(NonFinite::Skip);
        call(&mut skipping, reader, |run| run.train(&data, config).unwrap());
        assert_eq!((skipping.skipped(), weight(&skipping)), (1, trained(steps.map_or(4, |steps| steps - 1))));
    }
}

#[test]
fn each_policy_acts_no_matter_who_reads_the_number_first() {
    let nan = f64::NAN;
    let check = check_reader;
    check(Reader::Loss, nan, 1, Some(3), "unit failed in train_step in train at epoch 1 step 5");
    check(Reader::Callback, nan, 1, Some(3), "unit failed in train_step in train at epoch 1 step 6");
    check(Reader::Save, nan, 1, Some(3), "state failed in train at epoch 1 step 6");
    check(Reader::End, nan, 1, None, "unit failed in on_train_epoch_end in train at epoch 2 step 9");
    check(Reader::End, nan, 1, Some(3), "unit failed in on_train_end in train at epoch 1 step 7");
    // The loss is finite, and the weight behind its step is not.
    check(Reader::Loss, 0.6 * f64::MAX, 2, Some(3), "unit failed in on_train_end in train at epoch 1 step 7");
}
