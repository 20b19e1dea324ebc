//! The dashboard as a picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Padding, Paragraph};
use regimen::text::Short;

use crate::curve;
use crate::look::Look;
use crate::model::{Amount, Condition, Metrics, Model, SavedStep};
use crate::utc::clock;
use crate::view::{Above, View};

/// The smallest terminal that shows the dashboard.
const SMALLEST: (u16, u16) = (60, 18);
/// From this width on the metrics are beside the curve.
const WIDE: u16 = 120;
/// From this width on there are two panels in a row.
const TWO: u16 = 76;
/// The width of the panels on the right of a wide terminal.
const RIGHT: u16 = 58;

pub(crate) const DIM: Style = Style::new().fg(Color::DarkGray);
pub(crate) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// The colour of the line `n` of a curve.
pub(crate) fn colour(n: usize) -> Color {
    [Color::Cyan, Color::Magenta, Color::Yellow][n % 3]
}

/// Draws the dashboard: a pure function of what is known and of the choices of the reader.
pub(crate) fn draw(model: &Model, view: &View, look: Look, frame: &mut Frame<'_>) {
    let area = frame.area();
    match area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        true => too_small(frame, area),
        false => whole(model, view, look, frame, area),
    }
    look.adapt(frame.buffer_mut());
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let ((columns, rows), Rect { width, height, .. }) = (SMALLEST, area);
    let text = [
        format!("regimen needs {columns} x {rows};"),
        format!("this terminal has {width} x {height}"),
        "q quits".to_owned(),
    ];
    frame.render_widget(Paragraph::new(text.map(Line::from).to_vec()), area);
}

fn whole(model: &Model, view: &View, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    let [header, epoch, training, body, footer] = rows.areas(area);
    draw_header(model, frame, header);
    draw_bar(model.epoch.as_ref(), model, frame, epoch);
    draw_bar(model.training.as_ref(), model, frame, training);
    let bottom = (body.height / 5).clamp(4, 12);
    let [body, bottom] = Layout::vertical([Constraint::Fill(1), Constraint::Length(bottom)]).areas(body);
    let (curves, metrics, rates) = match area.width < WIDE {
        true => {
            let middle = (body.height * 3 / 8).clamp(4, 14);
            let [top, middle] =
                Layout::vertical([Constraint::Fill(1), Constraint::Length(middle)]).areas(body);
            let (metrics, rates) = in_two(middle, 32);
            (top, metrics, rates)
        }
        false => {
            let (left, right) = in_two(body, RIGHT);
            let right = right.unwrap_or(left);
            let rates = (model.metrics.others().count() as u16 + 2).clamp(4, right.height / 2);
            let [metrics, rates] =
                Layout::vertical([Constraint::Fill(1), Constraint::Length(rates)]).areas(right);
            (left, metrics, Some(rates))
        }
    };
    let (notices, checkpoints) = in_two(bottom, if area.width < WIDE { 32 } else { RIGHT });
    curve::draw(model, view, look, frame, curves);
    draw_metrics(model, view, frame, metrics);
    if let Some(rates) = rates {
        draw_rates(model, frame, rates);
    }
    draw_notices(model, frame, notices);
    if let Some(checkpoints) = checkpoints {
        draw_checkpoints(&model.checkpoints, frame, checkpoints);
    }
    draw_footer(model, frame, footer);
    match view.above {
        None => {}
        Some(Above::Help) => draw_above(frame, area, "keys", &HELP),
        Some(Above::AskPause) => draw_above(frame, area, "pause", &QUESTION),
    }
}

/// Two panels beside each other, the right one of this width, if there is room for two.
fn in_two(area: Rect, right: u16) -> (Rect, Option<Rect>) {
    if area.width < TWO {
        return (area, None);
    }
    let columns = [Constraint::Fill(1), Constraint::Length(2), Constraint::Length(right)];
    let [left, _, right] = Layout::horizontal(columns).areas(area);
    (left, Some(right))
}

