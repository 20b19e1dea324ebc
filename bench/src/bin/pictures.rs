//! Draws the pictures of the README: `pictures DIGITS FOLDER`. `cargo xtask pictures` calls it.
//!
//! DIGITS is the example `digits`. It is run in terminals of two widths, stopped and started again; FOLDER gets
//! the terminals while it goes on, and the curves of the whole run. The runs are in the working directory.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plotters::prelude::*;
use regimen::BoxError;
use serde_json::Value;

const ROWS: u16 = 40;
/// The terminals, and their widths.
const TERMINALS: [(&str, u16); 2] = [("terminal.svg", 120), ("terminal-80.svg", 80)];
/// Batches small enough that the bar of an epoch is seen.
const FLAGS: &str = "--epochs 12 --batch-size 8 --out runs/digits";
/// The two characters of a bar.
const FULL: char = '\u{2588}';
const EMPTY: char = '\u{2591}';

fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [digits, folder] = args.as_slice() else { return Err("usage: pictures DIGITS FOLDER".into()) };
    let folder = Path::new(folder);
    for (name, columns) in TERMINALS {
        let run = PathBuf::from(columns.to_string());
        fs::create_dir(&run)?;
        fs::write(folder.join(name), terminal(&record(digits, columns, &run)?, columns))?;
        curves(&fs::read_to_string(run.join("runs/digits/metrics.jsonl"))?, &folder.join("curves.svg"))?;
    }
    println!("the pictures are in {}", folder.display());
    Ok(())
}

/// The rows of a terminal in which the example is stopped by Ctrl-C and goes on, while it does.
fn record(digits: &str, columns: u16, folder: &Path) -> Result<Vec<String>, BoxError> {
    let typed = format!("echo '$ cargo run --example digits -- {FLAGS}'");
    let run = format!("{digits} {FLAGS}");
    let script = format!("trap : INT; stty rows {ROWS} cols {columns}; {typed}; {run}; {typed}; {run}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &script, "typescript"]);
    let mut child = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or("`script` has no output")?);
    let mut keyboard = child.stdin.take();
    let (mut parser, mut rows) = (vt100::Parser::new(ROWS, columns, 0), None);
    let mut bytes = Vec::new();
    while output.read_until(b'h', &mut bytes)? != 0 {
        parser.process(&bytes);
        // The end of a bar.
        let drawn = bytes.ends_with(b"\x1b[?7h");
        bytes.clear();
        if !drawn {
            continue;
        }
        let shown: Vec<String> = parser.screen().rows(0, columns).collect();
        // Ctrl-C in the second epoch.
        if shown.iter().any(|row| row.starts_with("train epoch 2/") && is_bar(row))
            && let Some(mut keyboard) = keyboard.take()
        {
            keyboard.write_all(b"\x03")?;
        }
        // The second run has completed an epoch, and is in the middle of another.
        let mut again = shown.iter().skip_while(|row| !row.starts_with("resuming from"));
        if rows.is_none() && again.nth(4).is_some() && again.any(|row| is_bar(row)) {
            rows = Some(shown);
        }
    }
    if !child.wait()?.success() {
        return Err(format!("`{script}` failed").into());
    }
    Ok(rows.ok_or("the bar was not seen: is the example too fast for the time it is given?")?)
}

/// Whether a row is a bar that is drawn to its end, begun and not full.
fn is_bar(row: &str) -> bool {
    row.contains(FULL) && row.contains(EMPTY) && row.contains("loss")
}

/// A picture of a terminal that shows `rows`.
fn terminal(rows: &[String], columns: u16) -> String {
    let (wide, high) = (8.4, 19.0);
    let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
    let last = rows.iter().rposition(|row| !row.is_empty()).unwrap_or(0);
    let (width, height) = (f64::from(columns) * wide + 32.0, (last + 1) as f64 * high + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1d1f28\" stroke=\"#6c7086\"/>\n"
    );
    for (i, colour) in ["#ff5f57", "#febc2e", "#28c840"].into_iter().enumerate() {
        let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>", 20 + 20 * i);
    }
    svg.push_str(
        "<g font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n",
    );
    for (i, row) in rows[..=last].iter().enumerate().filter(|(_, row)| !row.is_empty()) {
        let colour = match row {
            row if row.starts_with('$') => "#a6e3a1",
            row if is_bar(row) => "#89b4fa",
            _ => "#cdd6f4",
        };
        let (y, length) = (50.0 + i as f64 * high, row.chars().count() as f64 * wide);
        let text = row.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{y}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"{colour}\" xml:space=\"preserve\">{text}</text>"
        );
    }
    svg + "</g>\n</svg>\n"
}

/// Draws the losses and the accuracy per epoch, of a log as `MetricLog::csv` writes it.
fn curves(log: &str, path: &Path) -> Result<(), BoxError> {
    let mut epochs: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for line in log.lines() {
        let record: Value = serde_json::from_str(line)?;
        if let (Some(name), Some(value), Some(epoch)) =
            (record["name"].as_str(), record["value"].as_f64(), record["epoch"].as_f64())
        {
            epochs.entry(name.to_owned()).or_default().push((epoch, value));
        }
    }
    let root = SVGBackend::new(path, (956, 330)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(478);
    let last = epochs.get("eval/loss").and_then(|points| points.last()).ok_or("no loss was logged")?.0;
    let panels = [
        (left, "loss", 2.5, vec![("train/loss", BLUE), ("eval/loss", RED)]),
        (right, "accuracy", 1.0, vec![("eval/accuracy", RED)]),
    ];
    for (area, title, top, lines) in panels {
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(38)
            .build_cartesian_2d(1.0..last, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .axis_style(BLACK.mix(0.5))
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 13))
            .draw()?;
        for (name, colour) in lines {
            let points = epochs.get(name).ok_or_else(|| format!("`{name}` was not logged"))?;
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        let corner =
            if title == "loss" { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight };
        chart.configure_series_labels().position(corner).label_font(("sans-serif", 13)).draw()?;
    }
    root.present()?;
    Ok(())
}
