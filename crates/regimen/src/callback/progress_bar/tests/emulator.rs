//! A terminal in memory that rewraps its rows when its width changes, as most do.
#![cfg(test)]

use std::io;
use std::str::Chars;
use std::sync::{Arc, Mutex};

use crate::callback::terminal::Device;

/// Clones are the same terminal.
#[derive(Clone)]
pub(super) struct Emulator(Arc<Mutex<Grid>>);

struct Grid {
    columns: usize,
    /// The text of each row, and whether it continues in the next.
    rows: Vec<(Vec<char>, bool)>,
    /// The cursor.
    row: usize,
    column: usize,
    wraps: bool,
    /// Everything drawn.
    frames: Vec<String>,
}

impl Emulator {
    pub(super) fn new(columns: usize) -> Self {
        let rows = vec![(Vec::new(), false)];
        Emulator(Arc::new(Mutex::new(Grid {
            columns,
            rows,
            row: 0,
            column: 0,
            wraps: true,
            frames: Vec::new(),
        })))
    }

    /// Writes output other than the bars.
    pub(super) fn print(&self, text: &str) {
        self.0.lock().unwrap().write(text);
    }

    pub(super) fn resize(&self, columns: usize) {
        self.0.lock().unwrap().resize(columns);
    }

    /// All rows down to the last with something on it.
    pub(super) fn rows(&self) -> Vec<String> {
        let grid = self.0.lock().unwrap();
        let mut rows: Vec<_> = grid.rows.iter().map(|(row, _)| row.iter().collect::<String>()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    pub(super) fn frames(&self) -> Vec<String> {
        self.0.lock().unwrap().frames.clone()
    }
}

impl Device for Emulator {
    fn columns(&self) -> usize {
        self.0.lock().unwrap().columns
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut grid = self.0.lock().unwrap();
        let shown = text.split('\u{1b}').enumerate();
        let shown = shown
            .map(|(i, part)| if i == 0 { part } else { part.split_once(char::is_alphabetic).unwrap().1 });
        grid.frames.push(shown.collect::<String>().replace('\r', "").trim_matches(' ').to_owned());
        grid.write(text);
        Ok(())
    }
}

impl Grid {
    fn write(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => self.column = 0,
                '\n' => self.go_down(false),
                '\u{1b}' => self.control(&mut chars),
                char => {
                    if self.column == self.columns && self.wraps {
                        self.go_down(true);
                    }
                    self.column = self.column.min(self.columns - 1);
                    let row = &mut self.rows[self.row].0;
                    row.resize(row.len().max(self.column + 1), ' ');
                    row[self.column] = char;
                    self.column += 1;
                }
            }
        }
    }

    /// Knows those that clear the row and to the end of the screen, go up, and switch wrapping.
    fn control(&mut self, chars: &mut Chars<'_>) {
        assert_eq!(chars.next(), Some('['));
        let mut count = 0;
        let command = loop {
            match chars.next().unwrap() {
                '?' => {}
                digit @ '0'..='9' => count = 10 * count + digit.to_digit(10).unwrap() as usize,
                command => break command,
            }
        };
        match command {
            'A' => self.row = self.row.saturating_sub(count.max(1)),
            'J' => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].0.truncate(self.column);
            }
            // All of the row: 2 is the only number that is written.
            'K' => self.rows[self.row] = (Vec::new(), false),
            'h' | 'l' => self.wraps = command == 'h',
            other => panic!("{other} is not known"),
        }
    }

    fn go_down(&mut self, goes_on: bool) {
        self.rows[self.row].1 |= goes_on;
        (self.row, self.column) = (self.row + 1, 0);
        if self.row == self.rows.len() {
            self.rows.push((Vec::new(), false));
        }
    }

    /// Joins the rows that go on in the next, and wraps them again. The cursor stays at its character.
    fn resize(&mut self, columns: usize) {
        let (old, row, column) = (std::mem::take(&mut self.rows), self.row, self.column);
        self.columns = columns;
        let mut line = Vec::new();
        let mut cursor = None;
        for (i, (chars, goes_on)) in old.into_iter().enumerate() {
            if i == row {
                cursor = Some(line.len() + column);
            }
            line.extend(chars);
            if goes_on {
                continue;
            }
            if let Some(at) = cursor.take() {
                (self.row, self.column) = (self.rows.len() + at / columns, at % columns);
            }
            let pieces = line.len().div_ceil(columns).max(1);
            for piece in 0..pieces {
                let chars = line.iter().skip(piece * columns).take(columns).copied().collect();
                self.rows.push((chars, piece + 1 < pieces));
            }
            line.clear();
        }
    }
}
