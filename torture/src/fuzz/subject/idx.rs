//! IDX files, compressed or plain.

use regimen::data::{Dataset, Idx};
use regimen::random::Random;

use super::Subject;
use crate::fuzz::corpus::Corpus;
use crate::fuzz::gzip;
use crate::fuzz::trial::{Fault, Trial, demand, same};

const WORDS: &[&[u8]] = &[
    &[0, 0, 8, 1],
    &[0, 0, 8, 4, 0, 0, 0, 0, 255, 255, 255, 255],
    &[255, 255, 255, 255],
    &[255; 12],
    &[0, 0, 0, 0],
    &[128, 0, 0, 0],
    &[0, 0, 13, 2],
];

#[derive(Debug)]
pub(super) struct Values(Corpus);

impl Values {
    pub(super) fn new() -> Self {
        let file = |shape: &[u8]| {
            let mut bytes = vec![0, 0, 8, shape.len() as u8];
            shape.iter().for_each(|&extent| bytes.extend([0, 0, 0, extent]));
            bytes.extend((0..shape.iter().product()).map(|n: u8| n.wrapping_mul(37)));
            bytes
        };
        Values(Corpus::new([&[7][..], &[2, 3], &[5, 4, 4], &[0, 9, 9, 9], &[0]].map(file).to_vec(), WORDS))
    }
}

impl Subject for Values {
    fn name(&self) -> &'static str {
        "idx"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let is_packed = random.below(4) == 0;
        let drawn = if is_packed { gzip::draw(&self.0, random)? } else { self.0.draw(random) };
        let path = trial.write(if is_packed { "values.gz" } else { "values" }, &drawn.bytes)?;
        let (bytes, is_unpacked) = if is_packed {
            let unpacked = gzip::unpack(&drawn.bytes);
            (unpacked.bytes, unpacked.is_whole)
        } else {
            (drawn.bytes, true)
        };
        let read = trial.read(bytes.len(), || Idx::open(&path))?;
        if let Ok(idx) = &read {
            let samples = trial.read(bytes.len(), || {
                // The size may not match: only a panic would be wrong.
                let _ = idx.arrays::<16>();
                // A million empty samples prove no more than ten.
                let indices = 0..idx.len().min(bytes.len() + 10);
                indices.map(|index| idx.sample(index)).collect::<Result<Vec<_>, _>>()
            })?;
            let samples = samples.map_err(Fault::Mismatch)?.concat();
            let values = idx.clone().into_values();
            demand(samples == values, || format!("the samples are {samples:?}, the values {values:?}"))?;
        }
        let second = if is_unpacked { values(&bytes) } else { Err("the gzip file is damaged".into()) };
        same(drawn.is_whole, read.map(|idx| (idx.shape().to_vec(), idx.into_values())), second)
    }
}

/// Parses the bytes as the format is specified.
fn values(bytes: &[u8]) -> Result<(Vec<usize>, Vec<u8>), String> {
    let [0, 0, 8, dimensions, rest @ ..] = bytes else { return Err("it is no idx file of bytes".into()) };
    let (extents, values) = rest.split_at_checked(4 * usize::from(*dimensions)).ok_or("it is cut off")?;
    let shape: Vec<usize> =
        extents.as_chunks().0.iter().map(|&extent| u32::from_be_bytes(extent) as usize).collect();
    // A float holds any such product, and is exact up to the size of a file.
    let size: f64 = shape.iter().map(|&extent| extent as f64).product();
    match size == values.len() as f64 && *dimensions != 0 {
        true => Ok((shape, values.to_vec())),
        false => Err(format!("the shape {shape:?} is not that of {} values", values.len())),
    }
}