/// Draws the rule above a panel, and returns the place below it.
pub(crate) fn panel(frame: &mut Frame<'_>, area: Rect, title: Vec<Span<'_>>, right: Line<'_>) -> Rect {
    let mut line = vec![Span::styled("\u{2500} ", DIM)];
    line.extend(title);
    line.push(" ".into());
    let block = Block::new().borders(Borders::TOP).border_style(DIM).title(Line::from(line));
    let block = if right.width() == 0 { block } else { block.title(right.right_aligned()) };
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn draw_header(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (text, colour) = match &model.condition {
        Condition::Waiting(what) => (format!("waiting for {what}"), Color::Yellow),
        Condition::Running => ("running".to_owned(), Color::Green),
        Condition::Pausing => ("pausing at the next step".to_owned(), Color::Yellow),
        Condition::Paused(why) => (format!("paused: {why}"), Color::Yellow),
        Condition::Finished(how) => (how.clone(), Color::Blue),
        Condition::Failed(_) => ("failed".to_owned(), Color::Red),
        Condition::Gone(who) => (format!("{who} ended without a word"), Color::Red),
        Condition::Silent(seconds) => (format!("silent for {}", clock(*seconds)), Color::Yellow),
    };
    let time =
        model.elapsed.map(|seconds| format!("  {} ", clock(seconds))).unwrap_or_else(|| " ".to_owned());
    let room = usize::from(area.width).saturating_sub(time.len() + 4);
    let title = fit(&model.title, room / 2);
    let text = fit(&text, room.saturating_sub(title.chars().count() + 2));
    frame.render_widget(Line::from(vec![" ".into(), Span::styled(title, BOLD)]), area);
    let state = vec![
        Span::styled("\u{25cf} ", Style::new().fg(colour)),
        Span::styled(text, BOLD.fg(colour)),
        Span::styled(time, DIM),
    ];
    frame.render_widget(Line::from(state).right_aligned(), area);
}

/// `epoch 3/12   ======-----  120/214   0:12 left`.
fn draw_bar(amount: Option<&Amount>, model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let Some(Amount { label, done, total, left }) = amount else { return };
    let part = total.map(|total| (*done as f64 / total.max(1) as f64).min(1.0));
    let counted = match total {
        Some(total) => {
            let percent = u128::from(*done) * 100 / u128::from(*total).max(1);
            format!("{done}/{total} {:>3} %", percent.min(100))
        }
        None => format!("{done} steps"),
    };
    let left = left.filter(|_| !model.condition.is_over()).map(|left| format!("{} left", clock(left)));
    let text = format!("{counted:>18}{:>14} ", left.unwrap_or_default());
    let columns = [Constraint::Length(16), Constraint::Fill(1), Constraint::Length(text.len() as u16)];
    let [label_area, bar, numbers] = Layout::horizontal(columns).areas(area);
    frame.render_widget(Line::from(format!(" {}", fit(label, 14))), label_area);
    frame.render_widget(Line::from(text), numbers);
    if let Some(part) = part {
        let full = (f64::from(bar.width) * part) as usize;
        let colour = if model.condition.is_over() { Color::Blue } else { Color::Green };
        let line = vec![
            Span::styled("\u{2501}".repeat(full), Style::new().fg(colour)),
            Span::styled("\u{2500}".repeat(usize::from(bar.width).saturating_sub(full)), DIM),
        ];
        frame.render_widget(Line::from(line), bar);
    }
}

fn draw_metrics(model: &Model, view: &View, frame: &mut Frame<'_>, area: Rect) {
    let heads = Line::styled(format!(" {:>9} {:>9} {:>9} ", "newest", "lowest", "highest"), DIM);
    let inner = panel(frame, area, vec![Span::styled("metrics", BOLD)], heads);
    let shown = view.curve(&model.metrics);
    let name_width = usize::from(inner.width).saturating_sub(32);
    let (mut rows, mut chosen) = (Vec::new(), 0);
    for (curve, lines) in model.metrics.measured() {
        let is_shown = Some(curve) == shown;
        if is_shown {
            chosen = rows.len() + lines.len();
        }
        for (n, (line, series)) in lines.iter().enumerate() {
            let extremes = series.extremes();
            let number = |value: Option<f64>| value.map(|value| Short(value).to_string()).unwrap_or_default();
            let (least, most) =
                (number(extremes.map(|(least, _)| least)), number(extremes.map(|(_, most)| most)));
            let newest = series.newest();
            let is_bad = newest.is_some_and(|value| !value.is_finite());
            let (style, newest) = (if is_bad { BOLD.fg(Color::Red) } else { BOLD }, number(newest));
            let name = fit(&line.label(), name_width);
            let name_style = if is_shown { Style::new().fg(colour(n)) } else { Style::new() };
            rows.push(Line::from(vec![
                Span::styled(format!(" {name:<name_width$}"), name_style),
                Span::styled(format!(" {newest:>9}"), style),
                Span::styled(format!(" {least:>9} {most:>9}"), DIM),
            ]));
        }
    }
    if rows.is_empty() {
        rows.push(Line::styled(" no value yet", DIM));
    }
    // The chosen ones stay in sight.
    let first = chosen.saturating_sub(usize::from(inner.height));
    let hidden = rows.len().saturating_sub(usize::from(inner.height));
    if first == 0
        && 0 < hidden
        && let Some(last) = rows.get_mut(usize::from(inner.height).saturating_sub(1))
    {
        *last = Line::styled(format!(" \u{2026} {} more", hidden + 1), DIM);
    }
    frame.render_widget(Paragraph::new(rows.split_off(first.min(rows.len()))), inner);
}

fn draw_rates(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let inner = panel(frame, area, vec![Span::styled("rates and load", BOLD)], Line::default());
    let rows = rates(&model.metrics, model.pace.steps_per_second());
    let width = usize::from(inner.width).saturating_sub(2);
    let rows = rows.into_iter().map(|(name, value)| {
        let room = width.saturating_sub(value.len() + 1);
        Line::from(vec![format!(" {:<room$} ", fit(&name, room)).into(), Span::styled(value, BOLD)])
    });
    frame.render_widget(Paragraph::new(rows.collect::<Vec<_>>()), inner);
}

/// Names and values of rates, learning rates first, and then of the load of the machine.
fn rates(metrics: &Metrics, steps_per_second: Option<f64>) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let values: std::collections::BTreeMap<&str, f64> = metrics.others().collect();
    rows.extend(steps_per_second.map(|speed| match 1.0 <= speed || speed == 0.0 {
        true => ("steps/s".to_owned(), Short(speed).to_string()),
        false => ("seconds/step".to_owned(), Short(1.0 / speed).to_string()),
    }));
    for (name, value) in metrics.others().filter(|(name, _)| !name.starts_with("system/")) {
        if let Some(items) = name.strip_suffix("_per_second") {
            rows.push((format!("{items}/s"), Short(value).to_string()));
        } else if name.starts_with("learning_rate/") || name == "momentum" {
            rows.push((name.replace('_', " ").replacen('/', " ", 1), Short(value).to_string()));
        }
    }
    let amount = |name: &str| {
        let (used, part) =
            (values.get(&*format!("{name}_megabytes")), values.get(&*format!("{name}_percentage")));
        let used = used.map(|&used| match used < 1000.0 {
            true => format!("{used:.0} MB"),
            false => format!("{} GB", Short(used / 1000.0)),
        });
        let part = part.map(|part| format!("{part:.0} %"));
        let text: Vec<String> = used.into_iter().chain(part).collect();
        (!text.is_empty()).then(|| text.join("  "))
    };
    let mut load = |label: String, value: Option<String>| rows.extend(value.map(|value| (label, value)));
    load("CPU".to_owned(), amount("system/cpu_utilization"));
    load("memory".to_owned(), amount("system/system_memory_usage"));
    load("CPU of the process".to_owned(), amount("system/process_cpu_utilization"));
    load("memory of the process".to_owned(), amount("system/process_memory_usage"));
    let devices = |n: &usize| values.keys().any(|name| name.starts_with(&format!("system/gpu_{n}_")));
    for n in (0..).take_while(devices) {
        load(format!("GPU {n}"), amount(&format!("system/gpu_{n}_utilization")));
        load(format!("memory of GPU {n}"), amount(&format!("system/gpu_{n}_memory_usage")));
    }
    rows
}

