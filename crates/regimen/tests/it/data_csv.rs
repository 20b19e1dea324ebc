//! Tables: rows that are read unchanged, and rows that are refused with their place.
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
    Ok((0..records.len()).map(|index| records.sample(index).unwrap()).collect())
}

/// The rows of a file of `bytes`, read with `set`; an error without the file's name.
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
        assert_eq!(error, format!("file `{}`: {expected}", path.display()));
    };
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        refused(&path, expected);
    };
    refused(folder.path(), "Is a directory (os error 21)");
    refused(&folder.path().join("none"), "No such file or directory (os error 2)");
    check("plain.csv.gz", b"length,width\n1,2\n", "invalid gzip header");
    check("cut.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0", "unexpected end of file");
    check("packed.csv", b"\x1f\x8b\x08\0\0\0\0\0", "packed by gzip; a table that is must be called `.gz`");
    check("wide.csv", b"\xff\xfea\0,\0b\0\n\0", "text in UTF-16; save it as UTF-8");
    check("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 3: a zero byte; this is no text");
    check(
        "image.csv",
        b"\x89PNG",
        "the names of columns are not UTF-8, and nothing else is there; is this a table?",
    );
    check("empty.csv", b"", "there is no line of names; is it empty, or `without_header`?");
    check("empty.csv", b"\n\n", "there is no line of names; is it empty, or `without_header`?");
}

#[test]
fn a_quote_that_never_closes_or_closes_too_early_is_an_error_with_its_line() {
    let check = |text: &str, expected: &str| {
        let error = read::<(u32, String)>(text.as_bytes(), plain).unwrap_err();
        assert_eq!(error, expected);
    };
    let lines: String = (3..1000).map(|id| format!("{id},text\n")).collect();
    check(&format!("id,text\n1,good\n2,\"open\n{lines}"), "line 3: a quote is opened and never closed");
    check("id,\"text\n1,good\n", "line 1: a quote is opened and never closed");
    check("id,text\n1,\"a\nb\"\n2,\"", "line 4: a quote is opened and never closed");
    // Both lines would be one row, and of the right length.
    check(
        "id,text\n2,\"open\n3,\"text\"\n",
        "line 3: text behind a closing quote, of a field that begins in line 2",
    );
}

#[test]
fn columns_that_a_type_has_no_place_for_are_an_error() {
    let four = b",length,width,label\n\n0,5.1,3.5,2\n1,4.9,3.0,1\n";
    let expected = "line 3: 4 fields where the type has places for 3; name those it wants in a struct, or end a tuple in a `Vec`";
    let error = read::<(f32, f32, f32)>(four, plain).unwrap_err();
    assert_eq!(error, expected);
    let error = read::<[f32; 3]>(four, plain).unwrap_err();
    assert_eq!(error, expected);
    assert!(read::<f32>(four, plain).is_err());
    assert!(read::<Size>(b"5.1,3.5,2\n", Csv::without_header).is_err());
    // A struct selects columns by its names.
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
    assert_eq!(error, "line 2: invalid length 1, expected an array of length 2");
}

