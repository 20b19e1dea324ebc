//! The dashboard of a run of another process.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::Event;
use regimen::BoxError;
use regimen::signal::Signals;
use regimen::state::PauseHandle;

use crate::draw::draw;
use crate::look::Look;
use crate::model::Model;
use crate::reader::Reader;
use crate::screen::Screen;
use crate::view::{Action, View};

/// Shows the run in a [`RunFolder`](regimen::folder::RunFolder), which another process trains: `regimen watch`.
///
/// It reads the files of the folder twice a second, as they grow, and takes no lock. A folder that is not there yet is
/// waited for. The only file that it writes is `PAUSE`, when its user asks the run to pause.
///
/// ```no_run
/// use regimen_dashboard::Watch;
///
/// Watch::new("runs/digits").run()?;
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    dir: PathBuf,
}

/// The time between two looks at the files.
const INTERVAL: Duration = Duration::from_millis(500);

impl Watch {
    /// Watches the run in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Watch { dir: dir.into() }
    }

    /// Whether standard output and standard input are a terminal with this process in the foreground, which
    /// [`run`](Watch::run) needs.
    #[must_use]
    pub fn has_terminal() -> bool {
        Screen::is_there()
    }

    /// Shows it in the terminal until `q` or Ctrl-C is pressed, or the process is told to end by SIGTERM. The
    /// training goes on then. The terminal is restored at every end, also after an error or a panic, and signals do then
    /// what they did before.
    ///
    /// An error if there is no terminal, if this process is in its background, or if it fails: see [`frame`](Watch::frame).
    pub fn run(&self) -> Result<(), BoxError> {
        let told = PauseHandle::default();
        // SIGHUP ends it at once: its terminal is gone.
        let _signals = Signals::pause(&told)?;
        let (mut reader, mut view, look) = (Reader::of(&self.dir), View::default(), Look::of_environment());
        let mut screen = Screen::open()?;
        let mut looked: Option<Instant> = None;
        while !told.is_asked() {
            if looked.is_none_or(|looked| INTERVAL <= looked.elapsed()) {
                reader.look(SystemTime::now());
                looked = Some(Instant::now());
            }
            if !screen.draw(|frame| draw(reader.model(), &view, look, frame))? {
                break;
            }
            let rest = INTERVAL.saturating_sub(looked.map_or(Duration::ZERO, |looked| looked.elapsed()));
            let Some(Event::Key(key)) = screen.event(rest)? else { continue };
            match view.press(key, &reader.model().metrics, reader.model().can_pause()) {
                None => {}
                Some(Action::Quit | Action::Interrupt) => break,
                Some(Action::Redraw) => screen.clear()?,
                Some(Action::Pause) => {
                    let file = reader.pause_file();
                    // A request that is there stays as it is.
                    if let Err(cause) = File::create_new(&file)
                        && cause.kind() != io::ErrorKind::AlreadyExists
                    {
                        reader.tell_once(&format!("cannot write {}: {cause}", file.display()));
                    }
                    looked = None;
                }
            }
        }
        Ok(())
    }

    /// The picture of this moment as text: so many rows of at most so many columns, without colours.
    ///
    /// ```
    /// use regimen_dashboard::Watch;
    ///
    /// let frame = Watch::new("runs/none").frame(80, 24);
    /// assert!(frame.starts_with(" runs/none"));
    /// ```
    #[must_use]
    pub fn frame(&self, columns: u16, rows: u16) -> String {
        let mut reader = Reader::of(&self.dir);
        reader.look(SystemTime::now());
        let look = Look { has_colour: false, ..Look::of_environment() };
        picture(reader.model(), &View::default(), look, columns, rows)
            .map(|picture| text(&picture))
            .unwrap_or_default()
    }
}

/// The picture as a terminal of this size shows it. `None` if it cannot be made, which does not happen: a picture in
/// memory has no errors.
pub(crate) fn picture(model: &Model, view: &View, look: Look, columns: u16, rows: u16) -> Option<Buffer> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).ok()?;
    terminal.draw(|frame| draw(model, view, look, frame)).ok()?;
    Some(terminal.backend().buffer().clone())
}

/// The rows of a picture, each with a line feed.
pub(crate) fn text(picture: &Buffer) -> String {
    let columns = usize::from(picture.area.width).max(1);
    let rows =
        picture.content.chunks(columns).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned() + "\n").collect()
}
