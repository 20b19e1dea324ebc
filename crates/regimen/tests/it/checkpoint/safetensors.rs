//! Our safetensors files and those of the `safetensors` crate are the same, in both directions.

use ::safetensors::SafeTensors;
use ::safetensors::tensor::{Dtype as TheirDtype, TensorView};
use proptest::prelude::*;
use regimen::checkpoint::safetensors::{decode, encode};
use regimen::saved::{Array, Dtype, StateDict};

pub(crate) const DTYPES: [(Dtype, TheirDtype); 13] = [
    (Dtype::Bool, TheirDtype::BOOL),
    (Dtype::U8, TheirDtype::U8),
    (Dtype::I8, TheirDtype::I8),
    (Dtype::U16, TheirDtype::U16),
    (Dtype::I16, TheirDtype::I16),
    (Dtype::F16, TheirDtype::F16),
    (Dtype::BF16, TheirDtype::BF16),
    (Dtype::U32, TheirDtype::U32),
    (Dtype::I32, TheirDtype::I32),
    (Dtype::F32, TheirDtype::F32),
    (Dtype::U64, TheirDtype::U64),
    (Dtype::I64, TheirDtype::I64),
    (Dtype::F64, TheirDtype::F64),
];

pub(crate) fn ours(dict: &StateDict) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(dict, &mut bytes).unwrap();
    bytes
}

/// The content as read by the crate, as a dict.
pub(crate) fn theirs(bytes: &[u8]) -> Result<StateDict, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut dict = StateDict::new();
    for (name, view) in tensors.iter() {
        let dtype = DTYPES.iter().find(|(_, dtype)| *dtype == view.dtype());
        let (dtype, _) = dtype.ok_or("a type that we lack")?;
        let array = Array::new(*dtype, view.shape().to_vec(), view.data().to_vec()).unwrap();
        dict.insert(name, array).unwrap();
    }
    Ok(dict)
}

pub(crate) fn any_dict() -> impl Strategy<Value = StateDict> {
    let shape = prop::collection::vec(0..4_usize, 0..4);
    let array = (0..DTYPES.len(), shape, any::<u64>()).prop_map(|(dtype, shape, fill)| {
        let dtype = DTYPES[dtype].0;
        let bytes = dtype.size() * shape.iter().product::<usize>();
        Array::new(dtype, shape, fill.to_le_bytes().into_iter().cycle().take(bytes).collect()).unwrap()
    });
    prop::collection::btree_map(".{0,8}", array, 0..8).prop_map(|arrays| {
        let mut dict = StateDict::new();
        arrays.into_iter().for_each(|(name, array)| dict.insert(name, array).unwrap());
        dict
    })
}

proptest! {
    #[test]
    fn what_we_write_both_read(dict in any_dict()) {
        let bytes = ours(&dict);
        prop_assert_eq!(&decode(&mut &*bytes, bytes.len() as u64).unwrap(), &dict);
        prop_assert_eq!(&theirs(&bytes).unwrap(), &dict);
    }

    #[test]
    fn what_they_write_we_read(dict in any_dict()) {
        let view = |array: &Array| {
            let dtype = DTYPES.iter().find(|(dtype, _)| *dtype == array.dtype()).unwrap().1;
            (dtype, array.shape().to_vec())
        };
        let views = dict.iter().map(|(name, array)| {
            let (dtype, shape) = view(array);
            (name, TensorView::new(dtype, shape, array.bytes()).unwrap())
        });
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let bytes = ::safetensors::serialize(views, Some(metadata)).unwrap();
        prop_assert_eq!(decode(&mut &*bytes, bytes.len() as u64).unwrap(), dict);
    }

    #[test]
    fn where_a_damaged_file_is_read_both_read_the_same(
        dict in any_dict(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut bytes = ours(&dict);
        if cut {
            bytes.truncate(end.index(bytes.len() + 1));
        }
        for (at, byte) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(dict) = decode(&mut &*bytes, bytes.len() as u64) {
            prop_assert_eq!(theirs(&bytes).unwrap(), dict);
        }
    }
}

#[test]
fn equal_dicts_give_equal_bytes_and_aligned_arrays() {
    let mut dict = StateDict::new();
    dict.insert("a", Array::from_slice(&[1_u8, 2, 3])).unwrap();
    dict.insert("b", 0.25_f64).unwrap();
    dict.insert("\"c\"", Array::from_slice(&[1_f32])).unwrap();
    let header = concat!(
        r#"{"b":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"#,
        r#""\"c\"":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"#,
        r#""a":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}}   "#,
    );
    let mut expected = (header.len() as u64).to_le_bytes().to_vec();
    expected.extend_from_slice(header.as_bytes());
    expected.extend_from_slice(&0.25_f64.to_le_bytes());
    expected.extend_from_slice(&1_f32.to_le_bytes());
    expected.extend_from_slice(&[1, 2, 3]);
    assert_eq!(String::from_utf8_lossy(&ours(&dict)), String::from_utf8_lossy(&expected));
    assert_eq!(header.len() % 8, 0);
}

/// Checks that a file with this header and so many bytes of arrays is refused.
fn check_refused(header: &str, data: usize, message: &str) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    let error = decode(&mut &*bytes, bytes.len() as u64).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_file_that_breaks_a_rule_is_refused() {
    let one = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    check_refused(&format!(r#"{{"a":{one}}}"#), 5, "speaks of 4 bytes of arrays, the file holds 5");
    check_refused(&format!(r#"{{"a":{one},"b":{one}}}"#), 4, "array `b`: bytes 0 to 4 do not hold");
    check_refused(&format!(r#"{{"a":{one},"a":{one}}}"#), 4, "two arrays are named `a`");
    check_refused(&format!(r#"{{"a":{}}}"#, one.replace("[1]", "[2]")), 4, "do not hold F32 of shape [2]");
    check_refused(&format!(r#"{{"a":{}}}"#, one.replace("[0,4]", "[4,0]")), 4, "bytes 4 to 0 do not hold");
    check_refused(
        &format!(r#"{{"a":{}}}"#, one.replace("F32", "F8_E4M3")),
        4,
        "type `F8_E4M3` cannot be read",
    );
    let huge = one.replace("[1]", &format!("[{},3]", usize::MAX));
    check_refused(&format!(r#"{{"a":{huge}}}"#), 4, "is too large");
    check_refused(r#"{"__metadata__":{"a":1}}"#, 0, "expected a string");
    check_refused("[]", 0, "expected arrays by name");
    let truncated = u64::MAX.to_le_bytes();
    assert!(decode(&mut &truncated[..], 8).unwrap_err().to_string().contains("in a file of 8"));
    assert!(decode(&mut &truncated[..3], 3).is_err());
    let mut reserved = StateDict::new();
    reserved.insert("__metadata__", 1_u8).unwrap();
    let error = encode(&reserved, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("cannot be named `__metadata__`"), "{error}");
}