fn draw_notices(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let inner = panel(frame, area, vec![Span::styled("notices", BOLD)], Line::default());
    let mut rows: Vec<Line<'_>> = Vec::new();
    if let Condition::Failed(why) = &model.condition {
        rows.extend(wrapped(why, inner, usize::from(inner.height).saturating_sub(1).max(1)));
    }
    for (time, text) in model.notices.newest().take(usize::from(inner.height)) {
        let room = usize::from(inner.width).saturating_sub(time.len() + 3);
        rows.push(Line::from(vec![
            Span::styled(format!(" {time}{}", if time.is_empty() { "" } else { " " }), DIM),
            fit(text, room).into(),
        ]));
    }
    if rows.is_empty() {
        rows.push(Line::styled(" none", DIM));
    }
    frame.render_widget(Paragraph::new(rows), inner);
}

/// An error in as many rows as it needs, and at most `most`.
fn wrapped<'a>(text: &str, area: Rect, most: usize) -> Vec<Line<'a>> {
    let width = usize::from(area.width).saturating_sub(2);
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + word.chars().count() <= width => {
                *row += &format!(" {word}")
            }
            _ => rows.push(word.to_owned()),
        }
    }
    let red = |row: String| Line::styled(format!(" {}", fit(&row, width)), Style::new().fg(Color::Red));
    rows.into_iter().take(most).map(red).collect()
}

