//! Tables: what is read as it stands, and what is refused with its place.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::fs;
use std::path::Path;

use regimen::data::{Csv, Dataset};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Size {
    length: f32,
    width: f32,
}

fn size(length: f32, width: f32) -> Size {
    Size { length, width }
}

fn rows<T: DeserializeOwned + Clone + Send + Sync>(csv: &Csv) -> Result<Vec<T>, String> {
    let records = csv.read().map_err(|error| error.to_string())?;
    Ok((0..records.len()).map(|index| records.get(index).unwrap()).collect())
}

/// The rows of a file that holds `bytes`, read as `set` says; an error without the file's name.
fn read<T: DeserializeOwned + Clone + Send + Sync>(
    bytes: &[u8],
    set: impl Fn(Csv) -> Csv,
) -> Result<Vec<T>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    fs::write(&path, bytes).unwrap();
    rows(&set(Csv::new(&path)))
        .map_err(|error| error.strip_prefix(&format!("file `{}`: ", path.display())).unwrap().to_owned())
}

fn plain(csv: Csv) -> Csv {
    csv
}

#[test]
fn a_struct_takes_its_columns_by_name_whatever_the_other_names_are() {
    let check = |bytes: &[u8]| assert_eq!(read::<Size>(bytes, plain), Ok(vec![size(5.1, 3.5)]));
    check(b"length,width\n5.1,3.5\n");
    check(b"width,length,gr\xf6\xdfe\n3.5,5.1,9\n");
    check(b"width,,length,\n3.5,1,5.1,2\n");
    check(b"\xef\xbb\xbfwidth,length\r\n3.5,5.1\r\n");
    check(b"\xef\xbb\xbf\"width\",\"length\"\r\n3.5,5.1");
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_text_is_no_empty_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, expected: &str| {
        let error = rows::<Size>(&Csv::new(path)).unwrap_err();
        let place = format!("file `{}`: ", path.display());
        assert!(error.starts_with(&place) && error.contains(expected), "{error}");
    };
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        refused(&path, expected);
    };
    refused(folder.path(), "directory");
    refused(&folder.path().join("none"), "No such file");
    check("plain.csv.gz", b"length,width\n1,2\n", "gzip");
    check("cut.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0", "");
    check("packed.csv", b"\x1f\x8b\x08\0\0\0\0\0", "packed by gzip");
    check("wide.csv", b"\xff\xfea\0,\0b\0\n\0", "UTF-16");
    check("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no text");
    check("image.csv", b"\x89PNG", "not UTF-8");
    check("empty.csv", b"", "no line of names");
    check("empty.csv", b"\n\n", "no line of names");
}

#[test]
fn a_quote_that_never_closes_or_closes_too_early_is_an_error_with_its_line() {
    let check = |text: &str, expected: &str| {
        let error = read::<(u32, String)>(text.as_bytes(), plain).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    };
    let lines: String = (3..1000).map(|id| format!("{id},text\n")).collect();
    check(&format!("id,text\n1,good\n2,\"open\n{lines}"), "line 3: a quote is opened and never closed");
    check("id,\"text\n1,good\n", "line 1: a quote is opened and never closed");
    check("id,text\n1,\"a\nb\"\n2,\"", "line 4: a quote is opened and never closed");
    // Both lines would be one row, and of the right length.
    check("id,text\n2,\"open\n3,\"text\"\n", "line 3: text behind a closing quote");
}

#[test]
fn columns_that_a_type_has_no_place_for_are_an_error() {
    let four = b",length,width,label\n\n0,5.1,3.5,2\n1,4.9,3.0,1\n";
    let expected = "line 3: 4 fields where the type has places for 3";
    let error = read::<(f32, f32, f32)>(four, plain).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
    let error = read::<[f32; 3]>(four, plain).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
    assert!(read::<f32>(four, plain).is_err());
    assert!(read::<Size>(b"5.1,3.5,2\n", Csv::without_header).is_err());
    // A struct says by its names which columns it wants.
    assert_eq!(read(four, plain), Ok(vec![size(5.1, 3.5), size(4.9, 3.0)]));
    assert_eq!(read(four, plain), Ok(vec![(0, [5.1_f32, 3.5], 2), (1, [4.9, 3.0], 1)]));
}

#[test]
fn a_list_inside_a_struct_does_not_take_the_columns_behind_its_own() {
    #[derive(Clone, Debug, Deserialize, PartialEq)]
    struct Pair {
        sides: [f32; 2],
        label: u8,
    }
    // By position the label would be 4.
    let error = read::<Pair>(b"sides,label,rest\n1,2,4\n", plain).unwrap_err();
    assert!(error.starts_with("line 2: "), "{error}");
}
