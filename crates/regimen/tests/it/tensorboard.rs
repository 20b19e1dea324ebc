//! Event files for TensorBoard: their content, restarts, and the real TensorBoard as their reader.
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use regimen::callback::{Event, Every};
use regimen::log::{GraphNode, MetricLog, OnFailure, TensorBoard};
use regimen::metric::{Audio, Histogram, Image, Key};
use regimen::run::{Evaluate, Predict, Train};
use regimen::saved::{Array, StateDict};
use regimen::state::HyperParameters;
use regimen::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};
use regimen_test::event_files::{Entry, Value, read_events, scalars};

/// Logs the batch as loss in training, and media if asked; in evaluation the number of training steps.
/// A negative batch fails.
#[derive(Default)]
struct Unit {
    media: bool,
}

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        if batch < 0.0 {
            return Err("a negative batch".into());
        }
        state.log(Key::mean("train/loss"), batch, 1.0);
        state.log(Key::last("rate"), 0.5 / batch, 1.0);
        if self.media {
            state.log_media("sample", format!("# Step\n\n| a | b |\n|---|---|\n| {batch} | <b> |"));
            state.log_media("grey", Image::grey(2, 1, vec![0, 255])?);
            state.log_media("colour", Image::rgb(1, 2, vec![1, 2, 3, 4, 5, 6])?);
            state.log_media("clear", Image::rgba(1, 1, vec![1, 2, 3, 4])?);
            state.log_media("weights", Histogram::with_buckets(&[0.0, 1.0, 4.0, f64::NAN], 2));
            state.log_media("equal", Histogram::of(&[batch, batch]));
            state.log_media("nothing", Histogram::of::<f64>(&[]));
            state.log_media("tone", Audio::mono(8000, &[0.0, 0.5])?);
        }
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = ();
    fn eval_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        state.log(Key::mean("eval/loss"), state.train_progress().steps as f64, 1.0);
        state.log(Key::mean("top-5"), 0.25, 1.0);
        Ok(())
    }
}

impl PredictUnit for Unit {
    type Batch = ();
    type Output = ();
    fn predict_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        state.log(Key::mean("seen"), 1.0, 1.0);
        Ok(())
    }
}

const DATA: [f64; 3] = [1.0, 2.0, 4.0];

fn log(dir: &Path) -> MetricLog<TensorBoard> {
    MetricLog::tensorboard(dir).every(Every::steps(1).or(Every::epochs(1)))
}

/// A folder that does not exist yet, in a temporary one.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("digits");
    (parent, dir)
}

/// A fit of `steps` steps with that log, restored from `saved`, and its state at the end.
fn fit(log: MetricLog<TensorBoard>, saved: Option<&StateDict>, steps: u64) -> Result<StateDict, String> {
    let mut unit = Unit::default();
    let mut run = Run::new(&mut unit).callback(log);
    if let Some(saved) = saved {
        run.load_run_state(saved).map_err(|error| error.to_string())?;
    }
    run.fit(&DATA, &[()], Fit::steps(steps)).map_err(|error| format!("{error:#}"))?;
    Ok(run.run_state().unwrap())
}

fn lines(dir: &Path) -> Vec<String> {
    read_events(dir).unwrap().iter().map(line).collect()
}

fn line(entry: &Entry) -> String {
    let step = entry.step;
    match &entry.value {
        Value::Version(version) => version.clone(),
        Value::Start => format!("{step} start"),
        Value::Scalar(tag, number) => format!("{step} {tag}={number}"),
        Value::Tensor(tag, plugin, _, parts) => {
            let parts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part)).collect();
            format!("{step} {tag}: {plugin} {parts:?}")
        }
        Value::Graph(graph) => format!("{step} graph of {} bytes", graph.len()),
    }
}

/// The names of the event files in `dir`, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.contains("tfevents"));
    names.sort();
    names
}

#[test]
fn a_tag_has_the_values_of_steps_or_those_of_epochs() {
    let (_parent, dir) = folder();
    fit(log(&dir), None, 4).unwrap();
    let found = lines(&dir);
    assert_eq!(
        found[..11],
        [
            "brain.Event:2",
            "0 start",
            "1 train/loss=1",
            "1 rate=0.5",
            "2 train/loss=2",
            "2 rate=0.25",
            "3 train/loss=4",
            "3 rate=0.125",
            "3 train/loss_epoch=2.3333333",
            "3 rate_epoch=0.125",
            "3 eval/loss=3",
        ]
    );
    assert_eq!(found[11], "3 top-5=0.25");
    assert!(found[12].starts_with("3 custom_scalars__config__: custom_scalars"), "{}", found[12]);
    assert!(found[12].contains("^train/loss(_epoch)?$") && found[12].contains("^eval/loss$"));
    // The charts are written once.
    assert_eq!(found[13..], ["4 train/loss=1", "4 rate=0.5"]);
}

