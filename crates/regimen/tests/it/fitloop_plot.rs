//! Charts of a history: their lines, and how they are drawn.

use std::path::Path;

use regimen::fitloop::{Figure, Runs, Set, record};

use crate::fitloop::{Trainer, bare, loader};

/// Twelve epochs that begin well.
fn accuracy() -> Figure {
    let epochs = (1..=12).map(f64::from);
    let train: Vec<f64> = epochs.clone().map(|n| 0.97 - 0.6 / n).collect();
    let valid: Vec<f64> = epochs.map(|n| 0.9 - 0.4 / n - 0.002 * (n - 6.0).max(0.0).powi(2)).collect();
    Figure::new("accuracy").x_label("epoch").line("train", &train).line("valid", &valid)
}

/// A loss at 5,000 steps, one of which is NaN.
fn loss_of_steps() -> Figure {
    let loss = |n: i32| match n {
        3_200 => f64::NAN,
        _ => 2.3 * (-f64::from(n) / 900.0).exp() + 0.1 + 0.05 * f64::from(n * 7_919 % 101 - 50) / 50.0,
    };
    Figure::new("loss").x_label("step").line("train", &(0..5_000).map(loss).collect::<Vec<_>>())
}

/// Compares with the file `fitloop_plot/NAME`.
#[track_caller]
fn check(found: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fitloop_plot").join(name);
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, expected, "{name}:\n{found}");
}

#[test]
fn a_chart_in_a_terminal_has_a_solid_and_a_dotted_line_and_a_legend() {
    check(&accuracy().to_string(), "accuracy.txt");
}

#[test]
fn a_chart_of_many_steps_has_their_smallest_and_largest_values() {
    check(&format!("{:60}", loss_of_steps()), "step.txt");
}

#[test]
fn one_value_equal_values_and_gaps_are_drawn() {
    let one = Figure::new("one").x_label("epoch").line("test", &[0.25]);
    let equal = Figure::new("equal").line("train", &[-3.0; 4]);
    let gap = Figure::new("gap").line("train", &[1e9, f64::NAN, 3e9, 4e9, f64::INFINITY]);
    let found: String = [one, equal, gap, Figure::new("empty")].map(|figure| format!("{figure:30}")).concat();
    check(&found, "small.txt");
}

#[test]
fn every_value_and_width_can_be_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.svg");
    let odd = [f64::MAX, f64::MIN, 5e-324, -0.0, 1e300, 1.0, 1.0 + f64::EPSILON, f64::NAN, f64::NEG_INFINITY];
    for from in 0..odd.len() {
        for to in from..=odd.len() {
            let figure = Figure::new("odd").x_label("step").line("a", &odd[from..to]).line("b", &odd[..from]);
            for width in [0, 1, 11, 12, 80, 300] {
                assert_eq!(format!("{figure:width$}").lines().count(), 20, "{:?} in {width}", &odd[from..to]);
            }
            figure.save_svg(&path).unwrap();
            assert!(!std::fs::read_to_string(&path).unwrap().contains("NaN"), "{:?}", &odd[from..to]);
        }
    }
}

#[test]
fn a_chart_is_saved_as_svg() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.svg");
    let figure = Figure::new("a < b & c")
        .x_label("epoch")
        .line("train", &[0.5, 0.25, 0.125])
        .line("valid", &[0.5, 0.3]);
    figure.save_svg(&path).unwrap();
    check(&std::fs::read_to_string(&path).unwrap(), "small.svg");
    let error = figure.save_svg(folder.path().join("no/figure.svg")).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("figure.svg: "), "{error}");
}

#[cfg(all(feature = "plots", feature = "images"))]
#[test]
fn a_chart_is_saved_as_png() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.png");
    Figure::new("n").line("train", &[0.0, 1.0]).line("valid", &[1.0, 1.0]).save_png(&path).unwrap();
    let image = image::open(&path).unwrap().into_rgb8();
    assert_eq!(image.dimensions(), (1280, 800));
    // The axes go from 0 to 1, and from 1 to 2, between the margins of the picture.
    for (x, y, colour) in [(2, 2, [255; 3]), (1000, 80, [0xe6, 0x6c, 0x00]), (500, 80, [0xe6, 0x6c, 0x00])] {
        assert_eq!(image.get_pixel(x, y).0, colour, "{x} {y}");
    }
    let blue = image.pixels().filter(|pixel| pixel.0 == [0x1f, 0x77, 0xb4]).count();
    // A line over the whole, 4 pixels wide.
    assert!((2_500..8_000).contains(&blue), "{blue}");
}

