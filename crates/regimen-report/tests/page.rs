//! The page, the plots and what is read of run folders, against the logs themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regimen::checkpoint::{Snapshot, Writer};
use regimen::log::Record;
use regimen::saved::StateDict;
use regimen::state::Phase;
use regimen_report::{Page, Plot, RunState, StoredRun};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The lines of a log, by the type that writes them.
fn lines(records: &[(u64, &str, f64, Option<u64>)]) -> String {
    let line = |&(step, name, value, epoch): &(u64, &str, f64, Option<u64>)| {
        let phase = if name.starts_with("eval/") { Phase::Eval } else { Phase::Train };
        serde_json::to_string(&Record { step, phase, name, value, epoch }).unwrap() + "\n"
    };
    records.iter().map(line).collect()
}

fn run(dir: &TempDir, name: &str, log: &str) -> PathBuf {
    let folder = dir.path().join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("metrics.jsonl"), log).unwrap();
    folder
}

/// The page of `runs`, and the data in it.
fn page(runs: &[&PathBuf]) -> (String, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.html");
    Page::new(runs.iter().copied()).write(&file).unwrap();
    let page = fs::read_to_string(file).unwrap();
    let data = page.split("<script type=\"application/json\" class=\"run\">").skip(1);
    let data = data.map(|rest| serde_json::from_str(rest.split("</script>").next().unwrap()).unwrap());
    let data = data.collect();
    (page, data)
}

fn curve<'v>(run: &'v Value, name: &str) -> &'v Value {
    run["curves"].as_array().unwrap().iter().find(|curve| curve["name"] == name).unwrap()
}

fn f64s(text: &Value) -> Vec<f64> {
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn f32s(text: &Value) -> Vec<f32> {
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn the_page_has_the_numbers_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let value = |step: u64| (step as f64 * 0.37).sin() + if step == 4321 { 50.0 } else { 0.0 };
    let records: Vec<_> = (1..=10_000).map(|step| (step, "train/loss", value(step), None)).collect();
    let evaluations = [(5000, "eval/loss", 0.25, Some(1)), (10_000, "eval/loss", 0.125, Some(2))];
    let long = run(&dir, "long", &(lines(&records) + &lines(&evaluations)));
    let (_, data) = page(&[&long]);
    let loss = curve(&data[0], "train/loss");
    assert_eq!(
        (&loss["stride"], &loss["points"], &loss["end"]),
        (&json!(16), &json!(10_000), &json!(10_000))
    );
    assert_eq!((&loss["last"], &loss["max"]), (&json!([10_000, value(10_000)]), &json!([4321, value(4321)])));

    let (steps, rows) = (f64s(&loss["steps"]), f32s(&loss["values"]));
    assert_eq!((steps.len(), rows.len()), (625, 5 * 625));
    for (n, part) in records.chunks(16).enumerate() {
        let values: Vec<f64> = part.iter().map(|record| record.2).collect();
        let fold = |of: fn(f64, f64) -> f64| values.iter().copied().reduce(of).unwrap();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let expected = [values[0], fold(f64::min), fold(f64::max), values[values.len() - 1], mean];
        assert_eq!(steps[n], part[0].0 as f64);
        for (row, expected) in expected.into_iter().enumerate() {
            assert_eq!(rows[row * 625 + n], expected as f32, "row {row} of bucket {n}");
        }
    }
    let evaluation = curve(&data[0], "eval/loss");
    assert_eq!(
        (f64s(&evaluation["steps"]), f32s(&evaluation["values"])),
        (vec![5000.0, 10_000.0], vec![0.25, 0.125])
    );
    assert_eq!((&evaluation["per_epoch"], &evaluation["phase"]), (&json!(true), &json!("eval")));
}

#[test]
fn no_text_of_a_run_ends_the_script() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "</script><script>alert(1)</script><!--";
    // A slash is no part of a folder's name.
    let folder = run(&dir, "<img src=x onerror=alert(1)>", &lines(&[(1, evil, 1.0, None)]));
    fs::write(folder.join("hyper_parameters.json"), json!({evil: evil}).to_string()).unwrap();
    fs::write(folder.join("log.txt"), format!("2026-11-29T08:01:00Z step 1: {evil}\n")).unwrap();
    fs::write(folder.join("environment.jsonl"), json!({"host": evil}).to_string() + "\n").unwrap();
    fs::write(folder.join("summary.txt"), evil).unwrap();
    fs::write(folder.join("flight.json"), json!({"reason": evil}).to_string()).unwrap();
    fs::write(folder.join("profile.json"), json!({"sentence": evil}).to_string()).unwrap();
    let (page, data) = page(&[&folder]);
    assert_eq!((page.matches("alert(1)</script>").count(), page.matches("<img").count()), (0, 0));
    assert_eq!(page.matches("<!--").count(), 1);
    // Three scripts: uPlot, the data of the run, and those of the page.
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (3, 3));
    assert_eq!(data[0]["name"], "<img src=x onerror=alert(1)>");
    let texts = [
        &data[0]["hyper_parameters"][evil],
        &data[0]["notices"][0]["text"],
        &data[0]["environment"][0]["host"],
    ];
    assert_eq!(texts, [evil; 3]);
    assert_eq!(
        [&data[0]["summary"], &data[0]["flight"]["reason"], &data[0]["profile"]["sentence"]],
        [evil; 3]
    );
}