#[test]
fn the_values_of_a_moment_are_one_event_of_one_time() {
    let (_parent, dir) = folder();
    fit(log(&dir), None, 3).unwrap();
    let events = read_events(&dir).unwrap();
    assert!(events.iter().all(|entry| entry.time.is_finite() && entry.time > 1.7e9));
    assert!(events.is_sorted_by(|a, b| a.time <= b.time));
    let of_step =
        |step| events.iter().filter(move |entry| entry.step == step).map(|entry| entry.time.to_bits());
    let mut times: Vec<_> = of_step(1).collect();
    times.dedup();
    assert_eq!((of_step(1).count(), times.len()), (2, 1));
}

#[test]
fn phases_in_folders_of_their_own_have_the_same_tags() {
    let (_parent, dir) = folder();
    fit(log(&dir).split(true), None, 3).unwrap();
    assert_eq!(
        lines(&dir.join("train"))[2..],
        [
            "1 loss=1",
            "1 rate=0.5",
            "2 loss=2",
            "2 rate=0.25",
            "3 loss=4",
            "3 rate=0.125",
            "3 loss_epoch=2.3333333",
            "3 rate_epoch=0.125"
        ]
    );
    assert_eq!(lines(&dir.join("eval")), ["brain.Event:2", "0 start", "3 loss=3", "3 top-5=0.25"]);
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn texts_pictures_and_histograms_have_their_plugins() {
    let (_parent, dir) = folder();
    let mut unit = Unit { media: true };
    Run::new(&mut unit).callback(log(&dir).every(Every::NEVER)).train(&[2.0], Train::steps(1)).unwrap();
    let events = read_events(&dir).unwrap();
    let plugins: Vec<_> = events[2..]
        .iter()
        .map(|entry| match &entry.value {
            Value::Tensor(tag, plugin, _, parts) => format!("{tag} {plugin} {}", parts.len()),
            _ => line(entry),
        })
        .collect();
    assert_eq!(
        plugins,
        [
            "sample text 1",
            "grey images 3",
            "colour images 3",
            "clear images 3",
            "weights histograms 1",
            "1 weights/nonfinite=1",
            "equal histograms 1",
            "nothing histograms 1",
            "tone audio 1",
        ]
    );
    let parts = |n: usize| match &events[n].value {
        Value::Tensor(.., parts) => parts.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts(2), [b"# Step\n\n| a | b |\n|---|---|\n| 2 | <b> |"]);
    assert_eq!(
        (&parts(4)[0][..], &parts(4)[1][..], &parts(4)[2][..4]),
        (&b"1"[..], &b"2"[..], &b"\x89PNG"[..])
    );
    assert_eq!((&parts(10)[0][..4], parts(10)[0].len()), (&b"RIFF"[..], 44 + 4));
    let numbers = |n: usize| -> Vec<f64> {
        parts(n)[0].as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    };
    assert_eq!(numbers(6), [0.0, 2.0, 2.0, 2.0, 4.0, 1.0]);
    assert_eq!((numbers(8), numbers(9)), (vec![2.0, 2.0, 2.0], vec![]));
}

#[test]
fn a_graph_is_written_at_the_start_of_a_new_run() {
    let (_parent, dir) = folder();
    let nodes =
        || [GraphNode::new("x", "Input").shape([2, 3]), GraphNode::new("net/linear", "Linear").input("x")];
    let saved = fit(log(&dir).graph(nodes()), None, 1).unwrap();
    fit(log(&dir).graph(nodes()), Some(&saved), 2).unwrap();
    let graphs: Vec<_> = lines(&dir).into_iter().filter(|line| line.contains("graph")).collect();
    assert_eq!(graphs, ["0 graph of 73 bytes"]);
}

// Restarts.

#[test]
fn a_restored_run_cuts_its_file_and_goes_on_in_a_new_one() {
    for split in [false, true] {
        let (_whole, whole) = folder();
        fit(log(&whole).split(split), None, 8).unwrap();
        for saved_at in 1..8 {
            for killed_at in saved_at..8 {
                let (_parent, dir) = folder();
                let saved = fit(log(&dir).split(split), None, saved_at).unwrap();
                let file = dir.join(if split { "train" } else { "" });
                let first = file.join(&names(&file)[0]);
                let content = fs::read(&first).unwrap();
                // Two restarts from one checkpoint; the first of them dies in the middle of a write.
                fit(log(&dir).split(split), Some(&saved), killed_at).unwrap();
                let second = file.join(&names(&file)[1]);
                fs::write(&second, [fs::read(&second).unwrap(), vec![7; 11]].concat()).unwrap();
                fs::write(&first, [content.clone(), vec![7; 30]].concat()).unwrap();
                fit(log(&dir).split(split), Some(&saved), 8).unwrap();

                let place = format!("saved at {saved_at}, killed at {killed_at}");
                assert_eq!(fs::read(&first).unwrap(), content, "{place}");
                for folder in if split { &["train", "eval"][..] } else { &[""] } {
                    let [found, expected] = [&dir, &whole].map(|dir| read_events(dir.join(folder)).unwrap());
                    assert_eq!(scalars(&found), scalars(&expected), "{place}");
                    let starts: Vec<_> = found.iter().filter(|entry| entry.value == Value::Start).collect();
                    let fresh = |entry: &Entry| entry.step == 0 || entry.step == saved_at + 1;
                    assert!(starts.iter().all(|entry| fresh(entry)), "{starts:?}");
                }
                assert_eq!(names(&file).len(), 3);
            }
        }
    }
}

#[test]
fn a_record_that_was_torn_anywhere_hides_no_other_after_a_restart() {
    let (_parent, dir) = folder();
    fit(log(&dir), None, 1).unwrap();
    let before = fs::read(dir.join(&names(&dir)[0])).unwrap().len();
    fit(log(&dir), None, 2).unwrap();
    let first = dir.join(&names(&dir)[0]);
    let whole = fs::read(&first).unwrap();
    for cut in before..whole.len() {
        // Not from a checkpoint: its end is torn for good.
        let by_hand = dir.join("evaluate");
        fs::create_dir_all(&by_hand).unwrap();
        let torn = by_hand.join("events.out.tfevents.0000000001.host.1.0");
        fs::write(&torn, &whole[..cut]).unwrap();
        Run::new(&mut Unit::default()).callback(log(&dir)).evaluate(&[()], Evaluate::whole()).unwrap();
        assert_eq!(fs::read(&torn).unwrap(), &whole[..cut]);
        assert_eq!(
            lines(&by_hand)[2..],
            ["1 train/loss=1", "1 rate=0.5", "brain.Event:2", "0 eval/loss=0", "0 top-5=0.25"]
        );
        fs::remove_dir_all(&by_hand).unwrap();
    }
}

#[test]
fn a_restart_that_died_within_any_record_hides_no_later_one() {
    let (_parent, dir) = folder();
    let saved = fit(log(&dir), None, 1).unwrap();
    fit(log(&dir), Some(&saved), 2).unwrap();
    let dead = dir.join(&names(&dir)[1]);
    let (whole, first) = (fs::read(&dead).unwrap(), fs::read(dir.join(&names(&dir)[0])).unwrap());
    let (_whole, expected) = folder();
    fit(log(&expected), None, 4).unwrap();
    for cut in 0..whole.len() {
        let (_parent, dir) = folder();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(saved.array(FILE).unwrap().to_text().unwrap()), &first).unwrap();
        fs::write(dir.join(dead.file_name().unwrap()), &whole[..cut]).unwrap();
        fit(log(&dir), Some(&saved), 4).unwrap();
        let found = read_events(&dir).unwrap();
        assert_eq!(scalars(&found), scalars(&read_events(&expected).unwrap()), "{cut} bytes");
        assert_eq!(names(&dir).len(), 3);
    }
}