/// A trainer with as many steps in a validation as in an epoch, whose values are known.
fn counting<'a>() -> Trainer<'a> {
    bare()
        .train_data(loader(0, 8))
        .valid_data(loader(0, 8))
        .test_data(loader(0, 4))
        .step_on(Set::Train, |s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! { n: s.step().index as f64 }))
        })
        .step_on(Set::Valid, |s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! { n: 100.0, only: 1.0 }))
        })
        .epoch_start(|_| Ok(record! { begun: 1.0 }))
        .epoch_end(|s| Ok(record! { end: s.epoch() as f64 }))
}

#[test]
fn a_figure_has_the_lines_of_training_and_validation_of_the_runs_that_are_asked_for() {
    let mut trainer = counting();
    trainer.fit(2).unwrap();
    trainer.fit(1).unwrap();
    trainer.test().unwrap();
    let history = trainer.history();
    let check = |figure: Figure, expected: &str| {
        assert_eq!(format!("{figure:?}"), format!("Figure {{ {expected}, across: Count, mark: None }}"))
    };
    let figure = |name, runs| history.figure(name, runs).unwrap();
    check(
        figure("end", Runs::Last),
        r#"y_label: "end", x_label: "epoch", lines: [("train", [3.0]), ("valid", [3.0])]"#,
    );
    check(
        figure("end", Runs::All),
        r#"y_label: "end", x_label: "epoch", lines: [("train", [1.0, 2.0, 3.0]), ("valid", [1.0, 2.0, 3.0])]"#,
    );
    check(
        figure("n", Runs::Of(0)),
        r#"y_label: "n", x_label: "step", lines: [("train", [0.0, 1.0, 2.0, 3.0]), ("valid", [100.0, 100.0, 100.0, 100.0])]"#,
    );
    check(
        figure("begun", Runs::Last),
        r#"y_label: "begun", x_label: "epoch", lines: [("train", [1.0]), ("valid", [1.0])]"#,
    );
    check(figure("only", Runs::Last), r#"y_label: "only", x_label: "step", lines: [("valid", [1.0, 1.0])]"#);
    check(
        history.figure_of(Set::Test, "end", Runs::Last).unwrap(),
        r#"y_label: "end", x_label: "epoch", lines: [("test", [1.0])]"#,
    );
    check(
        history.figure_of(Set::Valid, "n", Runs::Of(1)).unwrap(),
        r#"y_label: "n", x_label: "step", lines: [("valid", [100.0, 100.0])]"#,
    );
}

#[test]
fn the_line_of_all_runs_has_the_values_of_epochs_if_there_are_any() {
    let mut trainer = counting();
    trainer.fit(1).unwrap();
    trainer = trainer.epoch_end(|s| Ok(record! { loss: s.mean("loss")? }));
    trainer.fit(2).unwrap();
    let history = trainer.history();
    let losses = history.of(Set::Train)[1].epoch_end("loss").unwrap();
    let expected = Figure::new("loss").x_label("epoch").line("train", losses);
    let found = history.figure_of(Set::Train, "loss", Runs::All).unwrap();
    assert_eq!((format!("{found:?}"), losses.len()), (format!("{expected:?}"), 2));
}

#[test]
fn of_a_validation_with_other_steps_the_training_alone_is_drawn() {
    let mut trainer = counting().valid_data(loader(0, 4));
    trainer.fit(1).unwrap();
    let found = format!("{:?}", trainer.history().figure("n", Runs::Last).unwrap());
    assert_eq!(
        found,
        r#"Figure { y_label: "n", x_label: "step", lines: [("train", [0.0, 1.0])], across: Count, mark: None }"#
    );
}

#[test]
fn a_name_or_run_that_does_not_exist_is_an_error_that_lists_what_does() {
    let mut trainer = counting();
    let error = trainer.plot("f1").unwrap_err().to_string();
    assert_eq!(error, "`f1` cannot be drawn: no run over the train set has values");
    trainer.fit(1).unwrap();
    let error = |runs| trainer.history().figure("f1", runs).unwrap_err().to_string();
    let unknown = "no stage of the train set returned `f1`; there are `begun`, `end`, `loss`, `n`";
    assert_eq!([error(Runs::Last), error(Runs::All)], [unknown; 2]);
    assert_eq!(error(Runs::Of(2)), "no run over the train set has the number 2: it has had 1 run");
    let test = trainer.history().figure_of(Set::Test, "end", Runs::Last).unwrap_err().to_string();
    assert_eq!(test, "`end` cannot be drawn: no run over the test set has values");
}
