//! The readers of manifests and safetensors files neither panic nor allocate more than a multiple of
//! the file, for any bytes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use regimen::checkpoint::safetensors::{decode, encode};
use regimen::checkpoint::{Checkpoint, SimDisk, Snapshot, Store, Writer};
use regimen::saved::{Array, StateDict};

/// Property-test cases of each reader. The environment variable `REGIMEN_CASES` overrides it.
const CASES: u32 = 100_000;

/// Limit of the bytes allocated at a time by a reader, for a file of `length` bytes.
fn bound(length: usize) -> usize {
    16 * length + 64 * 1024
}

/// The system's allocator, with a count of the bytes each thread holds, and their maximum.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn grow(bytes: usize) {
    let held = HELD.get().wrapping_add(bytes);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call is handed on to the system's allocator as it came; the counting beside it
// touches only cells of this thread that need neither allocation nor destruction.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    // Growing is counted as by the default: old and new exist at once.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was allocated at a time while `call` ran.
fn peak(call: impl FnOnce()) -> usize {
    // A thread may free what another allocated, so only differences are meant.
    HELD.set(1 << 40);
    PEAK.set(1 << 40);
    call();
    PEAK.get() - (1 << 40)
}

fn check_safetensors(bytes: &[u8]) {
    let peak = peak(|| drop(decode(&mut &*bytes, bytes.len() as u64)));
    let length = bytes.len();
    assert!(peak <= bound(length), "{peak} bytes were allocated for a file of {length}");
}

const MANIFEST: &str = "/step-000000001/MANIFEST";

/// A disk with a manifest of these bytes.
fn disk(manifest: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/step-000000001")).unwrap();
    disk.create(Path::new(MANIFEST)).unwrap().write_all(manifest).unwrap();
    disk
}

fn check_manifest(bytes: &[u8]) {
    let store = Arc::new(disk(bytes));
    let peak = peak(|| drop(Checkpoint::open_on(store, "/step-000000001")));
    let length = bytes.len();
    assert!(peak <= bound(length), "{peak} bytes were allocated for a manifest of {length}");
}

fn run<S: Strategy>(strategy: S, check: impl Fn(&[u8]))
where
    S::Value: AsRef<[u8]>,
{
    let cases = std::env::var("REGIMEN_CASES").map_or(CASES, |text| text.parse().unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |bytes| {
        check(bytes.as_ref());
        Ok(())
    });
    result.unwrap();
}

/// Bytes with a few changes: a byte set, a stretch removed, or one copied elsewhere.
fn changed(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut bytes = original.clone();
        for (from, to, byte, kind) in changes {
            let (a, b) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let range = a.min(b)..a.max(b);
            match kind {
                0 => drop(bytes.drain(range)),
                1 => bytes.extend_from_within(range),
                2 => bytes.truncate(a),
                _ => bytes.iter_mut().skip(a).take(1).for_each(|old| *old = byte),
            }
        }
        bytes
    })
}

/// A file with a well-formed header of any content.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..9_u64, any::<u64>(), Just(u64::MAX), Just(1 << 61)];
    let dtype = prop::sample::select(vec!["F32", "U8", "BOOL", "F64", "F4", "f32", ""]);
    let shape = prop::collection::vec(number.clone(), 0..4);
    let name = prop::sample::select(vec!["a", "b", "__metadata__", "\\u0000", ""]);
    let array = (name, dtype, shape, number.clone(), number);
    (prop::collection::vec(array, 0..4), 0..32_usize).prop_map(|(arrays, data)| {
        let array = |(name, dtype, shape, start, end)| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
        };
        file(&format!("{{{}}}", arrays.into_iter().map(array).collect::<Vec<_>>().join(",")), data)
    })
}

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 1);
    bytes
}

fn valid_safetensors() -> Vec<u8> {
    let mut dict = StateDict::new();
    dict.insert("weight", Array::from_slice(&[1.0_f32, 2.0])).unwrap();
    dict.insert("seed", 7_u64).unwrap();
    dict.insert("name", Array::from_text("ab")).unwrap();
    let mut bytes = Vec::new();
    encode(&dict, &mut bytes).unwrap();
    bytes
}

