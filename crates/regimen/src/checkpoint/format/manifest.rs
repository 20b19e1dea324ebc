//! The manifest: the last file of a checkpoint to be written, and the record that it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use regimen_core::BoxError;
use regimen_core::text::Count;

use super::limits::{MAX_MANIFEST, check_count, check_run};
use super::piece::{Piece, check_file, part_of};

/// The content of a checkpoint's `MANIFEST`: its run, counts, metrics and parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The run that wrote it.
    pub run: String,
    /// Its number among the saves in its directory, from 1. The greatest is the newest: a run that
    /// went back to an earlier step saves lower steps later.
    pub save: u64,
    /// Completed steps of training.
    pub step: u64,
    /// Completed epochs of training.
    pub epoch: u64,
    /// Whether a run may go on from it. One that was saved on an error is for the post-mortem only.
    pub resumable: bool,
    /// The values measured at this very step, by the metric's name.
    pub metrics: BTreeMap<String, f64>,
    /// Its files by name. Each is a part or, of a part in [pieces](crate::checkpoint::Checkpointer::every_rank_writes), a
    /// piece such as `optimizer@00002-of-00003`.
    pub parts: BTreeMap<String, PartFile>,
}

/// The file of one part of a checkpoint, or of one piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFile {
    /// The file's length in bytes.
    pub length: u64,
    /// The CRC-32 of its bytes.
    pub checksum: u32,
}

/// The name of the manifest's file.
pub(crate) const FILE: &str = "MANIFEST";
/// The newest format that is written and read.
const FORMAT: &str = "1";
/// The words before a metric's value: for a plain name, and for one that is written as JSON.
const METRIC: &str = "metric";
const METRIC_JSON: &str = "metric-json";

impl Manifest {
    /// The names of its parts: one for all pieces of a part.
    pub fn part_names(&self) -> BTreeSet<&str> {
        self.parts.keys().map(|name| part_of(name)).collect()
    }

    /// The names of the checkpoint's files in its directory, `MANIFEST` last.
    pub fn file_names(&self) -> impl Iterator<Item = String> {
        self.parts.keys().map(|name| part_file(name)).chain([FILE.to_owned()])
    }

    /// The names of the files of a part: one, or one for each piece. Empty if no part has that name.
    pub(crate) fn files_of<'m>(&'m self, part: &'m str) -> impl Iterator<Item = &'m str> {
        self.parts.keys().map(|name| &**name).filter(move |name| part_of(name) == part)
    }

    /// Returns an error unless each part is whole: one file, or all pieces of one number of ranks.
    fn check_whole(&self) -> Result<(), BoxError> {
        let mut found = BTreeMap::<&str, (u64, u64)>::new();
        for name in self.parts.keys() {
            check_file(name)?;
            let piece = Piece::parse(name).unwrap_or(Piece { part: name, number: 1, count: 1 });
            let (count, pieces) = found.entry(piece.part).or_insert((piece.count, 0));
            // A whole part and a single piece of it are two for one.
            *pieces += 1;
            if *count != piece.count {
                return Err(format!(
                    "the part `{}` is in pieces of {count} and of {} ranks",
                    piece.part, piece.count
                )
                .into());
            }
        }
        match found.iter().find(|(_, (count, pieces))| count != pieces) {
            None => Ok(()),
            Some((part, (count, pieces))) => {
                Err(format!("the part `{part}` has {pieces} of {}", Count(*count, "piece")).into())
            }
        }
    }

    /// The file's text. It is an error if [`parse`](Manifest::parse) would not read it.
    pub(crate) fn render(&self) -> Result<String, BoxError> {
        let Manifest { run, save, step, epoch, .. } = self;
        check_run(run)?;
        check_count("save", *save).and(check_count("step", *step)).and(check_count("epoch", *epoch))?;
        let resumable = if self.resumable { "yes" } else { "no" };
        let mut text = format!("regimen checkpoint {FORMAT}\nrun {run}\nsave {save}\nstep {step}\n");
        write!(text, "epoch {epoch}\nresumable {resumable}\n")?;
        for (name, value) in &self.metrics {
            match name.contains(char::is_control) {
                false => writeln!(text, "{METRIC} {value:?} {name}")?,
                true => writeln!(text, "{METRIC_JSON} {value:?} {}", in_one_line(name)?)?,
            }
        }
        self.check_whole()?;
        for (name, PartFile { length, checksum }) in &self.parts {
            writeln!(text, "part {length} {checksum:08x} {name}")?;
        }
        let checksum = crc32fast::hash(text.as_bytes());
        writeln!(text, "checksum {checksum:08x}")?;
        if MAX_MANIFEST < text.len() as u64 {
            let (length, metrics, parts) = (text.len(), self.metrics.len(), self.parts.len());
            return Err(format!(
                "{metrics} metrics and {parts} parts make {length} bytes, and {MAX_MANIFEST} are the most that \
                 a manifest may have; log fewer metrics, or under shorter names"
            )
            .into());
        }
        Ok(text)
    }

