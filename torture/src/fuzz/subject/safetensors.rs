//! Single safetensors files, compared with the `safetensors` crate.

use regimen::BoxError;
use regimen::checkpoint::safetensors::load_file;
use regimen::random::Random;
use regimen::saved::{Array, StateDict};
use safetensors::SafeTensors;

use super::Subject;
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand, same};

const WORDS: &[&[u8]] = &[
    b"\"dtype\":\"F8_E4M3\"",
    b"\"BOOL\"",
    b"\"F32\"",
    b"[18446744073709551615,2]",
    b"[0,0]",
    b"[]",
    b"null",
    b"\"__metadata__\":{\"format\":\"pt\"},",
    b"\"__metadata__\":null,",
    b"\"more\":1,",
    b"\\u0041",
    b"[[[[[[[[[[[[[[[[",
    b"{",
    b"}",
    b"\"",
    b" ",
    b"-1",
    b"1e3",
    b"\xFF",
];

#[derive(Debug)]
pub(super) struct Weights(Corpus);

impl Weights {
    pub(super) fn new() -> Result<Self, BoxError> {
        let file = |dict: &StateDict| {
            let mut bytes = Vec::new();
            regimen::checkpoint::safetensors::encode(dict, &mut bytes)?;
            Ok::<_, BoxError>(bytes)
        };
        let mut other = file(&dict()?)?;
        // The metadata that Python writes.
        let about = br#"{"__metadata__":{"format":"pt"},"#;
        other.splice(8..9, about.iter().copied());
        let files = vec![file(&dict()?)?, file(&StateDict::new())?, labelled(other)];
        Ok(Weights(Corpus::new(files, WORDS)))
    }
}

/// Arrays of several types and shapes.
pub(super) fn dict() -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    dict.insert("layer.weight", Array::new(regimen::saved::Dtype::F32, vec![2, 3], (0..24).collect())?)?;
    dict.insert("layer.bias", Array::from_slice(&[0.5_f64, -1.0]))?;
    dict.insert("name", Array::from_text("gr\u{f6}\u{df}e"))?;
    dict.insert("none", Array::new(regimen::saved::Dtype::F16, vec![0, 4], Vec::new())?)?;
    dict.insert("steps", 7_u64)?;
    Ok(dict)
}

impl Subject for Weights {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let drawn = self.0.draw(random);
        let bytes = if !drawn.is_whole && random.below(2) == 0 { labelled(drawn.bytes) } else { drawn.bytes };
        let path = trial.write("weights.safetensors", &bytes)?;
        let read = trial.read(bytes.len(), || load_file(path))?;
        let second = arrays(&bytes);
        if let (Err(why), Ok(arrays)) = (&read, &second) {
            let is_known = arrays.iter().all(|(_, dtype, ..)| !ELSEWHERE.contains(&&**dtype));
            let is_two = why.contains("two arrays are named");
            demand(!is_known || is_two, || format!("a file that the reference reads is refused: {why}"))?;
        }
        same(drawn.is_whole, read.map(|dict| ours(&dict)), second)
    }
}

/// Array types without an equivalent here.
const ELSEWHERE: [&str; 8] =
    ["F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0", "C64", "F8_E4M3FNUZ"];

type Arrays = Vec<(String, String, Vec<usize>, Vec<u8>)>;

/// The arrays by name, as the reference crate reads them.
pub(super) fn arrays(bytes: &[u8]) -> Result<Arrays, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec())
    };
    let mut arrays: Arrays = file.tensors().into_iter().map(array).collect();
    arrays.sort();
    Ok(arrays)
}

/// The same for our reader.
pub(super) fn ours(dict: &StateDict) -> Arrays {
    let array = |(name, array): (&str, &Array)| {
        let dtype = format!("{:?}", array.dtype()).to_uppercase();
        (name.to_owned(), dtype, array.shape().to_vec(), array.bytes().to_vec())
    };
    let mut arrays: Arrays = dict.iter().map(array).collect();
    arrays.sort();
    arrays
}

/// Corrects the length in front of a mutated header, which ends at the last brace.
fn labelled(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().rposition(|&byte| byte == b'}').map_or(0, |brace| brace + 1);
    let spaces = bytes.get(end..).map_or(0, |rest| rest.iter().take_while(|&&byte| byte == b' ').count());
    if let (Some(length), Some(place)) = ((end + spaces).checked_sub(8), bytes.first_chunk_mut()) {
        *place = (length as u64).to_le_bytes();
    }
    bytes
}