fn valid_manifest() -> Vec<u8> {
    let disk = SimDisk::new();
    let mut snapshot = Snapshot { step: 1, ..Snapshot::default() };
    snapshot.metrics.insert("eval/loss".to_owned(), 0.5);
    snapshot.parts.insert("run".to_owned(), StateDict::new());
    Writer::open_on(Arc::new(disk.clone()), "/", "run").unwrap().save(&snapshot).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut disk.open(Path::new(MANIFEST)).unwrap().bytes, &mut bytes).unwrap();
    bytes
}

/// Puts the right checksum at the end, so that the later checks are reached too.
fn signed(mut text: Vec<u8>) -> Vec<u8> {
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let checksum = crc32fast::hash(&text);
    text.extend_from_slice(format!("checksum {checksum:08x}\n").as_bytes());
    text
}

fn without_checksum(mut manifest: Vec<u8>) -> Vec<u8> {
    manifest.truncate(manifest.len() - "checksum 00000000\n".len());
    manifest
}

#[test]
fn any_bytes_as_safetensors() {
    run(prop::collection::vec(any::<u8>(), 0..64), check_safetensors);
}

#[test]
fn a_changed_file_as_safetensors() {
    run(changed(valid_safetensors()), check_safetensors);
}

#[test]
fn any_header_as_safetensors() {
    run(any_header(), check_safetensors);
}

#[test]
fn any_text_as_a_manifest() {
    run("(regimen checkpoint 1\n)?(run|step|part|metric)?[ -~\n]{0,60}", check_manifest);
}

#[test]
fn a_changed_file_as_a_manifest() {
    run(changed(valid_manifest()), check_manifest);
}

#[test]
fn a_changed_and_signed_text_as_a_manifest() {
    run(changed(without_checksum(valid_manifest())).prop_map(signed), check_manifest);
}

#[test]
fn a_large_file_that_holds_as_much_as_can_be_said_in_few_bytes() {
    let many = |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(",");
    let array = |shape: &str| format!(r#"{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}}"#);
    let zeros = many(100_000, &|_| "0".to_owned());
    check_safetensors(&file(&format!(r#"{{"a":{}}}"#, array(&zeros)), 0));
    let zeros = array(&many(40, &|_| "0".to_owned()));
    check_safetensors(&file(&format!("{{{}}}", many(10_000, &|i| format!(r#""{i}":{zeros}"#))), 0));
    let empty = array("0");
    check_safetensors(&file(&format!("{{{}}}", many(50_000, &|i| format!(r#""{i}":{empty}"#))), 0));
    let one = |i| format!(r#""{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{}]}}"#, i + 1);
    check_safetensors(&file(&format!("{{{}}}", many(50_000, &one)), 50_000));
    let metadata = many(100_000, &|i| format!(r#""{i}":"""#));
    check_safetensors(&file(&format!(r#"{{"__metadata__":{{{metadata}}}}}"#), 0));
    check_safetensors(&file(&format!(r#"{{"a":{}"#, "[".repeat(500_000)), 0));
    check_safetensors(&file(&format!(r#"{{"{}":{empty}}}"#, "\\u0041".repeat(100_000)), 0));
    check_safetensors(&file("", 1_000_000));

    let manifest = String::from_utf8(without_checksum(valid_manifest())).unwrap();
    let head = manifest.split_inclusive('\n').take(6).collect::<String>();
    let lines = |line: &dyn Fn(usize) -> String| {
        let mut lines: Vec<_> = (0..50_000).map(line).collect();
        lines.sort_by(|a, b| a.split(' ').next_back().cmp(&b.split(' ').next_back()));
        signed(format!("{head}{}", lines.concat()).into_bytes())
    };
    for manifest in [lines(&|i| format!("metric 0.0 {i}\n")), lines(&|i| format!("part 0 00000000 {i}\n"))] {
        Checkpoint::open_on(Arc::new(disk(&manifest)), "/step-000000001").unwrap();
        check_manifest(&manifest);
    }
    check_manifest(&signed(format!("{head}{}", "metric 0 a\n".repeat(50_000)).into_bytes()));
    check_manifest(&signed(vec![b'\n'; 500_000]));
}