/// The name of the file in the state of a run.
const FILE: &str = "callbacks.TensorBoard(digits).state.run.name";

#[test]
fn starts_within_one_second_have_files_in_their_order() {
    let (_parent, dir) = folder();
    let mut saved = fit(log(&dir), None, 1).unwrap();
    for steps in 2..=5 {
        saved = fit(log(&dir), Some(&saved), steps).unwrap();
    }
    let seconds = |name: String| name.split('.').nth(3).unwrap().parse::<u64>().unwrap();
    let seconds: Vec<u64> = names(&dir).into_iter().map(seconds).collect();
    // Five starts take less than a second, or there is nothing to see.
    assert!(seconds.len() == 5 && seconds.is_sorted_by(|a, b| a < b), "{seconds:?}");
    let newest: Vec<_> = read_events(&dir).unwrap().iter().filter(|e| e.step > 0).map(|e| e.step).collect();
    assert!(newest.is_sorted(), "{newest:?}");
}

#[test]
fn files_are_read_in_the_order_of_their_starts_though_the_clock_was_set_back() {
    let (_parent, dir) = folder();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut saved = fit(log(&dir), None, 1).unwrap();
    // A start of another host, whose clock is an hour ahead.
    fs::write(dir.join(format!("events.out.tfevents.{}.other.1.0", now + 3600)), "").unwrap();
    for steps in 2..=4 {
        saved = fit(log(&dir), Some(&saved), steps).unwrap();
    }
    let seconds: Vec<u64> =
        names(&dir).iter().map(|name| name.split('.').nth(3).unwrap().parse().unwrap()).collect();
    assert_eq!(seconds[1..], [now + 3600, now + 3601, now + 3602, now + 3603]);
    let (_whole, whole) = folder();
    fit(log(&whole), None, 4).unwrap();
    assert_eq!(scalars(&read_events(&dir).unwrap()), scalars(&read_events(&whole).unwrap()));
}

