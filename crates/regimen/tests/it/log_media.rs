//! Texts, images, histograms, hyper-parameters and the end of a run, as a sink is given them.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::log::{MediaRecord, MetricLog, MetricSink, OnFailure, Record};
use regimen::metric::{Histogram, Image, Key, Media};
use regimen::run::{Report, Train};
use regimen::saved::StateDict;
use regimen::state::{EntryPoint, HyperParameters};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};

/// Logs a text and an image in training, and a histogram in evaluation. A negative batch fails.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        state.log_media("text", format!("batch {batch}"));
        if batch < 0.0 {
            return Err("a negative batch".into());
        }
        state.log_media("image", Image::grey(1, 1, vec![batch as u8])?);
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log_media("numbers", Histogram::of(&[batch, batch]));
        Ok(())
    }
}

/// Notes what it is given.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<Vec<String>>>);

impl Everything {
    fn note(&self, line: String) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(line);
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl MetricSink for Everything {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("everything")
    }

    fn open(&mut self, entry: EntryPoint) -> Result<(), BoxError> {
        self.note(format!("open {entry:?}"))
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        records
            .iter()
            .try_for_each(|record| self.note(format!("{} {}={}", record.step, record.name, record.value)))
    }

    fn write_media(&mut self, record: &MediaRecord<'_>) -> Result<(), BoxError> {
        let MediaRecord { step, phase, name, media } = record;
        let media = match media {
            Media::Text(text) => text.clone(),
            Media::Image(image) => format!("{:?}", image.pixels()),
            Media::Histogram(histogram) => format!("{:?} {:?}", histogram.borders(), histogram.counts()),
            _ => "another kind".to_owned(),
        };
        self.note(format!("{step} {phase} {name}: {media}"))
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        self.note(settings.to_string())
    }

    fn end(&mut self, outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        self.note(match outcome {
            Ok(report) => format!("end {}", report.ended),
            Err(error) => format!("end {error:#}"),
        })?;
        Err("told to fail at the end".into())
    }
}

#[test]
fn media_are_written_at_the_end_of_their_step_at_any_cadence_and_once() {
    let sink = Everything::default();
    let log = || MetricLog::to(sink.clone()).every(Every::epochs(1));
    let mut unit = Unit;
    let settings = HyperParameters::new().with("rate", 0.5).with("deep", true);
    let late = |state: &mut State, _: &mut Unit| state.log_media("late", "after the last step");
    let mut run = Run::new(&mut unit).hyper_parameters(settings).on(Event::TrainEnd, late).callback(log());
    let report = run.fit(&[1.0, 2.0], &[7.0], Fit::epochs(1)).unwrap();
    let told = [
        "open Fit",
        "rate=0.5, deep=true",
        "1 train text: batch 1",
        "1 train image: [1]",
        "2 train text: batch 2",
        "2 train image: [2]",
        "2 loss=1.5",
        "open Fit",
        "2 eval numbers: [7.0, 7.0] [2]",
        "2 train late: after the last step",
        "end complete",
    ];
    assert_eq!(sink.take(), told);
    // The run is over: a log that cannot say so is a notice.
    assert_eq!(report.notices, ["told to fail at the end"]);

    let error = run.train(&[-1.0], Train::epochs(2)).unwrap_err();
    let told = [
        "open Train",
        "rate=0.5, deep=true",
        "end unit failed in train_step in train at epoch 1 step 2: a negative batch",
    ];
    assert_eq!(sink.take(), told);
    assert_eq!(format!("{error:#}"), &told[2][4..]);
}

/// Cannot be opened, but takes what it is given.
struct Away(Everything);

impl MetricSink for Away {
    fn open(&mut self, _: EntryPoint) -> Result<(), BoxError> {
        Err("it is away".into())
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        self.0.write(records)
    }

    fn write_hyper_parameters(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        self.0.write_hyper_parameters(settings)
    }
}

#[test]
fn a_log_that_is_away_has_the_hyper_parameters_too() {
    let sink = Everything::default();
    let log = MetricLog::to(Away(sink.clone())).on_failure(OnFailure::Notice);
    let mut unit = Unit;
    let settings = HyperParameters::new().with("rate", 0.5);
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log);
    let report = run.train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!(report.notices, ["it is away; until then, metrics are missing in it"]);
    assert_eq!(sink.take(), ["rate=0.5", "1 loss=1"]);
}

#[test]
fn a_filter_takes_names_of_every_kind() {
    let sink = Everything::default();
    let mut unit = Unit;
    let log =
        MetricLog::to(sink.clone()).every(Every::steps(1)).only(|name| name != "loss" && name != "image");
    Run::new(&mut unit).callback(log).train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!(sink.take(), ["open Train", "1 train text: batch 1", "end complete"]);
}

#[test]
fn hyper_parameters_are_saved_and_changes_are_told_when_they_are_restored() {
    let settings = |rate: f64| HyperParameters::new().with("rate", rate).with("layers", 3);
    let restored = |given: Option<HyperParameters>, saved: &StateDict| {
        let sink = Everything::default();
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(MetricLog::to(sink.clone()).every(Every::NEVER));
        if let Some(given) = given {
            run = run.hyper_parameters(given);
        }
        run.load_run_state(saved).unwrap();
        let mut notices = run.train(&[1.0], Train::steps(0)).unwrap().notices;
        notices.retain(|notice| notice.contains("hyper"));
        (sink.take()[1].clone(), notices)
    };
    let mut unit = Unit;
    let saved = Run::new(&mut unit).hyper_parameters(settings(0.5)).run_state().unwrap();
    let unset = Run::new(&mut Unit).run_state().unwrap();
    assert_eq!(restored(None, &saved), ("rate=0.5, layers=3".to_owned(), vec![]));
    assert_eq!(restored(Some(settings(0.5)), &saved), ("rate=0.5, layers=3".to_owned(), vec![]));
    let told = ["rate` was not given and is 0.5", "layers` was not given and is 3"];
    let told = told.map(|text| format!("hyper-parameters differ: `{text}")).to_vec();
    assert_eq!(restored(Some(settings(0.5)), &unset), ("rate=0.5, layers=3".to_owned(), told));
    let told = "hyper-parameters differ: `rate` was 0.5 and is 0.25".to_owned();
    assert_eq!(restored(Some(settings(0.25)), &saved), ("rate=0.25, layers=3".to_owned(), vec![told]));
}
