//! Flat buckets of gradients, as ranks exchange them.

use regimen_core::BoxError;
use regimen_core::engine::{Bucket, Engine, Part};
use regimen_core::saved::StateDict;

use super::measure::{all_numbers, changed, ensure, ensure_close, ensure_same, numbers};
use super::task::backward;
use super::{EngineFixture, ROWS};

/// Buckets hold whole parameters in the order of their names, up to the given size. Absent gradients are
/// zeros. The values left in them are held afterwards, unless the exchange failed.
pub fn exchange_hands_out_flat_buckets<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.plain();
    let held = backward(fixture, &mut engine, 0..ROWS)?;
    let sizes: Vec<usize> = held.iter().map(|(_, array)| array.bytes().len()).collect();
    let largest = sizes.iter().copied().max().unwrap_or(0);

    let whole = exchanged(&mut engine, usize::MAX)?;
    ensure(whole.len() == 1, "without a limit there is more than one bucket")?;
    let single = exchanged(&mut engine, 1)?;
    let found: Vec<usize> = single.iter().map(|bucket| bucket.bytes).collect();
    ensure(found == sizes, format!("parameters of {sizes:?} bytes in buckets of at most 1: {found:?}"))?;
    for limit in [largest, 2 * largest, 3 * largest / 2] {
        let buckets = exchanged(&mut engine, limit)?;
        let within = buckets.iter().all(|bucket| bucket.bytes <= limit);
        ensure(within, format!("a bucket is larger than {limit} bytes"))?;
        let mut ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        let mut filled = 0;
        let cuts = buckets.iter().all(|bucket| {
            filled += bucket.bytes;
            ends.any(|end| end == filled)
        });
        ensure(cuts, format!("with buckets of {limit} bytes a parameter is cut in two"))?;
        ensure(contents(&buckets) == contents(&whole), "the size of buckets changes what is in them")?;
    }
    ensure(contents(&whole) == all_numbers(&held)?, "buckets do not hold the gradients in order of name")?;
    ensure_same("gradients that the exchange left alone", &engine.state(Part::Gradients)?, &held)?;

    let last = held.iter().last().map_or("", |(name, _)| name);
    let mut part = StateDict::new();
    part.insert(last, held.array(last)?.clone())?;
    engine.load_state(Part::Gradients, &part)?;
    let tail = numbers(held.array(last)?)?;
    let mut expected = vec![0.0; contents(&whole).len() - tail.len()];
    expected.extend(tail);
    let mut calls = 0;
    let failed = engine.exchange_gradients(1, &mut |bucket| {
        calls += 1;
        change(bucket, |_| 1.0);
        if calls == 2 { Err("the other rank is gone".into()) } else { Ok(()) }
    });
    ensure(failed.is_err() && calls == 2, "an exchange that failed went on")?;
    ensure_same("gradients after an exchange that failed", &engine.state(Part::Gradients)?, &part)?;
    let buckets = exchanged(&mut engine, largest)?;
    ensure(contents(&buckets) == expected, "a parameter without a gradient is not a run of zeros")?;

    engine.load_state(Part::Gradients, &held)?;
    engine.exchange_gradients(largest, &mut |bucket| {
        change(bucket, |element| 2.0 * element + 1.0);
        Ok(())
    })?;
    let expected = changed(&held, |element| 2.0 * element + 1.0)?;
    ensure_close(
        "what the exchange left",
        &all_numbers(&engine.state(Part::Gradients)?)?,
        &all_numbers(&expected)?,
        fixture.tolerance(),
    )
}

struct Seen {
    bytes: usize,
    elements: Vec<f64>,
}

/// The buckets of an exchange that changes nothing.
fn exchanged(engine: &mut impl Engine, bytes: usize) -> Result<Vec<Seen>, BoxError> {
    let mut seen = Vec::new();
    engine.exchange_gradients(bytes, &mut |bucket| {
        seen.push(match bucket {
            Bucket::F32(elements) => Seen {
                bytes: size_of_val(elements),
                elements: elements.iter().map(|&element| f64::from(element)).collect(),
            },
            Bucket::F64(elements) => Seen { bytes: size_of_val(elements), elements: elements.to_vec() },
        });
        Ok(())
    })?;
    Ok(seen)
}

fn contents(buckets: &[Seen]) -> Vec<f64> {
    buckets.iter().flat_map(|bucket| &bucket.elements).copied().collect()
}

fn change(bucket: Bucket<'_>, f: impl Fn(f64) -> f64) {
    match bucket {
        Bucket::F32(elements) => {
            elements.iter_mut().for_each(|element| *element = f(f64::from(*element)) as f32);
        }
        Bucket::F64(elements) => elements.iter_mut().for_each(|element| *element = f(*element)),
    }
}