#[test]
fn event_files_of_an_earlier_run_are_moved_to_a_run_of_their_own() {
    for split in [false, true] {
        let (parent, dir) = folder();
        fit(log(&dir).split(split), None, 3).unwrap();
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        let before = |dir: &Path| ["", "train", "eval"].map(|folder| names(&dir.join(folder)));
        let first = before(&dir);
        fit(log(&dir).split(split), None, 1).unwrap();
        fit(log(&dir.join("")).split(split), None, 2).unwrap();
        let aside = |n: u64| parent.path().join(format!("digits.{n}"));
        assert_eq!(before(&aside(1)), first);
        assert_eq!(names(&aside(2).join(if split { "train" } else { "" })).len(), 1);
        assert_eq!(fs::read_to_string(dir.join("notes.txt")).unwrap(), "mine");
        let mut found: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        found.sort();
        assert_eq!(found, ["digits", "digits.1", "digits.2"]);
        assert_eq!(names(&dir.join(if split { "train" } else { "" })).len(), 1);
    }
}

#[test]
fn a_file_that_is_not_the_one_of_the_checkpoint_is_an_error_and_left_alone() {
    let (_parent, dir) = folder();
    let saved = fit(log(&dir), None, 2).unwrap();
    let name = names(&dir).remove(0);
    let content = fs::read(dir.join(&name)).unwrap();
    let length = content.len();
    let check = |now: &[u8], expected: &str| {
        fs::write(dir.join(&name), now).unwrap();
        let error = fit(log(&dir), Some(&saved), 3).unwrap_err();
        assert!(error.contains("callback TensorBoard(digits) failed at train start"), "{error}");
        assert!(error.ends_with(expected), "{error}");
        assert_eq!((fs::read(dir.join(&name)).unwrap(), names(&dir)), (now.to_vec(), vec![name.clone()]));
    };
    let put = "; put the file back, or log to another path";
    check(
        &content[1..],
        &format!("has {} bytes, but {length} when the checkpoint was made{put}", length - 1),
    );
    let other: Vec<_> = content.iter().map(|byte| !byte).collect();
    let first = format!("its first {length} bytes are not those that were written");
    check(&other, &format!("is not the one of this run: {first}{put}"));
}

#[test]
fn a_checkpoint_that_names_a_file_elsewhere_is_refused() {
    let (_parent, dir) = folder();
    let mut saved = fit(log(&dir), None, 1).unwrap();
    drop(saved.remove(FILE).unwrap());
    saved.insert(FILE, Array::from_text("../other/events.out.tfevents.1")).unwrap();
    let error = fit(log(&dir), Some(&saved), 2).unwrap_err();
    assert!(
        error.contains("`run.name`: \"../other/events.out.tfevents.1\" is not the name of a file"),
        "{error}"
    );
}