fn draw_checkpoints(checkpoints: &[SavedStep], frame: &mut Frame<'_>, area: Rect) {
    let inner = panel(frame, area, vec![Span::styled("checkpoints", BOLD)], Line::default());
    let mut rows: Vec<Line<'_>> = Vec::new();
    for SavedStep { step, epoch, is_post_mortem, metrics } in
        checkpoints.iter().take(usize::from(inner.height))
    {
        // The values of the evaluation say which checkpoint is the best.
        let mut metrics: Vec<_> = metrics.iter().collect();
        metrics.sort_by_key(|(name, _)| (*name != "eval/loss", !name.starts_with("eval/")));
        let values = metrics.iter().map(|(name, value)| format!("{name} {}", Short(**value)));
        let values = match is_post_mortem {
            true => "post-mortem".to_owned(),
            false => values.collect::<Vec<_>>().join("  "),
        };
        let place = match inner.width < RIGHT {
            true => format!(" step {step}"),
            false => format!(" step {step}  epoch {epoch}"),
        };
        let room = usize::from(inner.width).saturating_sub(place.len() + 3);
        rows.push(Line::from(vec![place.into(), Span::styled(format!("  {}", fit(&values, room)), DIM)]));
    }
    if rows.is_empty() {
        rows.push(Line::styled(" none", DIM));
    }
    frame.render_widget(Paragraph::new(rows), inner);
}

fn draw_footer(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let mut keys = vec![("q", "quit")];
    if model.can_pause() {
        keys.push(("p", "pause"));
    }
    keys.extend([("tab", "metric"), ("l", "log"), ("s", "smooth"), ("n", "range"), ("?", "help")]);
    let mut line = vec![Span::from(" ")];
    for (key, what) in keys {
        line.extend([Span::styled(key, BOLD), Span::styled(format!(" {what}   "), DIM)]);
    }
    frame.render_widget(Line::from(line), area);
}

const HELP: [&str; 10] = [
    "right, tab    the next metric",
    "left          the metric before",
    "l             logarithmic axis, or linear",
    "s             smoothing: none, 0.6, 0.9, 0.98",
    "n             all steps, the last 10000, 1000, 100",
    "p             pause the training at its next step",
    "q             leave the dashboard; training goes on",
    "Ctrl-L        draw everything anew",
    "",
    "any key closes this",
];

const QUESTION: [&str; 4] = [
    "Pause the training at its next step?",
    "It is saved if it has a saver, and a later",
    "start goes on from there.",
    "y: yes    any other key: no",
];

fn draw_above(frame: &mut Frame<'_>, area: Rect, title: &str, text: &[&str]) {
    let width = text.iter().map(|line| line.len()).max().unwrap_or(0) as u16 + 6;
    let height = text.len() as u16 + 2;
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {title} ")).padding(Padding::horizontal(2));
    frame.render_widget(
        Paragraph::new(text.iter().map(|line| Line::from(*line)).collect::<Vec<_>>()).block(block),
        place,
    );
}