#[test]
fn tables_are_split_as_python_splits_them() {
    type Rows = Vec<Vec<String>>;
    let cases = include_str!("../reference/tables.json");
    let cases: Vec<(String, char, Option<Rows>)> = serde_json::from_str(cases).unwrap();
    let mut compared = 0;
    for (text, delimiter, expected) in cases {
        let found = read(text.as_bytes(), |csv| csv.without_header().delimiter(delimiter as u8));
        // An empty row of Python is an empty line, and ragged rows are an error here.
        let expected = expected.map(|rows| rows.into_iter().filter(|row| !row.is_empty()).collect::<Rows>());
        let even = expected.filter(|rows| rows.iter().all(|row| row.len() == rows[0].len()));
        compared += usize::from(even.is_some());
        assert_eq!(found.ok(), even, "{text:?}");
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn what_a_file_has_beyond_the_common_is_an_option() {
    type Row = (f32, Option<f32>, String);
    let check = |bytes: &[u8], set: &dyn Fn(Csv) -> Csv, row: (f32, Option<f32>, &str)| {
        let (first, second, third) = row;
        assert_eq!(read::<Row>(bytes, set), Ok(vec![(first, second, third.to_owned())]));
    };
    check(b"a,b,c\n1,,x\n", &plain, (1.0, None, "x"));
    check(b"1;2;x\n", &|csv| csv.without_header().delimiter(b';'), (1.0, Some(2.0), "x"));
    check(b"# of a, \"b\n\n#\na,b,c\n#1,2,3\n1,2,#\n#", &|csv| csv.comment(b'#'), (1.0, Some(2.0), "#"));
    check(b" a , b,c \n 1 ,\t2, \" x, y \" \n", &Csv::trimmed, (1.0, Some(2.0), "x, y"));
    check(b"a\tb\tc\n 1\t \t x \n", &|csv| csv.delimiter(b'\t').trimmed(), (1.0, None, "x"));
    check(b"a,b,c\n1,2, x\n", &plain, (1.0, Some(2.0), " x"));
    check(b"a,b,c\n1,?,NA\n", &|csv| csv.missing(["NA", "?"]), (1.0, None, "NA"));
    check(b"a;b;c\n-1,5;2,5e1;1,5\n", &|csv| csv.delimiter(b';').decimal_comma(), (-1.5, Some(25.0), "1,5"));
    check(b"a,b,c\n\"1,5\",2,x\n", &Csv::decimal_comma, (1.5, Some(2.0), "x"));
    check(b"a,b,c\n1,2,gr\xf6\xdfer\n", &Csv::latin1, (1.0, Some(2.0), "gr\u{f6}\u{df}er"));
}

#[test]
fn a_name_in_latin_1_can_be_asked_for() {
    #[derive(Clone, Debug, Deserialize, PartialEq)]
    struct Row {
        #[serde(rename = "gr\u{f6}\u{df}e")]
        size: u8,
    }
    assert_eq!(read(b"a,gr\xf6\xdfe\n1,2\n", Csv::latin1), Ok(vec![Row { size: 2 }]));
    let error = read::<Row>(b"a,gr\xf6\xdfe\n1,2\n", plain).unwrap_err();
    assert_eq!(error, "line 2: missing field `gr\u{f6}\u{df}e`");
}

#[test]
fn a_tuple_takes_the_columns_in_order_and_a_vector_the_rest() {
    let rows = read::<(u8, Vec<f32>)>(b"7,0.5,1\n8,2,3\n", Csv::without_header);
    assert_eq!(rows, Ok(vec![(7, vec![0.5, 1.0]), (8, vec![2.0, 3.0])]));
    assert_eq!(read(b"7,x,1\n", Csv::without_header), Ok(vec![(7, (), 1)]));
    let endless = read::<Vec<[u8; 0]>>(b"7,x,1\n", Csv::without_header);
    assert_eq!(endless, Err("line 1: a part of the type takes no field".to_owned()));
}

#[test]
fn other_types_take_what_they_took() {
    use std::collections::BTreeMap;
    #[derive(Clone, Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Species {
        Setosa,
    }
    #[derive(Clone, Debug, Deserialize, PartialEq)]
    struct Flower {
        #[serde(flatten)]
        size: Size,
        species: Option<Species>,
    }
    let flower = Flower { size: size(5.1, 3.5), species: Some(Species::Setosa) };
    assert_eq!(read(b"width,species,length\n3.5,setosa,5.1\n", plain), Ok(vec![flower]));
    assert_eq!(
        read(b"a,b\n1,2\n", plain),
        Ok(vec![BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)])])
    );
}