#[test]
fn passes_by_hand_are_runs_of_their_own_and_leave_the_training_alone() {
    let (_parent, dir) = folder();
    let saved = fit(log(&dir), None, 4).unwrap();
    let before = fs::read(dir.join(&names(&dir)[0])).unwrap();
    for saved in [None, Some(&saved)] {
        let mut unit = Unit::default();
        let mut run = Run::new(&mut unit).callback(log(&dir));
        saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
        run.evaluate(&[()], Evaluate::whole()).unwrap();
        run.predict(&[()], Predict::whole(), |_| Ok(())).unwrap();
        run.evaluate(&[()], Evaluate::whole()).unwrap();
    }
    assert_eq!(fs::read(dir.join(&names(&dir)[0])).unwrap(), before);
    let values = |folder: &str| lines(&dir.join(folder));
    assert_eq!(
        values("evaluate").join(", "),
        "brain.Event:2, 0 eval/loss=0, 0 top-5=0.25, 0 eval/loss=0, 0 top-5=0.25, \
         brain.Event:2, 4 eval/loss=4, 4 top-5=0.25, 4 eval/loss=4, 4 top-5=0.25"
    );
    assert_eq!(values("predict"), ["brain.Event:2", "0 seen=1", "brain.Event:2", "4 seen=1"]);

    fit(log(&dir), Some(&saved), 8).unwrap();
    let (_whole, whole) = folder();
    fit(log(&whole), None, 8).unwrap();
    assert_eq!(scalars(&read_events(&dir).unwrap()), scalars(&read_events(&whole).unwrap()));
}

#[test]
fn a_restored_run_has_the_charts_of_one_that_was_never_stopped() {
    let fit = |dir: &Path, saved: Option<&StateDict>, steps: u64| {
        let mut unit = Unit::default();
        let log = MetricLog::tensorboard(dir).every(Every::steps(3).or(Every::epochs(1)));
        let mut run = Run::new(&mut unit).callback(log);
        saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
        run.fit(&DATA, &[()], Fit::steps(steps).eval_every(Every::steps(4))).unwrap();
        run.run_state().unwrap()
    };
    let charts = |dir: &Path| -> Vec<String> {
        lines(dir).into_iter().filter(|line| line.contains("custom_scalars")).collect()
    };
    let (_whole, whole) = folder();
    fit(&whole, None, 9);
    assert_eq!(charts(&whole).len(), 1);
    // The training has logged its names before the pause, and logs none up to the first evaluation.
    let (_parent, dir) = folder();
    let saved = fit(&dir, None, 3);
    fit(&dir, Some(&saved), 9);
    assert_eq!(charts(&dir), charts(&whole));
}

// Hyper-parameters.

fn settings() -> HyperParameters {
    HyperParameters::new()
        .with("rate", 0.5)
        .with("none", f64::NAN)
        .with("deep", true)
        .with("large", (1_i64 << 53) + 1)
        .with("layers", 3)
        .with("optimizer", "adam")
}

/// A training with hyper-parameters, which a negative batch ends with an error.
fn tuned(
    log: MetricLog<TensorBoard>,
    saved: Option<&StateDict>,
    data: &[f64],
    steps: u64,
) -> Result<StateDict, Error> {
    tuned_by(settings(), log, saved, data, steps)
}

/// The same with other hyper-parameters.
fn tuned_by(
    settings: HyperParameters,
    log: MetricLog<TensorBoard>,
    saved: Option<&StateDict>,
    data: &[f64],
    steps: u64,
) -> Result<StateDict, Error> {
    let mut unit = Unit::default();
    let mut run = Run::new(&mut unit).hyper_parameters(settings).callback(log);
    saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
    run.train(data, Train::steps(steps))?;
    Ok(run.run_state().unwrap())
}

/// The steps, tags and metadata of the hyper-parameters in `dir`.
fn sessions(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let sessions = read_events(dir).unwrap().into_iter().filter_map(|entry| match entry.value {
        Value::Tensor(tag, plugin, content, _) if plugin == "hparams" => {
            Some((tag.strip_prefix("_hparams_/session_").unwrap().to_owned(), content))
        }
        _ => None,
    });
    sessions.collect()
}

fn session_kinds(dir: &Path) -> Vec<String> {
    let kind = |(kind, content): (String, Vec<u8>)| match &*kind {
        // A field of status, in a message of the session's end.
        "end_info" => format!("end {}", content[3]),
        _ => kind,
    };
    sessions(dir).into_iter().map(kind).collect()
}

