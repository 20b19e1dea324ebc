//! The offline run that is written to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Settings;
use super::chunks::{FILE_HEADER, add_chunks};
use super::place::Place;
use super::records::{Items, Record, axis, config, exit, header, history, media_file, number, summary, text};
use crate::BoxError;
use crate::log::Flush;
use crate::log::open_file::{End, OpenFile, failed};
use crate::log::png::png;
use crate::log::protobuf::Message;
use crate::metric::{Histogram, Image, Media};
use crate::state::HyperParameters;
use crate::system::random_bits;
use crate::time::since_1970;

/// The folder of an offline run with its open file.
#[derive(Debug)]
pub(super) struct OpenRun {
    folder: PathBuf,
    file: OpenFile,
    /// Its mark is that of the beginning: the file knows the newest.
    place: Place,
    /// Now less `place.runtime`, in seconds since 1970.
    started: f64,
    /// The end of the file before the exit record, which the next record replaces.
    before_exit: Option<End>,
    has_failed: bool,
}

impl OpenRun {
    /// A new run in `dir`. Without an id it gets a random one.
    pub(super) fn begin(dir: &Path, settings: &Settings, id: Option<&str>) -> Result<Self, BoxError> {
        let (mut now, id) = (since_1970(), id.map_or_else(random_id, str::to_owned));
        let parent = dir.join("wandb");
        fs::create_dir_all(&parent).map_err(|cause| failed(&parent, "create the folder of", cause))?;
        let (place, folder) = loop {
            let place = Place::new(&id, now)?;
            let folder = place.folder(dir);
            match fs::create_dir(&folder) {
                Ok(()) => break (place, folder),
                // A run of the same id began in this second.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => now += Duration::from_secs(1),
                Err(cause) => return Err(failed(&folder, "create the folder of", cause)),
            }
        };
        let mut run = OpenRun {
            file: OpenFile::open(&place.file(dir)?)?,
            folder,
            place,
            started: now.as_secs_f64(),
            before_exit: None,
            has_failed: false,
        };
        run.file.append(&FILE_HEADER)?;
        let [step, others] = axis();
        run.append(&[header(), settings.run(&id, now), step, others])?;
        Ok(run)
    }