#[test]
fn a_record_that_does_not_fit_is_named_by_its_line() {
    let check = |text: &str, set: &dyn Fn(Csv) -> Csv, expected: &str| {
        let error = read::<(u8, f32)>(text.as_bytes(), set).unwrap_err();
        assert_eq!(error, expected);
    };
    check("a,b\n1,2\n3,4\n5\n", &plain, "line 4: 1 fields where line 1 has 2");
    check("a,b\n\n#\n1,2,3\n", &|csv| csv.comment(b'#'), "line 4: 3 fields where line 1 has 2");
    check("a\n1\n", &plain, "line 2: invalid length 1, expected a tuple of size 2");
    check("a,b\r\n\r\n1,x\r\n", &plain, "line 3: column 2 (`b`): `x`: invalid float literal");
    check("300,1\n", &Csv::without_header, "line 1: column 1: `300`: number too large to fit in target type");
    check(
        "a,b\n1, 2\n",
        &plain,
        "line 2: column 2 (`b`): ` 2`: invalid float literal; `trimmed` takes spaces away",
    );
    check(
        "a;b\n1;2,5\n",
        &|csv| csv.delimiter(b';'),
        "line 2: column 2 (`b`): `2,5`: invalid float literal; see `decimal_comma`",
    );
    check("a,b\n1,\n", &plain, "line 2: column 2 (`b`): `` is a missing value, which takes an `Option`");
    check(
        "a,b\n1,nan\n",
        &|csv| csv.missing(["nan"]),
        "line 2: column 2 (`b`): `nan` is a missing value, which takes an `Option`",
    );
    check(
        "a;b\n1;1.234\n",
        &|csv| csv.delimiter(b';').decimal_comma(),
        "line 2: column 2 (`b`): `1.234` has a point, and the decimal sign is a comma",
    );
    check(
        "a;b\n1;1,2,3\n",
        &|csv| csv.delimiter(b';').decimal_comma(),
        "line 2: column 2 (`b`): `1,2,3`: invalid float literal",
    );
    check(
        "a,b\n1,2\n",
        &|csv| csv.delimiter(b'"'),
        "the delimiter '\"' cannot be used with the comment mark None",
    );
    check(
        "a,b\n1,2\n",
        &|csv| csv.comment(b','),
        "the delimiter ',' cannot be used with the comment mark Some(',')",
    );
}

#[test]
fn an_encoding_that_is_another_is_an_error() {
    let check = |bytes: &[u8], set: &dyn Fn(Csv) -> Csv, expected: &str| {
        let error = read::<(u8, String)>(bytes, set).unwrap_err();
        assert_eq!(error, expected);
    };
    check(
        b"a,b\n1,gr\xf6n\n",
        &plain,
        "line 2: column 2 (`b`): `gr\u{fffd}n` is not UTF-8 (invalid utf-8 sequence of 1 bytes from index 2); is the file `latin1`?",
    );
    check(b"a,b\n1,\x80\n", &Csv::latin1, "line 2: byte 0x80 is no letter of Latin-1; is it Windows-1252?");
    check(
        b"\xef\xbb\xbfa,b\n1,2\n",
        &Csv::latin1,
        "text in UTF-8 with a byte order mark; read it without `latin1`",
    );
    check(b"a,b\n1,x\0y\n", &plain, "line 2: a zero byte; this is no text");
}

#[test]
fn two_columns_of_one_name_are_an_error_where_one_would_be_lost() {
    use std::collections::BTreeMap;
    let text = b"length,width,x,x\n5.1,3.5,1,2\n";
    assert_eq!(read(text, plain), Ok(vec![size(5.1, 3.5)]));
    assert_eq!(
        read::<BTreeMap<String, f32>>(text, plain),
        Err("line 2: two columns are called `x`".to_owned())
    );
    let error = read::<Size>(b"length,width,width\n5.1,3.5,1\n", plain).unwrap_err();
    assert_eq!(error, "line 2: duplicate field `width`");
}