#[test]
fn hyper_parameters_are_written_once_and_those_that_json_lacks_as_texts() {
    let (_parent, dir) = folder();
    let saved = tuned(log(&dir), None, &DATA, 1).unwrap();
    let (kind, content) = sessions(&dir).remove(0);
    assert_eq!(kind, "start_info");
    let text = String::from_utf8_lossy(&content);
    for part in [
        "none\u{12}\u{5}\u{1a}\u{3}NaN",
        "large\u{12}\u{12}\u{1a}\u{10}9007199254740993",
        "adam",
        "deep\u{12}\u{2} \u{1}",
    ] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    let number = |n: f64| [&[9, 17][..], &n.to_le_bytes()[..]].concat();
    assert!(content.windows(10).any(|part| part == number(3.0)), "{text:?}");
    tuned(log(&dir), Some(&saved), &DATA, 2).unwrap();
    assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
}

#[test]
fn hyper_parameters_that_a_restored_run_has_changed_are_a_text() {
    let (_parent, dir) = folder();
    let texts = || -> Vec<String> {
        lines(&dir).into_iter().filter(|line| line.contains(" hyper_parameters: ")).collect()
    };
    let one = tuned(log(&dir), None, &DATA, 1).unwrap();
    let changed = HyperParameters::new().with("rate", 0.25).with("optimizer", "*adam*");
    let two = tuned_by(changed.clone(), log(&dir), Some(&one), &DATA, 2).unwrap();
    let text = "2 hyper_parameters: text [\"    rate = 0.25\\n    optimizer = *adam*\\n\"]";
    assert_eq!(texts(), [text]);
    let three = tuned_by(changed, log(&dir), Some(&two), &DATA, 3).unwrap();
    assert_eq!(texts(), [text]);
    tuned_by(HyperParameters::new().with("rate", 1), log(&dir), Some(&three), &DATA, 4).unwrap();
    assert_eq!(texts(), [text, "4 hyper_parameters: text [\"    rate = 1\\n\"]"]);
    assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
}

#[test]
fn the_end_of_a_run_is_written_when_it_is_over_and_taken_back_when_it_goes_on() {
    for split in [false, true] {
        let (_parent, dir) = folder();
        let log = || log(&dir).split(split);
        let saved = tuned(log(), None, &DATA, 2).unwrap();
        assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
        // An error after a restart, whose file no checkpoint holds.
        assert!(tuned(log(), Some(&saved), &[1.0, 1.0, 1.0, -1.0], 4).is_err());
        assert_eq!(session_kinds(&dir), ["start_info"]);
        let saved = tuned(log(), Some(&saved), &DATA, 3).unwrap();
        assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
        tuned(log(), Some(&saved), &DATA, 4).unwrap();
        assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
    }
    let (_parent, dir) = folder();
    assert!(tuned(log(&dir), None, &[-1.0], 1).is_err());
    assert_eq!(session_kinds(&dir), ["start_info", "end 2"]);
}

#[test]
fn a_paused_run_has_no_end_and_one_that_goes_on_after_an_error_has_the_last() {
    let (_parent, dir) = folder();
    let mut unit = Unit::default();
    let pause = |state: &mut State, _: &mut Unit| state.pause("enough");
    let settings = HyperParameters::new().with("rate", 0.5);
    let mut run = Run::new(&mut unit)
        .hyper_parameters(settings)
        .on(Event::TrainStepEnd.every(Every::steps(2)), pause)
        .callback(log(&dir));
    run.train(&DATA, Train::steps(4)).unwrap();
    assert_eq!(session_kinds(&dir), ["start_info"]);
    assert!(run.train(&[1.0, 1.0, -1.0], Train::steps(3)).is_err());
    assert_eq!(session_kinds(&dir), ["start_info", "end 2"]);
    run.train(&DATA, Train::steps(3)).unwrap();
    assert_eq!(session_kinds(&dir), ["start_info", "end 1"]);
    drop(run);
    assert_eq!(scalars(&read_events(&dir).unwrap())["train/loss"], [(1, 1.0), (2, 2.0), (3, 4.0)]);
}

// Failures.

#[test]
fn a_folder_that_cannot_be_made_is_an_error_before_the_first_step() {
    let (parent, _) = folder();
    fs::write(parent.path().join("file"), "").unwrap();
    let dir = parent.path().join("file/digits");
    let error = fit(log(&dir), None, 1).unwrap_err();
    assert!(
        error.starts_with(
            "callback TensorBoard(digits) failed at train start in train at epoch 0 step 0: cannot "
        ),
        "{error}"
    );
    assert!(error.contains(&format!(" the log {}: ", dir.display())), "{error}");
    fit(log(&dir).on_failure(OnFailure::Notice), None, 1).unwrap();
}

