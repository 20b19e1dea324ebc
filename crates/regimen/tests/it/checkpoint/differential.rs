//! Our reader of safetensors accepts the same files as the `safetensors` crate.

use proptest::prelude::*;
use regimen::checkpoint::safetensors::decode;

use super::safetensors::{any_dict, ours, theirs};

/// Whether both readers accept the file `bytes`, and as the same arrays.
fn compare(bytes: &[u8]) -> Result<(), String> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    match (decode(&mut &*bytes, bytes.len() as u64), theirs(bytes)) {
        (Ok(ours), Ok(theirs)) if ours == theirs => Ok(()),
        (Ok(ours), Ok(theirs)) => Err(format!("{ours:?} and {theirs:?} of {}", shown())),
        (Err(_), Err(_)) => Ok(()),
        // Ours is stricter in one thing: of two arrays under one name, theirs takes the last.
        (Err(why), Ok(_)) if why.to_string().contains("two arrays are named") => Ok(()),
        (Err(why), Ok(_)) => Err(format!("only theirs reads {}: {why}", shown())),
        (Ok(_), Err(why)) => Err(format!("only ours reads {}: {why}", shown())),
    }
}

/// A file of a header and so many bytes of arrays.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 7);
    bytes
}

/// One of these.
fn one_of(texts: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    prop::sample::select(texts.to_vec())
}

/// Texts in the place of a JSON value.
const VALUES: [&str; 14] = [
    "null",
    "true",
    "1",
    "-1",
    "1.0",
    "1e999",
    "-0",
    "\"a\"",
    "\"\\ud800\"",
    "[]",
    "[0,[1e999]]",
    "{\"b\":1}",
    "{}",
    "",
];

/// One entry of a header: an array of at most eight bytes at the beginning, more or less.
fn entry() -> impl Strategy<Value = String> {
    let name = one_of(&["\"a\"", "\"b\"", "\"__metadata__\"", "\"\"", "\"\\u0061\"", "1"]);
    let dtype = one_of(&[
        "\"F32\"",
        "\"U8\"",
        "\"BOOL\"",
        "\"F64\"",
        "\"F8_E4M3\"",
        "\"F4\"",
        "\"\\u00468\"",
        "\"f32\"",
        "3",
    ]);
    let shape = one_of(&[
        "[]",
        "[1]",
        "[2]",
        "[0]",
        "[4,1]",
        "[4611686018427387904,0]",
        "[0,18446744073709551615,2]",
        "[18446744073709551615]",
        "[1.0]",
        "[-1]",
        "null",
        "4",
    ]);
    let offsets = one_of(&[
        "[0,4]",
        "[0,1]",
        "[0,8]",
        "[0,0]",
        "[4,8]",
        "[4,4]",
        "[4,0]",
        "[0]",
        "[0,4,4]",
        "[-0,4]",
        "null",
        "[0,18446744073709551615]",
    ]);
    let extra = prop_oneof![4 => Just(String::new()), 1 => one_of(&VALUES).prop_map(|v| format!(",\"more\":{v}")),
        1 => Just(",\"dtype\":\"F32\"".to_owned())];
    let info =
        (dtype, shape, offsets, extra, 0..8_u8).prop_map(|(dtype, shape, offsets, extra, form)| match form {
            0 => format!("[{dtype},{shape},{offsets}]"),
            1 => format!("[{dtype},{shape},{offsets},1]"),
            2 => format!("{{\"shape\":{shape},\"dtype\":{dtype}{extra}}}"),
            _ => format!("{{\"data_offsets\":{offsets},\"dtype\":{dtype},\"shape\":{shape}{extra}}}"),
        });
    let value = prop_oneof![6 => info, 1 => one_of(&VALUES).prop_map(str::to_owned),
        1 => one_of(&["{\"k\":\"v\"}", "{\"k\":\"v\",\"k\":\"w\"}", "{\"k\":null}"]).prop_map(str::to_owned)];
    (name, value).prop_map(|(name, value)| format!("{name}:{value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_header_made_of_right_and_wrong_pieces_is_read_alike(
        entries in prop::collection::vec(entry(), 0..4),
        around in one_of(&["{}", "{} ", " {}", "{}x", "[]", "\u{feff}{}", "{}\u{0}"]),
        data in one_of(&["0", "1", "4", "8", "12"]),
    ) {
        let header = around.replace("{}", &format!("{{{}}}", entries.join(",")));
        compare(&file(&header, data.parse().unwrap())).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_file_with_bytes_changed_cut_off_or_added_is_read_alike(
        dict in any_dict(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(),
            prop::sample::select(b"0123456789,:[]{}\" \\-".to_vec()),
        ]), 0..3),
        end in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.1),
        added in prop::collection::vec(any::<u8>(), 0..2),
    ) {
        let mut bytes = ours(&dict);
        bytes.extend(added);
        if cut {
            bytes.truncate(end.index(bytes.len() + 1));
        }
        for (at, byte) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        compare(&bytes).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn what_one_reader_took_and_the_other_did_not_is_read_alike() {
    let one = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let taken = [
        // Possible additions of a later version of the format.
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"crc":[1,{"x":null}]}}"#.to_owned(), 4),
        (format!(r#"{{"__metadata__":null,"a":{one}}}"#), 4),
        (r#"{"a":{"dtype":"F64","shape":[4611686018427387904,0],"data_offsets":[0,0]}}"#.to_owned(), 0),
        (r#"{"a":["F32",[1],[0,4]]}"#.to_owned(), 4),
    ];
    let refused = [
        (format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},"a":{one}}}"#), 4),
        (one.replace('}', r#","more":1e999}"#).replace('{', r#"{"a":{"#) + "}", 4),
        (r#"{"a":["F32",[1],[0,4],0]}"#.to_owned(), 4),
    ];
    for (header, data) in taken {
        let bytes = file(&header, data);
        compare(&bytes).unwrap();
        assert!(theirs(&bytes).is_ok(), "{header}");
    }
    for (header, data) in refused {
        let bytes = file(&header, data);
        compare(&bytes).unwrap();
        assert!(theirs(&bytes).is_err(), "{header}");
    }
    let mut not_text = file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":"x"}}"#, 4);
    let at = not_text.iter().position(|byte| *byte == b'x').unwrap();
    not_text[at] = 0xff;
    compare(&not_text).unwrap();
}
