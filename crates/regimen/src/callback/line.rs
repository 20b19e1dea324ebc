//! A line that fits a terminal.

use std::fmt::Write;

use console::{measure_text_width, truncate_str};

/// The text of a line, in parts of which some can be left out.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<Part>);

#[derive(Debug)]
struct Part {
    text: String,
    /// Its place in the order in which room is given; those of 0 are cut off at worst.
    rank: usize,
}

impl Line {
    /// Appends a part. The greater its rank the sooner it is left out.
    pub(super) fn add(&mut self, rank: usize, text: impl Into<String>) {
        // What moves the cursor would break the drawing.
        let text = text.into().replace(char::is_control, "\u{fffd}");
        self.0.push(Part { text, rank });
    }

    /// The text in at most `columns`: as many parts as fit, those of lower rank first, and an ellipsis
    /// instead of the others.
    pub(super) fn fit(&self, columns: usize) -> String {
        let all: String = self.0.iter().map(|part| &*part.text).collect();
        if measure_text_width(&all) <= columns {
            return all;
        }
        let mut by_rank: Vec<usize> = (0..self.0.len()).collect();
        by_rank.sort_by_key(|&i| self.0[i].rank);
        let mut room = columns.saturating_sub(measure_text_width(ELLIPSIS));
        let mut kept = vec![false; self.0.len()];
        for i in by_rank {
            let width = measure_text_width(&self.0[i].text);
            kept[i] = self.0[i].rank == 0 || width <= room;
            room = room.saturating_sub(if kept[i] { width } else { 0 });
        }
        let kept = self.0.iter().zip(kept).filter(|(_, kept)| *kept);
        let mut text: String = kept.map(|(part, _)| &*part.text).collect();
        _ = write!(text, "{ELLIPSIS}");
        truncate_str(&text, columns, "\u{2026}").into_owned()
    }
}

const ELLIPSIS: &str = " \u{2026}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_is_left_out_first() {
        let mut line = Line::default();
        let parts = [
            (0, "epoch 1"),
            (3, " ####"),
            (0, " 2/3"),
            (2, ", 0:07 left"),
            (1, ", loss 0.25"),
            (4, ", lr 0.1"),
        ];
        parts.into_iter().for_each(|(rank, part)| line.add(rank, part));
        let check = |columns, text: &str| assert_eq!(line.fit(columns), text);
        check(80, "epoch 1 #### 2/3, 0:07 left, loss 0.25, lr 0.1");
        check(46, "epoch 1 #### 2/3, 0:07 left, loss 0.25, lr 0.1");
        check(45, "epoch 1 #### 2/3, 0:07 left, loss 0.25 \u{2026}");
        check(39, "epoch 1 2/3, 0:07 left, loss 0.25 \u{2026}");
        // Room that is left is given to what fits it.
        check(34, "epoch 1 #### 2/3, loss 0.25 \u{2026}");
        check(24, "epoch 1 2/3, loss 0.25 \u{2026}");
        check(23, "epoch 1 #### 2/3 \u{2026}");
        check(13, "epoch 1 2/3 \u{2026}");
        check(12, "epoch 1 2/3\u{2026}");
        check(6, "epoch\u{2026}");
    }

    #[test]
    fn wide_characters_take_two_columns_and_no_character_moves_the_cursor() {
        let mut line = Line::default();
        line.add(0, "\u{8bad}\u{7ec3}");
        line.add(1, ", a\nb\u{1b}[2J");
        assert_eq!(line.fit(7), "\u{8bad}\u{7ec3} \u{2026}");
        assert_eq!(line.fit(80), "\u{8bad}\u{7ec3}, a\u{fffd}b\u{fffd}[2J");
    }
}
