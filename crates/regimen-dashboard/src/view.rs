//! The choices of the reader of the dashboard.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::model::Metrics;

/// The choices of the reader of the dashboard: the curve, its axes, and the question or help above all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// `None` is the first curve.
    pub(crate) curve: Option<String>,
    pub(crate) is_log: bool,
    pub(crate) smoothing: usize,
    pub(crate) range: usize,
    pub(crate) above: Option<Above>,
}

/// A box above the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Above {
    Help,
    AskPause,
}

/// An answer to a key that is not of the view alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leaves the dashboard.
    Quit,
    /// Ctrl-C.
    Interrupt,
    /// Pauses the training; it was asked whether to.
    Pause,
    /// Draws everything anew, also what other programs wrote over it.
    Redraw,
}

const SMOOTHINGS: [f64; 4] = [0.0, 0.6, 0.9, 0.98];
/// The numbers of the last steps that are shown; 0 is all.
const RANGES: [u64; 4] = [0, 10_000, 1_000, 100];

impl View {
    /// The curve that is shown. `None` if there is none.
    pub(crate) fn curve<'m>(&self, metrics: &'m Metrics) -> Option<&'m str> {
        let chosen = metrics.curves().find(|curve| self.curve.as_deref() == Some(curve));
        chosen.or_else(|| metrics.curves().next())
    }

    /// The weight of the smoothed value before.
    pub(crate) fn smoothing(&self) -> f64 {
        SMOOTHINGS[self.smoothing % SMOOTHINGS.len()]
    }

    /// So many of the last steps are shown; 0 is all.
    pub(crate) fn range(&self) -> u64 {
        RANGES[self.range % RANGES.len()]
    }

    /// Takes a key. `can_pause` is whether there is a run to pause.
    pub(crate) fn press(&mut self, key: KeyEvent, metrics: &Metrics, can_pause: bool) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (self.above, key.code) {
            (_, KeyCode::Char('c')) if is_control => return Some(Action::Interrupt),
            (_, KeyCode::Char('l')) if is_control => return Some(Action::Redraw),
            (Some(Above::AskPause), KeyCode::Char('y' | 'Y')) => {
                self.above = None;
                return can_pause.then_some(Action::Pause);
            }
            // Any other key is a no.
            (Some(_), _) => self.above = None,
            (None, KeyCode::Char('q')) => return Some(Action::Quit),
            (None, KeyCode::Char('p')) if can_pause => self.above = Some(Above::AskPause),
            (None, KeyCode::Char('?' | 'h')) => self.above = Some(Above::Help),
            (None, KeyCode::Char('l')) => self.is_log = !self.is_log,
            (None, KeyCode::Char('s')) => self.smoothing = (self.smoothing + 1) % SMOOTHINGS.len(),
            (None, KeyCode::Char('n')) => self.range = (self.range + 1) % RANGES.len(),
            (None, KeyCode::Right | KeyCode::Down | KeyCode::Tab) => self.turn(metrics, 1),
            (None, KeyCode::Left | KeyCode::Up | KeyCode::BackTab) => self.turn(metrics, -1),
            _ => {}
        }
        None
    }

    /// Chooses the next curve, or the one before.
    fn turn(&mut self, metrics: &Metrics, by: isize) {
        let curves: Vec<&str> = metrics.curves().collect();
        let shown = self.curve(metrics).and_then(|shown| curves.iter().position(|curve| *curve == shown));
        let next = shown.unwrap_or(0) as isize + by;
        let next = next.checked_rem_euclid(curves.len() as isize).and_then(|next| curves.get(next as usize));
        self.curve = next.map(|curve| (*curve).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(names: &[&str]) -> Metrics {
        let mut metrics = Metrics::default();
        names.iter().for_each(|name| metrics.push(("train", name), 1, 0.5, false).unwrap());
        metrics
    }

    /// Presses the keys one after another; `<`, `>` and `^` are left, right and Ctrl-C.
    fn press(view: &mut View, keys: &str) -> Option<Action> {
        let metrics = metrics(&["train/loss", "train/accuracy", "momentum"]);
        let mut action = None;
        for key in keys.chars() {
            action = view.press(
                match key {
                    '<' => KeyCode::Left.into(),
                    '>' => KeyCode::Right.into(),
                    '^' => KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
                    key => KeyCode::Char(key).into(),
                },
                &metrics,
                true,
            );
        }
        action
    }

    #[test]
    fn left_and_right_go_round_the_curves() {
        let metrics = metrics(&["train/loss", "train/accuracy", "momentum"]);
        for (keys, curve) in
            [("", "loss"), (">", "accuracy"), (">>>", "loss"), ("<", "momentum"), ("<>", "loss")]
        {
            let mut view = View::default();
            press(&mut view, keys);
            assert_eq!(view.curve(&metrics), Some(curve), "{keys}");
        }
        assert_eq!(View::default().curve(&Metrics::default()), None);
    }

    #[test]
    fn keys_change_the_axes() {
        let mut view = View::default();
        press(&mut view, "lsn");
        assert_eq!((view.is_log, view.smoothing(), view.range()), (true, 0.6, 10_000));
        press(&mut view, "lsssnnn");
        assert_eq!(view, View::default());
    }

    #[test]
    fn a_pause_is_asked_for_twice_and_any_other_answer_is_no() {
        for (keys, action) in [
            ("p", None),
            ("py", Some(Action::Pause)),
            ("pn", None),
            ("pq", None),
            ("pny", None),
            ("y", None),
            ("q", Some(Action::Quit)),
            ("?q", None),
            ("p^", Some(Action::Interrupt)),
        ] {
            assert_eq!(press(&mut View::default(), keys), action, "{keys}");
        }
        let mut view = View::default();
        view.press(KeyCode::Char('p').into(), &Metrics::default(), false);
        assert_eq!(view.above, None);
    }
}