/// A text in at most so many characters; an ellipsis is at the end of one that is cut.
fn fit(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false => text.chars().take(most.saturating_sub(1)).chain(['\u{2026}']).take(most).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::watch::{picture, text};

    const PLAIN: Look = Look { is_unicode: true, has_colour: false };

    /// A run in its third epoch, of which everything is known.
    fn model() -> Model {
        let mut model = Model { title: "runs/digits".to_owned(), elapsed: Some(754.0), ..Model::default() };
        model.epoch =
            Some(Amount { label: "epoch 3/12".to_owned(), done: 120, total: Some(214), left: Some(12.0) });
        model.training =
            Some(Amount { label: "training".to_owned(), done: 548, total: Some(2568), left: Some(257.0) });
        for step in (10..=548_u32).step_by(10) {
            let x = f64::from(step);
            let loss = 2.0 * (-x / 150.0).exp() + 0.1 + 0.1 * (x / 7.0).sin();
            model.metrics.push(("train", "train/loss"), step.into(), loss, false).unwrap();
        }
        let mut push =
            |phase, name, step, value| model.metrics.push((phase, name), step, value, true).unwrap();
        for (epoch, loss, accuracy) in [(1, 0.75, 0.8125), (2, 0.375, 0.875)] {
            push("eval", "eval/loss", epoch * 214, loss);
            push("eval", "eval/accuracy", epoch * 214, accuracy);
        }
        for (name, value) in [
            ("learning_rate/network", 3e-4),
            ("train/samples_per_second", 1234.5),
            ("system/cpu_utilization_percentage", 87.0),
            ("system/system_memory_usage_megabytes", 12_345.0),
            ("system/system_memory_usage_percentage", 51.0),
            ("system/process_memory_usage_megabytes", 1234.0),
            ("system/gpu_0_utilization_percentage", 97.0),
        ] {
            push("train", name, 540, value);
        }
        model.pace.observe(0.0, 0);
        model.pace.observe(70.0, 548);
        model.notices.push("08:10:00", "the last row of the log was torn");
        model.notices.push("08:12:30", "a batch takes 0.13 s, of which 0.02 s are the wait for data");
        for (step, loss) in [(428, 0.375), (214, 0.75)] {
            model.checkpoints.push(SavedStep {
                step,
                epoch: step / 214,
                is_post_mortem: false,
                metrics: BTreeMap::from([("eval/loss".to_owned(), loss), ("a".to_owned(), 1.0)]),
            });
        }
        model
    }

    #[track_caller]
    fn check(model: &Model, view: &View, look: Look, (columns, rows): (u16, u16), expected: &str) {
        let shown = text(&picture(model, view, look, columns, rows).unwrap());
        assert_eq!(shown, expected, "the picture is\n{shown}");
    }

    #[test]
    fn a_run_in_a_terminal_of_80_columns() {
        check(&model(), &View::default(), PLAIN, (80, 24), include_str!("../tests/pictures/80x24.txt"));
    }

    #[test]
    fn a_run_in_a_terminal_of_200_columns() {
        check(&model(), &View::default(), PLAIN, (200, 50), include_str!("../tests/pictures/200x50.txt"));
    }

    #[test]
    fn a_run_in_the_smallest_terminal_without_unicode() {
        let look = Look { is_unicode: false, has_colour: false };
        let expected = include_str!("../tests/pictures/60x18-ascii.txt");
        assert!(expected.is_ascii());
        check(&model(), &View { is_log: true, ..View::default() }, look, (60, 18), expected);
    }

    #[test]
    fn a_run_that_failed_and_one_that_is_waited_for() {
        let error = "unit failed in train_step in train at epoch 2 step 548: a negative batch of the folder of images";
        let failed = Model { condition: Condition::Failed(error.to_owned()), ..model() };
        let shown = text(&picture(&failed, &View::default(), PLAIN, 80, 24).unwrap());
        let rows =
            [" unit failed in train_step in train at epoch", " 2 step 548: a negative batch of the folder"];
        assert!(rows.iter().all(|row| shown.contains(row)), "{shown}");
        assert!(shown.lines().next().unwrap().ends_with("\u{25cf} failed  12:34"), "{shown}");
        let condition = Condition::Waiting("the folder".to_owned());
        let waiting = Model { title: "runs/none".to_owned(), condition, ..Model::default() };
        check(&waiting, &View::default(), PLAIN, (80, 24), include_str!("../tests/pictures/waiting.txt"));
    }

    #[test]
    fn a_question_and_the_help_are_above_the_rest() {
        let view = View { above: Some(Above::AskPause), ..View::default() };
        check(&model(), &view, PLAIN, (80, 24), include_str!("../tests/pictures/pause.txt"));
        let view = View { above: Some(Above::Help), ..View::default() };
        check(&model(), &view, PLAIN, (80, 24), include_str!("../tests/pictures/help.txt"));
    }

    #[test]
    fn a_terminal_that_is_too_small_says_so_and_no_size_fails() {
        check(
            &model(),
            &View::default(),
            PLAIN,
            (40, 4),
            "regimen needs 60 x 18;\nthis terminal has 40 x 4\nq quits\n\n",
        );
        for above in [None, Some(Above::Help), Some(Above::AskPause)] {
            for model in [model(), Model::default()] {
                for columns in (0..130).step_by(11).chain([59, 60, 75, 76, 119, 120, 500]) {
                    for rows in [0, 1, 2, 17, 18, 19, 24, 60] {
                        let view = View { above, ..View::default() };
                        assert!(picture(&model, &view, PLAIN, columns, rows).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn values_of_every_size_are_drawn() {
        let values = [0.0, -1.0, 1e308, -1e308, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0];
        for n in 0..values.len() {
            for is_log in [false, true] {
                let mut model = Model::default();
                for (step, value) in values[..=n].iter().chain(&values[n..]).enumerate() {
                    model.metrics.push(("train", "loss"), step as u64, *value, false).unwrap();
                }
                assert!(picture(&model, &View { is_log, ..View::default() }, PLAIN, 80, 24).is_some());
            }
        }
    }
}
