//! Python's safetensors and numpy read every part, without our code.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use regimen::checkpoint::{Snapshot, Writer};
use regimen::saved::{Array, Dtype, StateDict};

/// The types that numpy knows, by its names. It has none for BF16.
const DTYPES: [(Dtype, &str); 12] = [
    (Dtype::Bool, "bool"),
    (Dtype::U8, "uint8"),
    (Dtype::I8, "int8"),
    (Dtype::U16, "uint16"),
    (Dtype::I16, "int16"),
    (Dtype::F16, "float16"),
    (Dtype::U32, "uint32"),
    (Dtype::I32, "int32"),
    (Dtype::F32, "float32"),
    (Dtype::U64, "uint64"),
    (Dtype::I64, "int64"),
    (Dtype::F64, "float64"),
];

fn parts() -> BTreeMap<String, StateDict> {
    let mut module = StateDict::new();
    for (i, (dtype, name)) in DTYPES.into_iter().enumerate() {
        // Every byte is 0 or 1, as those of a Python boolean must be.
        for (kind, shape) in [("number", vec![]), ("matrix", vec![2, 3]), ("nothing", vec![0, 4])] {
            let size = dtype.size() * shape.iter().product::<usize>();
            let bytes = (0..size).map(|byte| ((byte * 7 + i) % 3 == 0) as u8).collect();
            module.insert(format!("{name}.{kind}"), Array::new(dtype, shape, bytes).unwrap()).unwrap();
        }
    }
    let mut run = StateDict::new();
    run.insert("reason", Array::from_text("\u{e4}nderung")).unwrap();
    BTreeMap::from([("empty".to_owned(), StateDict::new()), ("module".into(), module), ("run".into(), run)])
}

/// The expected output of `read_safetensors.py`, by line.
fn expected(parts: &BTreeMap<String, StateDict>) -> String {
    let mut lines = String::new();
    for (part, dict) in parts {
        for (name, array) in dict.iter() {
            let dtype = DTYPES.iter().find(|(dtype, _)| *dtype == array.dtype()).unwrap().1;
            let shape: Vec<_> = array.shape().iter().map(usize::to_string).collect();
            let bytes: String = array.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            lines += &format!("{part} {name} {dtype} [{}] {bytes}\n", shape.join(","));
        }
    }
    lines
}

#[test]
fn python_reads_every_part() {
    let Some(python) = std::env::var_os("REGIMEN_PYTHON") else {
        eprintln!(
            "NOT RUN: python_reads_every_part needs REGIMEN_PYTHON, a Python with safetensors and numpy"
        );
        return;
    };
    let (dir, parts) = (tempfile::tempdir().unwrap(), parts());
    let snapshot = Snapshot { parts: parts.clone(), ..Snapshot::default() };
    let checkpoint = Writer::open(dir.path(), "run").unwrap().save(&snapshot).unwrap();
    let files = parts.keys().map(|name| checkpoint.path().join(format!("{name}.safetensors")));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/read_safetensors.py");
    let output = Command::new(python).arg(script).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected(&parts));
}