#[test]
fn the_scripts_of_the_page_read_no_text_as_html() {
    let dir = tempfile::tempdir().unwrap();
    let (page, _) = page(&[&run(&dir, "a", "")]);
    let own = page.rsplit("<script>").next().unwrap();
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "http://",
        "https://",
        "fetch(",
    ] {
        // The name of a namespace is no address that is asked.
        assert_eq!(own.replace("http://www.w3.org/2000/svg", "").matches(word).count(), 0, "{word}");
    }
}

#[test]
fn values_that_are_not_finite_are_gaps_with_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    let values = [1.0, f64::NAN, 3.0, f64::INFINITY, f64::NEG_INFINITY, 6.0];
    let records: Vec<_> = (1..).zip(values).map(|(step, value)| (step, "train/loss", value, None)).collect();
    let (_, data) = page(&[&run(&dir, "a", &lines(&records))]);
    let loss = curve(&data[0], "train/loss");
    assert_eq!(loss["gaps"], json!([[1, 1, 0], [3, 0, 1], [4, 0, 1]]));
    let drawn: Vec<Option<f32>> = f32s(&loss["values"])
        .into_iter()
        .map(|value| Some(value).filter(|value| value.is_finite()))
        .collect();
    assert_eq!(drawn, [Some(1.0), None, Some(3.0), None, None, Some(6.0)]);
    assert_eq!((&loss["min"], &loss["max"]), (&json!([1, 1.0]), &json!([6, 6.0])));
}

#[test]
fn numbers_beyond_single_precision_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let records = [(1, "train/loss", 1e300, None), (2, "train/loss", -3e-300, None)];
    let (_, data) = page(&[&run(&dir, "a", &lines(&records))]);
    let loss = curve(&data[0], "train/loss");
    assert_eq!((&loss["type"], f64s(&loss["values"])), (&json!("f64"), vec![1e300, -3e-300]));
}

#[test]
fn a_damaged_log_is_told_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let good = lines(&[(1, "train/loss", 1.0, None)]);
    let log = format!("{good}{{\"step\":1,\u{0}\n{}{}", good.replace(":1,", ":2,"), &good[..30]);
    let folder = run(&dir, "a", &log);
    fs::write(folder.join("profile.json"), "{").unwrap();
    let (_, data) = page(&[&folder]);
    assert_eq!(curve(&data[0], "train/loss")["points"], 2);
    assert_eq!(
        data[0]["damage"],
        json!([
            "metrics.jsonl: 1 line cannot be read",
            "metrics.jsonl: the last line is torn",
            "profile.json: EOF while parsing an object at line 1 column 1",
        ])
    );
}

#[test]
fn a_resumed_run_is_one_curve() {
    let dir = tempfile::tempdir().unwrap();
    let part = |from: u64, to: u64, value: f64| -> String {
        (from..to).map(|step| lines(&[(step, "train/loss", value, None)])).collect()
    };
    let folder = run(&dir, "a", &(part(1, 61, 1.0) + &part(41, 101, 2.0)));
    let (_, data) = page(&[&folder]);
    let loss = curve(&data[0], "train/loss");
    assert_eq!(f64s(&loss["steps"]), (1..=100).map(f64::from).collect::<Vec<_>>());
    let expected: Vec<f32> = (1..=100).map(|step| if step < 41 { 1.0 } else { 2.0 }).collect();
    assert_eq!(f32s(&loss["values"]), expected);
    let told = "metrics.jsonl: 20 values of train/loss replaced by later ones of the same steps";
    assert_eq!(data[0]["damage"], json!([told]));
}