    /// Reads the file's text. There is one text for each manifest, and any other is an error.
    pub(crate) fn parse(text: &[u8]) -> Result<Manifest, BoxError> {
        let text = std::str::from_utf8(text)?;
        let format = text.lines().next().and_then(|line| line.strip_prefix("regimen checkpoint "));
        let format = format.ok_or("it does not begin as a manifest does")?;
        if format != FORMAT {
            let format: String = format.chars().take(20).collect();
            return Err(format!("format {format} is not known; this version reads format {FORMAT}").into());
        }
        let whole = text.strip_suffix('\n').and_then(|text| text.rsplit_once("\nchecksum "));
        let (body, checksum) = whole.ok_or("it does not end with its checksum")?;
        let found = crc32fast::hash(&text.as_bytes()[..body.len() + 1]);
        if format!("{found:08x}") != checksum {
            return Err("it does not match its own checksum".into());
        }
        let manifest = Manifest::parse_body(body).ok_or("its lines are not those of a manifest")?;
        if manifest.render()? != text {
            return Err("its lines are not written as those of a manifest are".into());
        }
        Ok(manifest)
    }

    fn parse_body(body: &str) -> Option<Manifest> {
        let mut lines = body.lines().skip(1).map(|line| line.split_once(' ').unwrap_or((line, "")));
        let mut field = |name| lines.next().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let mut manifest = Manifest {
            run: field("run")?.to_owned(),
            save: field("save")?.parse().ok()?,
            step: field("step")?.parse().ok()?,
            epoch: field("epoch")?.parse().ok()?,
            resumable: field("resumable")? == "yes",
            metrics: BTreeMap::new(),
            parts: BTreeMap::new(),
        };
        for (key, value) in lines {
            let (first, rest) = value.split_once(' ')?;
            if key == METRIC {
                manifest.metrics.insert(rest.to_owned(), first.parse().ok()?);
            } else if key == METRIC_JSON {
                manifest.metrics.insert(serde_json::from_str(rest).ok()?, first.parse().ok()?);
            } else {
                let (checksum, name) = rest.split_once(' ')?;
                let checksum = u32::from_str_radix(checksum, 16).ok()?;
                manifest.parts.insert(name.to_owned(), PartFile { length: first.parse().ok()?, checksum });
            }
        }
        Some(manifest)
    }
}

/// The name of the file of the part called `name`.
pub(crate) fn part_file(name: &str) -> String {
    format!("{name}.safetensors")
}

