//! The report page.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use regimen::BoxError;
use regimen::text::Count;
use serde::Serialize;

use crate::replace::{Mark, replace};
use crate::{Picture, StoredRun, encode, names};

/// One HTML page that shows and compares runs. It needs no network and no other file.
///
/// The page has a chart per metric, with smoothing, zoom, logarithmic axes, and steps, epochs, samples or time along the
/// horizontal one; a table of the runs with their hyper-parameters; and, per run, checkpoints, notices, pictures, the
/// environment, the times of its parts and the last steps before an error or a pause. A curve of more than [`Curve::MOST`](crate::Curve::MOST)
/// values is drawn from buckets, and the page says how many values each stands for.
///
/// Runs are read one after another, so the memory is that of the largest one.
#[derive(Clone, Debug)]
#[must_use]
pub struct Page {
    folders: Vec<PathBuf>,
    replaces_any: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PageReport {
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Number of runs.
    pub runs: u64,
    /// Values read from their logs.
    pub values: u64,
    /// A sentence per part of a run that is damaged or left out, with the name of the run.
    pub notices: Vec<String>,
}

/// The beginning of each page, by which a page of an earlier call is known.
const MARK: &str = "<!doctype html>\n<!-- regimen report -->\n";
/// Bytes of pictures in a page, and in one run. Others are left out.
const MOST_PICTURES: usize = 8 << 20;
const MOST_PICTURES_OF_RUN: usize = 1 << 20;

const LICENSE: &str = include_str!("page/uplot/LICENSE");
const UPLOT_JS: &str = include_str!("page/uplot/uPlot.iife.min.js");
const UPLOT_CSS: &str = include_str!("page/uplot/uPlot.min.css");
const CSS: &str = include_str!("page/page.css");
const BODY: &str = include_str!("page/body.html");
/// In the order in which they need each other.
const SCRIPTS: [&str; 6] = [
    include_str!("page/data.js"),
    include_str!("page/colour.js"),
    include_str!("page/chart.js"),
    include_str!("page/table.js"),
    include_str!("page/details.js"),
    include_str!("page/page.js"),
];

impl Page {
    /// A page of the runs in `folders`, in this order.
    pub fn new<P: Into<PathBuf>>(folders: impl IntoIterator<Item = P>) -> Self {
        Page { folders: folders.into_iter().map(Into::into).collect(), replaces_any: false }
    }

    /// Replaces a file that is no page of an earlier call. Default: false.
    pub fn replaces_any(mut self, replaces_any: bool) -> Self {
        self.replaces_any = replaces_any;
        self
    }

    /// Writes the page to `file`, which is replaced as a whole if it is such a page already.
    ///
    /// A folder that is missing or no run is an error, and so is another file of that name. Either leaves the file as it was.
    pub fn write(&self, file: impl AsRef<Path>) -> Result<PageReport, BoxError> {
        let file = file.as_ref();
        if self.folders.is_empty() {
            return Err("a report needs a run: give a folder with metrics.jsonl".into());
        }
        let mark = Mark { kind: "report", bytes: MARK.as_bytes(), replaces_any: self.replaces_any };
        replace(file, &mark, |out| self.write_to(file, out))
    }

    fn write_to(&self, file: &Path, out: &mut impl Write) -> Result<PageReport, BoxError> {
        let mut out = Counted { to: out, bytes: 0 };
        let failed = |cause: io::Error| format!("cannot write {}: {cause}", file.display());
        let mut report =
            PageReport { file: file.to_owned(), bytes: 0, runs: 0, values: 0, notices: Vec::new() };
        out.write_all(head().as_bytes()).map_err(failed)?;
        let mut room = MOST_PICTURES;
        for (folder, name) in self.folders.iter().zip(names(&self.folders)) {
            let mut run = StoredRun::read(folder)?;
            let pictures = pictures(&mut run, &mut room);
            report.runs += 1;
            report.values += run.curves.iter().map(|curve| curve.points() + curve.dropped()).sum::<u64>();
            report.notices.extend(run.damage.iter().map(|damage| format!("{name}: {damage}")));
            let data = encode::run(&name, &run, &pictures.iter().collect::<Vec<_>>());
            out.write_all(b"<script type=\"application/json\" class=\"run\">").map_err(failed)?;
            serde_json::to_writer(Escaped(&mut out), &data).map_err(|cause| failed(cause.into()))?;
            out.write_all(b"</script>\n").map_err(failed)?;
        }
        out.write_all(b"<script>\n\"use strict\";\n").map_err(failed)?;
        for script in SCRIPTS {
            out.write_all(script.as_bytes()).map_err(failed)?;
        }
        out.write_all(b"</script>\n</body>\n</html>\n").map_err(failed)?;
        report.bytes = out.bytes;
        Ok(report)
    }
}

fn head() -> String {
    format!(
        "{MARK}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Runs</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{UPLOT_CSS}\n{CSS}</style>\n</head>\n{BODY}\
         <script>\n/* uPlot 1.6.32\n{LICENSE}*/\n{UPLOT_JS}\n</script>\n"
    )
}

/// Takes the pictures of a run as far as there is room, and notes the others.
fn pictures(run: &mut StoredRun, room: &mut usize) -> Vec<Picture> {
    let (mut taken, mut own) = (Vec::new(), MOST_PICTURES_OF_RUN);
    let mut left_out = 0;
    for picture in std::mem::take(&mut run.pictures) {
        let size = picture.png.len();
        if size <= own && size <= *room {
            own -= size;
            *room -= size;
            taken.push(picture);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        run.damage.push(format!("{} left out, as the page would get too large", Count(left_out, "picture")));
    }
    taken
}

/// Counts the bytes.
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Escapes `<` in JSON, where it is a part of texts alone: no text of a run ends the script or begins a comment.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut parts = bytes.split(|byte| *byte == b'<');
        self.0.write_all(parts.next().unwrap_or_default())?;
        for part in parts {
            self.0.write_all(b"\\u003c")?;
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