#[test]
fn runs_without_values_and_with_other_metrics_share_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let empty = run(&dir, "empty", "");
    let (a, b) = (
        run(&dir, "a", &lines(&[(1, "train/loss", 1.0, None)])),
        run(&dir, "b", &lines(&[(2, "bleu", 9.0, None)])),
    );
    let (_, data) = page(&[&empty, &a, &b]);
    let names: Vec<_> = data.iter().map(|run| &run["name"]).collect();
    assert_eq!(names, ["empty", "a", "b"]);
    let curves: Vec<_> = data.iter().map(|run| run["curves"].as_array().unwrap().len()).collect();
    assert_eq!((curves, &data[0]["step"], &data[2]["step"]), (vec![0, 1, 1], &json!(0), &json!(2)));
}

#[test]
fn a_folder_has_its_checkpoints_samples_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    let records = [(50, "train/loss", 1.0, Some(1)), (100, "train/loss", 0.5, Some(2))];
    let folder = run(&dir, "a", &lines(&records));
    fs::write(folder.join("hyper_parameters.json"), "{\"rate\": 0.1, \"name\": \"x\"}").unwrap();
    let mut writer = Writer::open(&folder, "run-1").unwrap();
    for step in [50, 100] {
        let mut state = StateDict::new();
        state.insert("run.train.progress.samples", step * 32).unwrap();
        let snapshot = Snapshot {
            step,
            epoch: step / 50,
            metrics: BTreeMap::from([("eval/loss".to_owned(), 1.0 / step as f64)]),
            parts: BTreeMap::from([("run".to_owned(), state)]),
            ..Snapshot::default()
        };
        writer.save(&snapshot).unwrap();
    }
    drop(writer);
    let stored = StoredRun::read(&folder).unwrap();
    assert_eq!((stored.state, stored.step, stored.epochs()), (RunState::Unknown, 100, Some(2)));
    assert_eq!(stored.axes.epochs.all(), [(50, 1.0), (100, 2.0)]);
    assert_eq!(stored.axes.samples.all(), [(50, 1600.0), (100, 3200.0)]);
    let saved: Vec<_> =
        stored.checkpoints.iter().map(|saved| (&*saved.name, saved.metrics["eval/loss"])).collect();
    assert_eq!(saved, [("step-000000100", 0.01), ("step-000000050", 0.02)]);
    assert_eq!(stored.hyper_parameters["rate"], json!(0.1));
    assert_eq!(stored.damage, Vec::<String>::new());
}

#[test]
fn a_page_replaces_a_page_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (a, file) = (run(&dir, "a", ""), dir.path().join("report.html"));
    let write = |runs: &[&Path], replaces_any| {
        Page::new(runs.iter().copied())
            .replaces_any(replaces_any)
            .write(&file)
            .map_err(|cause| cause.to_string())
    };
    fs::write(&file, "a letter").unwrap();
    let refused = format!("{} exists and is no report: remove it, or replace it by force", file.display());
    assert_eq!(write(&[&a], false), Err(refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), "a letter");
    let first = write(&[&a], true).unwrap();
    assert_eq!((first.bytes, first.runs), (fs::metadata(&file).unwrap().len(), 1));
    write(&[&a, &run(&dir, "b", "")], false).unwrap();

    let before = fs::read(&file).unwrap();
    let missing = dir.path().join("gone");
    let error = write(&[&a, &missing], false).unwrap_err();
    assert_eq!(error, format!("cannot read `{}`: No such file or directory (os error 2)", missing.display()));
    let no_run = write(&[&a, dir.path()], false).unwrap_err();
    let expected = format!(
        "`{}` is no run: it has none of metrics.jsonl, environment.jsonl, LOCK",
        dir.path().display()
    );
    assert_eq!(no_run, expected);
    assert_eq!(fs::read(&file).unwrap(), before);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "two runs and the page: {names:?}");
}