/// `name` as a JSON string without any control character.
fn in_one_line(name: &str) -> Result<String, BoxError> {
    let mut line = String::new();
    // JSON escapes those of ASCII but for DEL.
    for char in serde_json::to_string(name)?.chars() {
        match char.is_control() {
            false => line.push(char),
            true => write!(line, "\\u{:04x}", u32::from(char))?,
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regimen_core::saved::MAX_COUNT;

    use super::*;

    const TEXT: &str = "regimen checkpoint 1\nrun r-1\nsave 2\nstep 30\nepoch 4\nresumable no\n\
        metric 0.25 eval/loss\npart 16 00c0ffee module\n";

    fn signed(text: &str) -> String {
        format!("{text}checksum {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    #[test]
    fn a_manifest_is_read_as_it_is_written() {
        let manifest = Manifest::parse(signed(TEXT).as_bytes()).unwrap();
        assert_eq!((&*manifest.run, manifest.save, manifest.step), ("r-1", 2, 30));
        assert_eq!((manifest.epoch, manifest.resumable), (4, false));
        assert_eq!(manifest.metrics, [("eval/loss".to_owned(), 0.25)].into());
        assert_eq!(
            manifest.parts,
            [("module".to_owned(), PartFile { length: 16, checksum: 0xc0ffee })].into()
        );
    }

    /// Checks that the manifest is refused when `from` is `to`, rightly signed or not at all.
    fn check_refused(from: &str, to: &str, message: &str) {
        assert!(TEXT.contains(from));
        let error = Manifest::parse(signed(&TEXT.replacen(from, to, 1)).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        let error = Manifest::parse(signed(TEXT).replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message) || error == "it does not match its own checksum", "{error}");
    }

    #[test]
    fn what_is_written_otherwise_is_refused_however_well_signed() {
        let (lines, spelling) = ("its lines are not those of", "its lines are not written as");
        check_refused("step 30", "step 030", spelling);
        check_refused("step 30", "step +30", spelling);
        check_refused("step 30", "step 30 ", lines);
        check_refused("step 30", "step 18446744073709551616", lines);
        check_refused("resumable no", "resumable maybe", spelling);
        check_refused("metric 0.25", "metric 0.250", spelling);
        check_refused("part 16", "port 16", spelling);
        check_refused("part 16", "part 16 00000000 z\npart 16", spelling);
        check_refused("00c0ffee", "c0ffee", spelling);
        check_refused("module\n", "module\n\n", spelling);
        check_refused("module", "../module", "cannot be the name of a file");
        check_refused("metric 0.25 eval/loss", "metric-json 0.25 \"eval/loss\"", spelling);
        check_refused("metric 0.25 eval/loss", "metric-json 0.25 \"a\\u000D\"", spelling);
        check_refused("metric 0.25 eval/loss", "metric-json 0.25 \"a", lines);
        for count in ["9007199254740993", "18446744073709551615"] {
            let message = format!("{count} is more than 9007199254740992, which no run comes to");
            check_refused("save 2", &format!("save {count}"), &format!("save {message}"));
            check_refused("step 30", &format!("step {count}"), &format!("step {message}"));
            check_refused("epoch 4", &format!("epoch {count}"), &format!("epoch {message}"));
        }
        check_refused("save 2\nstep 30", "step 30\nsave 2", lines);
        check_refused("regimen", "regime", "it does not begin as a manifest does");
        check_refused("checkpoint 1", "checkpoint 10", "format 10 is not known");
    }

    #[test]
    fn a_part_in_pieces_has_all_of_them() {
        let with = |lines: &str| {
            Manifest::parse(signed(&TEXT.replace("part 16 00c0ffee module\n", lines)).as_bytes())
        };
        let two = "part 1 00000000 a@00001-of-00002\npart 2 00000000 a@00002-of-00002\n";
        let manifest = with(&format!("{two}part 3 00000000 b\n")).unwrap();
        assert_eq!(manifest.part_names(), ["a", "b"].into());
        assert_eq!(manifest.files_of("a").collect::<Vec<_>>(), ["a@00001-of-00002", "a@00002-of-00002"]);
        assert_eq!(manifest.files_of("b").collect::<Vec<_>>(), ["b"]);
        let refused = |lines: &str, message: &str| assert_eq!(with(lines).unwrap_err().to_string(), message);
        refused("part 2 00000000 a@00002-of-00002\n", "the part `a` has 1 of 2 pieces");
        refused("part 2 00000000 a@00001-of-99999\n", "the part `a` has 1 of 99999 pieces");
        refused(&format!("part 3 00000000 a\n{two}"), "the part `a` is in pieces of 1 and of 2 ranks");
        refused("part 3 00000000 a\npart 3 00000000 a@00001-of-00001\n", "the part `a` has 2 of 1 piece");
        refused(
            "part 2 00000000 a@00001-of-00002\npart 2 00000000 a@00003-of-00003\n",
            "the part `a` is in pieces of 2 and of 3 ranks",
        );
    }

    #[test]
    fn a_metric_may_have_any_name_and_takes_one_line() {
        let names = [
            "cat\r",
            "two\nlines",
            "\u{7f}\u{85}\u{9f}\0",
            "\"a\\\t\"",
            "c:\\cat \"1\"",
            "",
            " \u{e9}\u{2028}",
        ];
        let metrics: BTreeMap<String, f64> =
            names.iter().map(|name| ((*name).to_owned(), f64::INFINITY)).collect();
        let manifest = Manifest { metrics, ..Manifest::parse(signed(TEXT).as_bytes()).unwrap() };
        let text = manifest.render().unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("metric")).collect();
        assert_eq!(
            lines,
            [
                "metric inf ",
                "metric inf  \u{e9}\u{2028}",
                r#"metric-json inf "\"a\\\t\"""#,
                r#"metric inf c:\cat "1""#,
                r#"metric-json inf "cat\r""#,
                r#"metric-json inf "two\nlines""#,
                r#"metric-json inf "\u007f\u0085\u009f\u0000""#,
            ]
        );
    }

    #[test]
    fn a_manifest_without_its_checksum_or_with_another_is_refused() {
        let error = Manifest::parse(TEXT.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "it does not end with its checksum");
        let damaged = signed(TEXT).replace("step 30", "step 31");
        let error = Manifest::parse(damaged.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "it does not match its own checksum");
    }

    proptest! {
        #[test]
        fn any_manifest_is_read_as_it_is_written(
            metrics in prop::collection::btree_map("(?s:.{0,9})", any::<f64>(), 0..4),
            parts in prop::collection::btree_map("[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,9}", any::<(u64, u32)>(), 0..4),
            numbers in [0..=MAX_COUNT, 0..=MAX_COUNT, 0..=MAX_COUNT],
            resumable in any::<bool>(),
        ) {
            let part = |(name, (length, checksum))| (name, PartFile { length, checksum });
            let [save, step, epoch] = numbers;
            let parts = parts.into_iter().map(part).collect();
            let manifest = Manifest { run: "r".to_owned(), save, step, epoch, resumable, metrics, parts };
            prop_assert_eq!(Manifest::parse(manifest.render().unwrap().as_bytes()).unwrap(), manifest);
        }
    }
}