#[cfg(unix)]
#[test]
fn an_event_file_that_is_removed_under_a_run_is_an_error() {
    let (_parent, dir) = folder();
    let (removed, mut unit) = (dir.clone(), Unit::default());
    let remove = move |_: &mut State, _: &mut Unit| fs::remove_dir_all(&removed).unwrap();
    let mut run =
        Run::new(&mut unit).callback(log(&dir)).on(Event::TrainStepEnd.every(Every::steps(2)), remove);
    let error = run.train(&DATA, Train::steps(3)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains("was changed under the run: it cannot be found: "), "{error}");
}

// The real TensorBoard.

/// The answers of TensorBoard about the runs in `dir`; `None` if there is none here.
fn tensorboard(dir: &Path) -> Option<serde_json::Value> {
    let Some(python) = std::env::var_os("REGIMEN_LOGS_PYTHON") else {
        println!("NOT RUN: REGIMEN_LOGS_PYTHON names no Python with TensorBoard");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log/tb_check.py");
    let output = Command::new(python).arg(script).arg(dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn real_tensorboard_reads_every_kind_of_value_as_it_was_written() {
    let (parent, dir) = folder();
    let nodes =
        [GraphNode::new("x", "Input").shape([2, 3]), GraphNode::new("net/linear", "Linear").input("x")];
    let mut unit = Unit { media: true };
    let mut run = Run::new(&mut unit).hyper_parameters(settings()).callback(log(&dir).graph(nodes));
    run.fit(&DATA, &[()], Fit::epochs(2)).unwrap();
    run.evaluate(&[()], Evaluate::whole()).unwrap();
    drop(run);
    // A run without a pause, and one that was restarted twice from its third step.
    fit(log(&parent.path().join("whole")), None, 8).unwrap();
    let resumed = parent.path().join("resumed");
    let saved = fit(log(&resumed), None, 3).unwrap();
    fit(log(&resumed), Some(&saved), 7).unwrap();
    fit(log(&resumed), Some(&saved), 8).unwrap();
    let Some(read) = tensorboard(parent.path()) else { return };

    let digits = &read["accumulator"]["digits"];
    let twice = |values: &[f32]| (1_u64..).zip([values, values].concat()).collect::<Vec<_>>();
    let steps_and_values = |points: &serde_json::Value, step: usize| -> Vec<(u64, f32)> {
        let points = points.as_array().unwrap().iter();
        points.map(|p| (p[step].as_u64().unwrap(), p[2].as_f64().unwrap() as f32)).collect()
    };
    let of = |tag: &str| steps_and_values(&digits["scalars"][tag], 0);
    assert_eq!(of("train/loss"), twice(&[1.0, 2.0, 4.0]));
    assert_eq!(of("rate"), twice(&[0.5, 0.25, 0.125]));
    assert_eq!(of("train/loss_epoch"), [(3, 7.0 / 3.0), (6, 7.0 / 3.0)]);
    assert_eq!(of("eval/loss"), [(3, 3.0), (6, 6.0)]);
    assert_eq!(of("weights/nonfinite"), (1_u64..=6).map(|step| (step, 1.0_f32)).collect::<Vec<_>>());
    let by_hand = &read["accumulator"]["digits/evaluate"]["scalars"]["eval/loss"];
    assert_eq!(steps_and_values(by_hand, 0), [(6, 6.0)]);

    // The first value of each kind.
    let tensors = &digits["tensors"];
    let first = |tag: &str| &tensors[tag]["values"][0][2];
    assert_eq!(*first("sample"), serde_json::json!(["# Step\n\n| a | b |\n|---|---|\n| 1 | <b> |"]));
    assert_eq!(*first("weights"), serde_json::json!([[0.0, 2.0, 2.0], [2.0, 4.0, 1.0]]));
    assert_eq!(*first("equal"), serde_json::json!([[1.0, 1.0, 2.0]]));
    assert_eq!(*first("nothing"), serde_json::json!([]));
    let chart =
        serde_json::json!({"title": "loss", "multiline": {"tag": ["^train/loss(_epoch)?$", "^eval/loss$"]}});
    let charts = serde_json::json!({"category": [{"title": "train and eval", "chart": [chart]}]});
    assert_eq!(*first("custom_scalars__config__"), charts);
    let given = serde_json::json!({
        "rate": 0.5, "none": "NaN", "deep": true, "large": "9007199254740993", "layers": 3.0, "optimizer": "adam",
    });
    assert_eq!(tensors["_hparams_/session_start_info"]["content"]["sessionStartInfo"]["hparams"], given);
    assert_eq!(digits["graph"], serde_json::json!([["x", "Input", []], ["net/linear", "Linear", ["x"]]]));

    for loader in ["fast", "slow"] {
        let served = &read["http"][loader];
        let points = |run: &str, tag: &str| steps_and_values(&served["scalars"][run][tag]["values"], 1);
        for tag in ["train/loss", "train/loss_epoch", "rate", "rate_epoch", "eval/loss", "top-5"] {
            assert_eq!(points("resumed", tag), points("whole", tag), "{loader} {tag}");
        }
        assert_eq!(points("whole", "eval/loss"), [(3, 3.0), (6, 6.0)], "{loader}");
        for tag in ["grey", "colour", "clear"] {
            let images = served["images"]["digits"][tag].as_array().unwrap();
            let found: Vec<_> = images.iter().map(|image| &image["mime"]).collect();
            assert!(
                !found.is_empty() && found.iter().all(|mime| *mime == "image/png"),
                "{loader} {tag} {found:?}"
            );
        }
        let sounds = served["audio"]["digits"]["tone"].as_array().unwrap();
        let found: Vec<_> = sounds.iter().map(|sound| (&sound["mime"], &sound["bytes"])).collect();
        assert!(
            !found.is_empty() && found.iter().all(|sound| *sound == (&"audio/wav".into(), &48.into())),
            "{loader} {found:?}"
        );
        for tag in ["weights", "equal", "nothing"] {
            let histograms = &served["histograms"]["digits"][tag]["values"];
            assert_eq!(histograms.as_array().map(Vec::len), Some(6), "{loader} {tag}");
        }
        let text = served["text"]["digits"]["sample"][0]["text"].to_string();
        assert!(text.contains("<table>") && !text.contains("<b>"), "{loader} {text}");
        let session = &served["hparams"]["session_groups"]["sessionGroups"][0];
        assert_eq!(
            (&session["hparams"], &session["sessions"][0]["status"]),
            (&given, &"STATUS_SUCCESS".into())
        );
    }
}

/// A run in a process that dies: it is saved after `saved_at` steps, logs other values from there on, and
/// tears its last record.
fn dies(dir: &Path, saved: Option<&StateDict>, saved_at: u64, killed_at: u64) -> StateDict {
    let mut unit = Unit::default();
    let mut run = Run::new(&mut unit).callback(log(dir));
    saved.into_iter().for_each(|saved| run.load_run_state(saved).unwrap());
    run.fit(&DATA, &[()], Fit::steps(saved_at)).unwrap();
    let saved = run.run_state().unwrap();
    run.fit(&[100.0; 3], &[()], Fit::steps(killed_at)).unwrap();
    let file = dir.join(names(dir).pop().unwrap());
    fs::write(&file, [fs::read(&file).unwrap(), vec![7; 5]].concat()).unwrap();
    saved
}

#[test]
fn real_tensorboard_that_looks_on_shows_a_run_that_dies_and_is_restored_as_one_line() {
    let Some(python) = std::env::var_os("REGIMEN_LOGS_PYTHON") else {
        println!("NOT RUN: REGIMEN_LOGS_PYTHON names no Python with TensorBoard");
        return;
    };
    let (parent, dir) = folder();
    let first = dies(&dir, None, 4, 8);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log/tb_live.py");
    let mut command = Command::new(python);
    let command = command.arg(script).arg(parent.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut board = command.spawn().unwrap();
    let (mut ask, answers) = (board.stdin.take().unwrap(), board.stdout.take().unwrap());
    let mut answers = BufReader::new(answers).lines();
    let mut shows = |expected: &Path| {
        let events = read_events(expected).unwrap();
        writeln!(ask, "{}", serde_json::json!({ "digits": scalars(&events) })).unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "ok");
    };
    shows(&dir);
    let second = dies(&dir, Some(&first), 6, 9);
    shows(&dir);
    fit(log(&dir), Some(&second), 12).unwrap();
    let (_whole, whole) = folder();
    fit(log(&whole), None, 12).unwrap();
    shows(&whole);
    drop(ask);
    assert!(board.wait().unwrap().success());
}