    /// The run in `dir` whose place is in a checkpoint. What was written after it is cut off.
    pub(super) fn go_on(dir: &Path, place: Place) -> Result<Self, BoxError> {
        let path = place.file(dir)?;
        let file = OpenFile::go_on(&path, place.mark)?;
        // It says that all of the file is on a server, and a sync would leave the file out.
        let synced = path.with_added_extension("synced");
        match fs::remove_file(&synced) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&synced, "remove the mark of", cause));
            }
            _ => {}
        }
        let started = since_1970().as_secs_f64() - place.runtime;
        Ok(OpenRun { folder: place.folder(dir), file, place, started, before_exit: None, has_failed: false })
    }

    /// The place to go on from, before the exit record.
    pub(super) fn place(&self) -> Place {
        let mark = self.before_exit.as_ref().map_or_else(|| self.file.mark(), End::mark);
        Place { mark, ..self.place.clone() }
    }

    /// Writes the values of one moment, each with its name and as JSON.
    pub(super) fn write(&mut self, step: u64, values: &[(impl AsRef<str>, String)]) -> Result<(), BoxError> {
        self.write_moment(step, values, None)
    }

    /// Writes a text, an image, or a histogram with a number in it.
    pub(super) fn write_media(&mut self, step: u64, name: &str, media: &Media) -> Result<(), BoxError> {
        match media {
            Media::Text(value) => self.write(step, &[(name, text(value))]),
            Media::Image(image) => self.write_image(step, name, image),
            Media::Histogram(histogram) => self.write_histogram(step, name, histogram),
            _ => Ok(()),
        }
    }

    fn write_histogram(&mut self, step: u64, name: &str, histogram: &Histogram) -> Result<(), BoxError> {
        let mut values = Vec::new();
        if !histogram.counts().is_empty() {
            let borders: Vec<_> = histogram.borders().into_iter().map(number).collect();
            let (counts, borders) = (histogram.counts(), borders.join(","));
            let json = format!(r#"{{"_type":"histogram","values":{counts:?},"bins":[{borders}]}}"#);
            values.push((name.to_owned(), json));
        }
        if histogram.not_finite() > 0 {
            values.push((format!("{name}/nonfinite"), histogram.not_finite().to_string()));
        }
        if values.is_empty() { Ok(()) } else { self.write(step, &values) }
    }

    /// Writes the picture beside the file, and its path into the history.
    fn write_image(&mut self, step: u64, name: &str, image: &Image) -> Result<(), BoxError> {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let short: String = name.chars().take(100).map(safe).collect();
        // The count makes it the only one of its name.
        let path = format!("media/images/{short}_{}.png", self.place.history);
        let file = self.folder.join("files").join(&path);
        let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let mut open = File::create(&file)?;
            open.write_all(&png(image)?)?;
            open.sync_data()
        });
        made.map_err(|cause| failed(&file, "write an image of", cause))?;
        let (width, height) = (image.width(), image.height());
        // Python's wandb writes a list of images so; that of a single one needs its SHA-256.
        let json = format!(
            r#"{{"_type":"images/separated","width":{width},"height":{height},"format":"png","count":1,"filenames":["{path}"]}}"#
        );
        self.write_moment(step, &[(name, json)], Some(media_file(&path)))
    }

    fn write_moment(
        &mut self,
        step: u64,
        values: &[(impl AsRef<str>, String)],
        file: Option<Record>,
    ) -> Result<(), BoxError> {
        let (now, count) = (since_1970().as_secs_f64(), self.place.history);
        let runtime = (now - self.started).max(self.place.runtime);
        let mut items = Items::default();
        items.add(OWN[0], &count.to_string());
        items.add(OWN[1], &format!("{now:.6}"));
        items.add(OWN[2], &format!("{runtime:.6}"));
        items.add(OWN[3], &step.to_string());
        for (name, json) in values {
            let name = name.as_ref();
            if OWN.contains(&name) {
                return Err(format!(
                    "W&B has a value `{name}` of its own; give the metric another name, or leave it out with \
                     `MetricLog::only`"
                )
                .into());
            }
            items.add(name, json);
        }
        let records: Vec<_> = file.into_iter().chain([history(count, &items), summary(&items)]).collect();
        self.append(&records)?;
        (self.place.history, self.place.runtime) = (count + 1, runtime);
        Ok(())
    }

    /// Writes the hyper-parameters, unless they are in the file.
    pub(super) fn configure(&mut self, settings: &HyperParameters) -> Result<(), BoxError> {
        let config = config(settings);
        let checksum = crc32fast::hash(config.content.as_bytes());
        if checksum != self.place.config {
            self.append(&[config])?;
            self.place.config = checksum;
        }
        Ok(())
    }

    /// Ends it, if it has not ended, and makes it durable.
    pub(super) fn end(&mut self) -> Result<(), BoxError> {
        if self.before_exit.is_none() {
            let (end, records) = (self.file.end(), self.place.records);
            self.append(&[exit(self.has_failed.into(), self.place.runtime as u64)])?;
            self.before_exit = Some(end);
            self.place.records = records;
        }
        self.sync()
    }

    /// Ends it after a training.
    pub(super) fn end_training(&mut self, has_failed: bool) -> Result<(), BoxError> {
        self.take_back_exit()?;
        self.has_failed = has_failed;
        self.end()
    }

    /// Makes it durable.
    pub(super) fn sync(&mut self) -> Result<(), BoxError> {
        self.file.sync()
    }

    /// The work that makes it durable.
    pub(super) fn sync_later(&mut self) -> Result<Option<Flush>, BoxError> {
        self.file.sync_later()
    }

    /// Adds records to the file: all of them or, if it returns an error, none.
    fn append(&mut self, records: &[Record]) -> Result<(), BoxError> {
        self.take_back_exit()?;
        let (mut bytes, mut count) = (Vec::new(), self.place.records);
        for Record { field, content } in records {
            count += 1;
            let record = Message::new().varint(1, count).bytes(*field, content.as_bytes());
            add_chunks(record.as_bytes(), self.file.length(), &mut bytes);
        }
        self.file.append(&bytes)?;
        self.place.records = count;
        Ok(())
    }

    fn take_back_exit(&mut self) -> Result<(), BoxError> {
        if let Some(end) = &self.before_exit {
            self.file.take_back(end)?;
        }
        self.before_exit = None;
        Ok(())
    }
}

/// The values of each moment beside the metrics: the count of moments, the time in seconds since 1970,
/// the duration of the run in seconds, and the training step.
const OWN: [&str; 4] = ["_step", "_timestamp", "_runtime", "step"];

/// Eight letters and digits.
fn random_id() -> String {
    let mut number = random_bits();
    let mut digit = || {
        let digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        char::from(digit)
    };
    (0..8).map(|_| digit()).collect()
}
