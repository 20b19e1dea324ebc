//! The characters and colours that a terminal can show.

use std::env;

use ratatui::buffer::Buffer;
use ratatui::style::Color;
use ratatui::symbols::Marker;

/// The characters and colours that a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether it shows characters beyond ASCII.
    pub(crate) is_unicode: bool,
    pub(crate) has_colour: bool,
}

impl Look {
    /// That of the environment: `LC_ALL`, `LC_CTYPE` or `LANG` names UTF-8, and there is no `NO_COLOR`.
    pub(crate) fn of_environment() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        // Windows has no such variables, and terminals that show all.
        let is_unicode = cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8");
        Look { is_unicode, has_colour: set("NO_COLOR").is_none() }
    }

    /// The points of the line `n` of a chart.
    pub(crate) fn marker(self, n: usize) -> Marker {
        match self.is_unicode {
            true => Marker::Braille,
            false => Marker::Custom(['*', 'o', '+'][n % 3]),
        }
    }

    /// Replaces the characters and colours that it has not.
    pub(crate) fn adapt(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            if !self.is_unicode && !cell.symbol().is_ascii() {
                let plain = plain(cell.symbol());
                cell.set_char(plain);
            }
            if !self.has_colour {
                cell.set_fg(Color::Reset).set_bg(Color::Reset);
            }
        }
    }
}

/// An ASCII character in place of another.
fn plain(symbol: &str) -> char {
    match symbol.chars().next() {
        Some('\u{2500}' | '\u{2192}' | '\u{2190}') => '-',
        Some('\u{2501}') => '=',
        Some('\u{2502}') => '|',
        Some('\u{250c}' | '\u{2510}' | '\u{2514}' | '\u{2518}' | '\u{251c}' | '\u{2524}') => '+',
        Some('\u{2022}' | '\u{25cf}') => '*',
        Some('\u{2026}') => '~',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_terminal_gets_ascii_without_colours() {
        let mut buffer = Buffer::with_lines(["\u{25cf} \u{250c}\u{2501}\u{2500} a\u{2026} \u{e9}"]);
        buffer.content.iter_mut().for_each(|cell| _ = cell.set_fg(Color::Red));
        let before = buffer.clone();
        Look { is_unicode: true, has_colour: true }.adapt(&mut buffer);
        assert_eq!(buffer, before);
        Look { is_unicode: false, has_colour: false }.adapt(&mut buffer);
        assert_eq!(buffer, Buffer::with_lines(["* +=- a~ ?"]));
    }
}
