//! Draws the pictures of the guide: `dashboard-pictures FOLDER`, by default the working directory. `cargo xtask pictures` calls it.
//!
//! It runs the example `dashboard`, which is beside it, in terminals of two sizes, and draws them while it trains. The
//! runs are in the working directory.
#![allow(clippy::unwrap_used, reason = "the terminal is that of the tests")]

#[cfg(target_os = "linux")]
#[path = "../tests/terminal/pty.rs"]
mod pty;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> Result<(), regimen::BoxError> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::env;
    use std::fmt::Write;
    use std::fs;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Command;

    use regimen::BoxError;
    use vt100::{Cell, Color, Screen};

    use super::pty::{Pty, take_terminal};

    /// The variable that has the arguments of the example, in the process that becomes it.
    const RUN: &str = "REGIMEN_PICTURE_OF";

    pub(super) fn main() -> Result<(), BoxError> {
        let own = env::current_exe()?;
        if let Ok(run) = env::var(RUN) {
            take_terminal();
            return Err(Command::new(own.with_file_name("dashboard")).args(run.split(' ')).exec().into());
        }
        let folder = env::args().nth(1).map_or_else(|| ".".into(), PathBuf::from);
        for (columns, rows) in [(80, 24), (200, 50)] {
            let mut command = Command::new(&own);
            command.env(RUN, format!("line-{columns} 12 5")).env("LC_ALL", "C.UTF-8");
            command.env_remove("NO_COLOR");
            let mut pty = Pty::start((columns, rows), command);
            // Within an epoch, when several are done. A machine that is busy may miss some.
            let screen = pty.wait_until(|screen| {
                let shown = screen.contents();
                number_before(&shown, "/12") >= Some(9) && number_before(&shown, "/100") >= Some(30)
            });
            pty.press("\u{3}");
            pty.end();
            fs::write(folder.join(format!("dashboard-{columns}.svg")), picture(&screen))?;
        }
        Ok(())
    }

    /// The number in front of the first `end`.
    fn number_before(shown: &str, end: &str) -> Option<u32> {
        shown.split_once(end)?.0.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    const WIDE: f64 = 8.4;
    const HIGH: f64 = 17.0;

    /// A picture of a terminal.
    fn picture(screen: &Screen) -> String {
        let (rows, columns) = screen.size();
        let (width, height) = (f64::from(columns) * WIDE + 32.0, f64::from(rows) * HIGH + 52.0);
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
        for row in 0..rows {
            let cells: Vec<&Cell> = (0..columns).filter_map(|column| screen.cell(row, column)).collect();
            let mut column = 0;
            for span in cells.chunk_by(|a, b| style(a) == style(b)) {
                let text: String =
                    span.iter().map(|cell| if cell.has_contents() { cell.contents() } else { " " }).collect();
                let (x, y) = (16.0 + column as f64 * WIDE, 48.0 + f64::from(row) * HIGH);
                column += span.len();
                let Some((colour, is_bold)) = style(span[0]) else { continue };
                let weight = if is_bold { " font-weight=\"bold\"" } else { "" };
                let length = span.len() as f64 * WIDE;
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
                     fill=\"{colour}\"{weight} xml:space=\"preserve\">{text}</text>"
                );
            }
        }
        svg + "</g>\n</svg>\n"
    }

    /// The colour of a cell, and whether it is bold. `None` if it is empty.
    fn style(cell: &Cell) -> Option<(&'static str, bool)> {
        let is_empty = cell.contents().trim().is_empty();
        let colour = match cell.fgcolor() {
            Color::Idx(1) => "#f38ba8",
            Color::Idx(2) => "#a6e3a1",
            Color::Idx(3) => "#f9e2af",
            Color::Idx(4) => "#89b4fa",
            Color::Idx(5) => "#f5a9e0",
            Color::Idx(6) => "#74c7ec",
            Color::Idx(8) => "#7f849c",
            _ => "#cdd6f4",
        };
        (!is_empty).then_some((colour, cell.bold()))
    }
}
