//! IDX files, lines, tokens and gzip: content that is read unchanged, and content that is refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use regimen::data::{Idx, Lines, Position, Stream, StreamAt, StreamReader};

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_shape_whose_product_overflows_is_an_error_also_where_there_are_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let check = |extents: &[u32]| {
        let mut bytes = vec![0, 0, 8, extents.len() as u8];
        extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
        let path = file(&folder, "x", &bytes);
        let error = Idx::open(&path).unwrap_err().to_string();
        assert_eq!(error, format!("file `{}`: the shape {extents:?} is too large", path.display()));
    };
    check(&[0, u32::MAX, u32::MAX, u32::MAX]);
    check(&[u32::MAX, u32::MAX, u32::MAX, 0]);
    check(&[u32::MAX; 255]);
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_read_to_the_end_of_its_last_member_and_zeros_behind_it_are_padding() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, bytes: &[u8]| {
        Idx::open(file(&folder, name, bytes)).map(Idx::into_values).map_err(|error| error.to_string())
    };
    let (head, tail) = (packed(&[0, 0, 8, 1, 0, 0, 0, 3, 1]), packed(&[2, 3]));
    let whole = packed(&[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]);
    let check = |name: &str, bytes: &[&[u8]]| assert_eq!(open(name, &bytes.concat()), Ok(vec![1, 2, 3]));
    check("one.gz", &[&whole]);
    check("two.gz", &[&head, &tail]);
    check("large.GZ", &[&whole]);
    check("padded.gz", &[&whole, &[0; 700_000]]);
    check("padded.gz", &[&head, &[0; 1000], &tail, &[0; 9]]);

    let refused = |bytes: &[&[u8]]| assert!(open("bad.gz", &bytes.concat()).is_err());
    refused(&[&whole, b"x"]);
    refused(&[&whole, &[0; 9], b"x"]);
    refused(&[&[0; 9], &whole]);
    refused(&[&head]);
    (0..whole.len()).for_each(|length| refused(&[&whole[..length]]));
}

fn lines(lines: &Lines, position: Option<&Position>) -> Vec<(String, Position)> {
    let mut reader = lines.open(StreamAt { epoch: 0, seed: 0, position: position.cloned() }).unwrap();
    std::iter::from_fn(|| Some((reader.next()?.unwrap(), reader.position()))).collect()
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line_and_moves_no_position() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], expected: &[&str]| {
        let text = Lines::new(file(&folder, "text", bytes));
        let all = lines(&text, None);
        assert_eq!(all.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(), expected);
        for (count, (_, position)) in all.iter().enumerate() {
            assert_eq!(lines(&text, Some(position)), all[count + 1..]);
        }
        let start = text.open(StreamAt { epoch: 0, seed: 0, position: None }).unwrap().position();
        assert_eq!(lines(&text, Some(&start)), all);
    };
    check(b"\xef\xbb\xbf1.5\n2.5\n", &["1.5", "2.5"]);
    check(b"1.5\n\xef\xbb\xbf2.5\n", &["1.5", "\u{feff}2.5"]);
    check(b"\xef\xbb\xbf", &[]);
    check(b"", &[]);
}

#[test]
fn a_text_that_became_shorter_is_no_end_of_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let text = Lines::new(file(&folder, "text", b"one\ntwo\nthree\n"));
    let all = lines(&text, None);
    let path = file(&folder, "text", b"one\n");
    let position = Some(all[1].1.clone());
    let error = text.open(StreamAt { epoch: 0, seed: 0, position }).err().unwrap().to_string();
    let expected = "8 bytes were read of a file that has 4 now: the data became shorter";
    assert_eq!(error, format!("file `{}`: {expected}", path.display()));
    assert!(Lines::new(folder.path()).open(StreamAt { epoch: 0, seed: 0, position: None }).is_err());
}

#[cfg(feature = "mmap")]
#[test]
fn a_file_of_another_format_is_no_file_of_tokens() {
    use regimen::data::{TokenFile, TokenWidth};

    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, head: &[u8], expected: &str| {
        let path = file(&folder, name, &[head, &[0; 64 - 8]].concat());
        for width in [TokenWidth::U16, TokenWidth::U32] {
            let error = TokenFile::open(&path, width).unwrap_err().to_string();
            assert_eq!(error, format!("file `{}`: {expected}", path.display()));
        }
    };
    let numpy = "a .npy file, not raw tokens; write the array with `tofile`";
    check("tokens.npy", b"\x93NUMPY\x01\0", numpy);
    check("tokens.bin", b"\x93NUMPY\x02\0", numpy);
    let zip = "a zip file (or .npz), not raw tokens; unpack it first";
    check("tokens.npz", b"PK\x03\x04\x14\0\0\0", zip);
    let gzip = "packed by gzip, not raw tokens; unpack it first";
    check("tokens.bin", b"\x1f\x8b\x08\x08\0\0\0\0", gzip);
    check("tokens.bin", b"\x1f\x8b\x08\0\0\0\0\0", gzip);
    let llm_c = "a file of llm.c, not raw tokens; cut off its header of 1,024 bytes";
    check("tokens.bin", &[20_240_520_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat(), llm_c);
}