#[test]
fn plots_have_the_lines_of_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let falling = |start: f64| -> String {
        (1..=20).map(|step| lines(&[(step, "train/loss", start / step as f64, None)])).collect()
    };
    let (a, b) = (run(&dir, "first", &falling(1.0)), run(&dir, "<b>", &falling(5.0)));
    let (svg, picture) = (dir.path().join("loss.svg"), dir.path().join("loss.png"));
    Plot::new("train/loss").log_scale(true).write([&a, &b], &svg).unwrap();
    let text = fs::read_to_string(&svg).unwrap();
    // One line per run, and the text of its label.
    let colours = ["#0072B2", "#D55E00"].map(|colour| text.matches(&format!("stroke=\"{colour}\"")).count());
    assert!(colours.iter().all(|count| *count >= 1), "{colours:?}");
    assert!(text.contains("first") && text.contains("&lt;b&gt;") && !text.contains("<b>"), "{text}");

    Plot::new("train/loss").write([&a, &b], &picture).unwrap();
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(fs::File::open(&picture).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (1440, 840));
    let count = |colour: [u8; 3]| pixels.chunks(3).filter(|pixel| *pixel == colour).count();
    assert!(count([0x00, 0x72, 0xb2]) > 500 && count([0xd5, 0x5e, 0x00]) > 500);
    // Letters are darker than the grid.
    assert!(pixels.chunks(3).filter(|pixel| pixel.iter().all(|channel| *channel < 0x60)).count() > 300);

    let error = |plot: Plot, file: &Path| plot.write([&a], file).unwrap_err().to_string();
    assert_eq!(error(Plot::new("los"), &svg), "no run has a metric `los`; there are train/loss");
    let other = dir.path().join("loss.pdf");
    assert_eq!(
        error(Plot::new("train/loss"), &other),
        format!("{}: a plot ends in .svg or .png", other.display())
    );
    let negative = run(&dir, "negative", &lines(&[(1, "train/loss", -1.0, None)]));
    let refused = Plot::new("train/loss").log_scale(true).write([&negative], &svg).unwrap_err().to_string();
    assert_eq!(refused, "`train/loss` has no finite value above 0");

    for file in [&svg, &picture] {
        Plot::new("train/loss").write([&b], file).unwrap();
        fs::write(file, "a drawing").unwrap();
        let refused = format!("{} exists and is no plot: remove it, or replace it by force", file.display());
        assert_eq!(error(Plot::new("train/loss"), file), refused);
        Plot::new("train/loss").replaces_any(true).write([&b], file).unwrap();
    }
}

/// The SVG of `train/loss` in a log.
fn svg(records: &[(u64, &str, f64, Option<u64>)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("loss.svg");
    Plot::new("train/loss").write([&run(&dir, "a", &lines(records))], &file).unwrap();
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_plot_marks_each_bucket_with_values_that_are_not_finite() {
    for count in [1000, 10_000] {
        let mut records: Vec<_> = (0..count).map(|step| (step, "train/loss", 1.0, None)).collect();
        let whole = svg(&records);
        records[600].2 = f64::NAN;
        let broken = svg(&records);
        let lines = |svg: &str| svg.matches("stroke=\"#0072B2\"").count();
        // Another piece of the line, and the two strokes of a cross.
        assert_eq!(lines(&broken) - lines(&whole), 3, "{count} values");
    }
}

#[test]
fn a_metric_that_is_nearly_constant_is_drawn() {
    let (low, high) = (-30_740.520_419_354_13, -30_740.520_419_354_125);
    let drawn = svg(&[(1, "train/loss", low, None), (2, "train/loss", high, None)]);
    assert!(drawn.contains("\n-30000\n"), "{drawn}");
}

#[test]
fn a_plot_shows_the_values_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let line = |phase, value, epoch| {
        let record = Record { step: 1, phase, name: "loss", value, epoch };
        serde_json::to_string(&record).unwrap() + "\n"
    };
    let log = [
        line(Phase::Eval, 1.0, None),
        line(Phase::Predict, 2.0, Some(1)),
        line(Phase::Train, 3.0, Some(1)),
        line(Phase::Train, 4.0, None),
    ];
    let folder = run(&dir, "a", &log.concat());
    let stored = StoredRun::read(&folder).unwrap();
    let last = |over_epochs| stored.curve("loss", over_epochs).unwrap().last();
    assert_eq!((last(false), last(true)), (Some((1, 4.0)), Some((1, 3.0))));
    let file = dir.path().join("loss.svg");
    Plot::new("loss").write([&folder], &file).unwrap();
    // The range of one value has 1 below and above it.
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("\n4.0\n") && text.contains("\n3.2\n"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_log_that_is_a_device_is_told_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("LOCK"), "").unwrap();
    let names = ["metrics.jsonl", "log.txt", "summary.txt", "tensorboard"];
    names.iter().for_each(|name| std::os::unix::fs::symlink("/dev/zero", folder.join(name)).unwrap());
    let expected = [
        "log.txt or environment.jsonl: it is no regular file",
        "metrics.jsonl: it is no regular file",
        "summary.txt: it is no regular file",
    ];
    assert_eq!(StoredRun::read(&folder).unwrap().damage, expected);
}
